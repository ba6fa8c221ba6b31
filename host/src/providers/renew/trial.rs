//! Whether a process that does not answer is shut out: its NATS server lets in nobody any more with the
//! credentials that it has, and would with new ones. It cannot be told of these, as nothing reaches it.

use std::time::Duration;

use async_nats::ConnectErrorKind;
use lattice_nats::connection::{Connection, Creds, Login};
use tokio::time::{Instant, timeout};
use tokio_util::task::AbortOnDropHandle;

use super::{LET_IN, is_let_in};
use crate::providers::credentials::Credentials;
use crate::providers::worker::Worker;

/// The time between two trials for one process: each is a login, and one that is refused stands in the
/// log of the server.
const BETWEEN: Duration = Duration::from_secs(30);

/// Why a process is ended that is shut out.
pub(in crate::providers) const SHUT_OUT: &str = "the NATS server no longer takes its \
    credentials: they were revoked, or their signing key was replaced, or the clock of the host is \
    behind that of the server";

/// Tries what the server lets in. Ends when this is dropped.
#[derive(Debug, Default)]
pub(in crate::providers) struct Trial {
    /// When the last one began; that it was forgotten does not bring the next one forward.
    begun: Option<Instant>,
    /// `None` once it is known what came of it.
    task: Option<AbortOnDropHandle<bool>>,
}

impl Trial {
    /// Waits until it is known whether the process is shut out. Nothing is lost when the future is
    /// dropped.
    pub(in crate::providers) async fn done(&mut self) -> bool {
        let Some(running) = &mut self.task else {
            return std::future::pending().await;
        };
        let is_shut_out = running.await.unwrap_or(false);
        self.task = None;
        is_shut_out
    }

    /// The process is heard of, or is another one: what comes of it no longer counts.
    pub(in crate::providers) fn forget(&mut self) {
        self.task = None;
    }
}

impl Worker {
    /// The process does not answer: finds out whether it is shut out. One that is busy, or that hangs, is
    /// not, and is left to itself; nor would another fare better while the server lets in nobody.
    pub(in crate::providers) async fn try_its_credentials(&mut self) {
        let begun = self.trial.begun;
        let is_early = begun.is_some_and(|begun| begun.elapsed() < BETWEEN);
        if is_early || !self.is_connected() {
            return;
        }
        self.look_at_key().await;
        let both = self.credentials.as_ref().and_then(Credentials::to_try);
        let Some((held, new)) = both else {
            return;
        };
        let held = held.into_iter().map(|creds| self.as_whom(creds));
        let (held, new) = (held.collect::<Vec<_>>(), self.as_whom(new));
        let provider = self.slot.id.clone();
        let task = async move {
            if !are_refused(&held).await {
                return false;
            }
            if !is_let_in(&new).await {
                let provider = provider.as_str();
                tracing::warn!(
                    provider,
                    "the NATS server takes neither the credentials of a provider nor new ones; its \
                     log says why"
                );
                return false;
            }
            // A server that had yet to fetch the account lets in with all of them by now.
            are_refused(&held).await
        };
        self.trial = Trial {
            begun: Some(Instant::now()),
            task: Some(AbortOnDropHandle::new(tokio::spawn(task))),
        };
    }

    /// Lets the key sign that stands in the file of the signer now, once the server lets in who shows a
    /// token by it.
    pub(in crate::providers) async fn look_at_key(&mut self) {
        if !self.is_connected() {
            return;
        }
        let other = self.credentials.as_mut();
        let Some((key, creds)) = other.and_then(Credentials::key_to_try) else {
            return;
        };
        let is_good = is_let_in(&self.as_whom(creds)).await;
        let (provider, public) = (self.slot.id.as_str(), key.public_key());
        if !is_good {
            tracing::warn!(
                provider,
                key = public,
                "signs for a provider with the key of before: the NATS server does not let in who \
                 shows a token by the key in the file of `--nats-account-seed`"
            );
            return;
        }
        tracing::info!(
            provider,
            key = public,
            "signs for a provider with another key"
        );
        if let Some(credentials) = &mut self.credentials {
            credentials.sign_with(key);
        }
    }

    /// How a process connects with these.
    pub(super) fn as_whom(&self, creds: Creds) -> Connection {
        Connection {
            login: Login::Jwt(creds),
            ..self.deps.rpc.connection()
        }
    }
}

async fn are_refused(connections: &[Connection]) -> bool {
    for one in connections {
        if !is_refused(one).await {
            return false;
        }
    }
    true
}

/// Whether a server says that it does not let in who connects so, and none does. One that cannot be reached
/// says nothing. Each is asked by itself: the client takes the refusal of any for that of all.
async fn is_refused(connection: &Connection) -> bool {
    let Ok(prepared) = connection.prepare() else {
        return false;
    };
    let mut is_refused = false;
    for server in prepared.servers() {
        let connecting = prepared.options().connect(std::slice::from_ref(server));
        match timeout(LET_IN, connecting).await {
            Ok(Ok(_)) => return false,
            Ok(Err(error)) => {
                is_refused |= error.kind() == ConnectErrorKind::AuthorizationViolation;
            }
            Err(_) => {}
        }
    }
    is_refused
}

#[cfg(test)]
mod tests {
    use lattice_claims::{KeyKind, SigningKey};
    use lattice_nats_box::{NatsBox, NatsBoxOptions};

    use super::*;

    #[tokio::test]
    async fn who_is_let_in_by_one_of_several_servers_is_not_refused() {
        let options = NatsBoxOptions::private("me", "word");
        let closed = NatsBox::start_with(options).await.unwrap();
        let open = NatsBox::start().await.unwrap();
        let mut connection = Connection {
            servers: vec![closed.url.clone()],
            login: Login::Nkey(SigningKey::generate(KeyKind::User).seed()),
            ..Connection::default()
        };
        assert!(is_refused(&connection).await);
        connection.servers.push(open.url.clone());
        assert!(!is_refused(&connection).await);
    }

    #[tokio::test]
    async fn a_server_that_is_away_has_refused_nobody() {
        let options = NatsBoxOptions::private("me", "word");
        let mut server = NatsBox::start_with(options).await.unwrap();
        let connection = Connection {
            servers: vec![server.url.clone()],
            login: Login::Nkey(SigningKey::generate(KeyKind::User).seed()),
            ..Connection::default()
        };
        assert!(is_refused(&connection).await);
        server.stop();
        assert!(!is_refused(&connection).await);
    }
}
