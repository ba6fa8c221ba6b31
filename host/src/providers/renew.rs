//! Keeps the credentials of a provider process in step with time and with its links.

#![expect(
    clippy::disallowed_methods,
    reason = "owns the subjects by which credentials are told"
)]

mod trial;

use std::time::Duration;

use async_nats::connection::State;
use async_nats::{Client, Subscriber};
use bytes::Bytes;
use futures::StreamExt as _;
use lattice_core::provider::CredentialsTaken;
use lattice_core::subject::ProviderRights;
use lattice_nats::connection::{Connection, Creds};
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

use super::credentials::Credentials;
use super::health::{Health, Verdict};
use super::worker::Worker;
pub(super) use trial::{SHUT_OUT, Trial};

/// How long a process may take to say that it was told of new credentials.
const HEARD: Duration = Duration::from_secs(2);
/// How long it may take until it is connected with them.
const TAKEN: Duration = Duration::from_secs(12);
/// How long the host itself tries them, where the process has not said that.
const LET_IN: Duration = Duration::from_secs(5);
/// How long a server may take to answer that is there.
const ROUND: Duration = Duration::from_secs(2);
/// How long the rights of a link stay that is gone, for answers that are under way.
const GRACE: Duration = Duration::from_secs(1);

/// Why a process has not got new credentials.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Untaken {
    /// The host could not make them; its log says more.
    #[error("they could not be made")]
    NotMade,
    /// The host is cut off.
    #[error("NATS is away")]
    Away,
    /// The process does not answer, as those of the 1.9 generation do not.
    #[error(
        "it does not answer when it is told of them; one that was made for 1.x needs the annotation \
         `lattice/legacy-credentials=true`, which a strict lattice refuses"
    )]
    Silent,
    /// The server lets nobody in with them, the host neither.
    #[error(
        "the NATS server refuses them; its log says why; a signing key that was replaced has to \
         stand in the file of `--nats-account-seed`"
    )]
    Refused,
    /// The process has not said that it uses them, though it could.
    #[error("it does not say that it is connected with them")]
    Unconnected,
}

/// A process is being given credentials. Ends when this is dropped.
#[derive(Debug)]
pub(super) struct Renewal {
    rights: ProviderRights,
    task: AbortOnDropHandle<Result<(), Untaken>>,
}

impl Renewal {
    /// Waits until it is known what became of it. Nothing is lost when the future is dropped.
    pub(super) async fn done(this: Option<&mut Self>) -> Result<(), Untaken> {
        let Some(this) = this else {
            return std::future::pending().await;
        };
        // It does not panic, and is not ended while it is kept.
        (&mut this.task).await.unwrap_or(Err(Untaken::NotMade))
    }
}

impl Worker {
    /// Tells the process of links that have changed; what they need is granted before.
    pub(super) async fn links_changed(&mut self) {
        if let Some(more) = self.missing_rights() {
            self.link_publisher.withdraw_left_out().await;
            // The links are told when it is known what became of it.
            self.begin_renewal(more);
            return;
        }
        self.link_publisher.sync().await;
        if let Some(more) = self.missing_rights() {
            // Links have changed again, which the link publisher may have seen.
            self.begin_renewal(more);
            return;
        }
        let wanted = self.wanted_rights();
        if let Some((credentials, wanted)) = self.credentials.as_mut().zip(wanted) {
            credentials.note_unneeded(&wanted);
            if *credentials.held() != wanted {
                credentials.due_in(GRACE);
            }
        }
    }

    /// What the links of the process need, as far as a token has room for them. The others are not told
    /// to it.
    pub(super) fn wanted_rights(&mut self) -> Option<ProviderRights> {
        let credentials = self.credentials.as_ref()?;
        let mut links = self.deps.links.of(&self.slot.id);
        let left_out = credentials.make_room(&mut links);
        self.link_publisher.leave_out(&left_out);
        Some(credentials.wanted(&links))
    }

    /// What the process should hold, if its links need more than it does. What it needed until a moment
    /// ago stays for answers that are under way, where there is room for both.
    fn missing_rights(&mut self) -> Option<ProviderRights> {
        let wanted = self.wanted_rights()?;
        let credentials = self.credentials.as_ref()?;
        if credentials.held().with(&wanted) == *credentials.held() {
            return None;
        }
        let both = credentials.with_recent(&wanted, GRACE);
        match credentials.fits(&both) {
            true => Some(both),
            false => Some(wanted),
        }
    }

    /// Replaces credentials that end soon, or that reach further than they have to. Says why the
    /// process is of no use any more, if it is not.
    pub(super) async fn credentials_due(&mut self) -> Option<&'static str> {
        if self.credentials.as_ref()?.is_over() {
            let is_there = self.is_connected() && answers(&self.deps.nats).await;
            let ends = self.credentials.as_mut()?.has_to_end(is_there);
            return ends.then_some("its NATS credentials have ended");
        }
        if self.credentials.as_ref()?.is_overdue() {
            return Some("it does not take the NATS credentials that fit its links");
        }
        self.look_at_key().await;
        let wanted = self.wanted_rights()?;
        self.begin_renewal(wanted);
        None
    }

    fn is_connected(&self) -> bool {
        self.deps.nats.connection_state() == State::Connected
    }

    /// Gives the process new credentials with these rights. What becomes of it is known later, so that
    /// a process that does not answer holds up nothing else.
    fn begin_renewal(&mut self, rights: ProviderRights) {
        let given = self.prepare_renewal(&rights);
        let task = async move {
            match given {
                Ok(given) => given.give().await,
                Err(why) => Err(why),
            }
        };
        self.renewal = Some(Renewal {
            rights,
            task: AbortOnDropHandle::new(tokio::spawn(task)),
        });
    }

    fn prepare_renewal(&mut self, rights: &ProviderRights) -> Result<Given, Untaken> {
        let credentials = self.credentials.as_mut().ok_or(Untaken::NotMade)?;
        let new = credentials.make(rights).map_err(|error| {
            tracing::error!(%error, "could not make credentials for a provider");
            Untaken::NotMade
        })?;
        let sealed = Credentials::seal(&new, &self.deps.xkey, &self.xkey);
        let xkey = self.xkey.public_key();
        Ok(Given {
            nats: self.deps.nats.clone(),
            subject: self.subjects.credentials(&xkey),
            taken: self.subjects.credentials_taken(&xkey),
            serial: new.serial,
            sealed: sealed.ok_or(Untaken::NotMade)?,
            same: self.as_whom(Creds {
                jwt: new.jwt,
                seed: new.seed,
            }),
        })
    }

    /// What became of new credentials is known.
    pub(super) async fn renewed(&mut self, health: &mut Health, done: Result<(), Untaken>) {
        let Some(Renewal { rights, .. }) = self.renewal.take() else {
            return;
        };
        let is_connected = self.is_connected();
        let Some(credentials) = &mut self.credentials else {
            return;
        };
        let Err(why) = done else {
            credentials.took(rights);
            self.trial.forget();
            if self.unrenewed.take().is_some() {
                let provider = self.slot.id.as_str();
                tracing::info!(provider, "a provider has taken its new NATS credentials");
            }
            self.links_changed().await;
            return;
        };
        credentials.failed(&rights);
        if matches!(why, Untaken::Unconnected | Untaken::Refused) {
            credentials.heard();
        }
        let is_away = why == Untaken::Away || !is_connected;
        if is_away || why == Untaken::Refused {
            // Another process would fare no better.
            credentials.excuse();
        }
        if !is_away && self.unrenewed.is_none() {
            self.tell_untaken(health, why);
        }
        // Whoever cannot be told of credentials hears of its links all the same, and those that are
        // gone: what it may not do yet, the server refuses.
        self.link_publisher.sync().await;
    }

    /// Says once, aloud, that a process goes on with what it had.
    fn tell_untaken(&mut self, health: &mut Health, why: Untaken) {
        let provider = self.slot.id.as_str();
        let text = format!("it has not taken its new NATS credentials: {why}");
        tracing::warn!(
            provider,
            "a provider goes on with the rights that it had: {text}"
        );
        self.slot.set_problem(Some(text.clone()));
        if health.failed() {
            self.tell_health(Verdict::Failed, Some(text.clone()));
        }
        self.unrenewed = Some(text);
    }
}

/// Credentials on their way to a process.
struct Given {
    nats: Client,
    subject: String,
    taken: String,
    serial: u64,
    sealed: Vec<u8>,
    /// How the process connects with them.
    same: Connection,
}

impl Given {
    async fn give(self) -> Result<(), Untaken> {
        let taken = self.nats.subscribe(self.taken).await;
        let mut taken = taken.map_err(|_| Untaken::Away)?;
        let told = self.nats.request(self.subject, self.sealed.into());
        match timeout(HEARD, told).await {
            Ok(Ok(_)) => {}
            _ => return Err(Untaken::Silent),
        }
        match timeout(TAKEN, until_taken(&mut taken, self.serial)).await {
            Ok(true) => Ok(()),
            _ if is_let_in(&self.same).await => Err(Untaken::Unconnected),
            _ => Err(Untaken::Refused),
        }
    }
}

/// Whether the server answers. That there is a connection says little after the machine has slept: it may
/// have been gone for long.
async fn answers(nats: &Client) -> bool {
    let round = async {
        let inbox = nats.new_inbox();
        let mut own = nats.subscribe(inbox.clone()).await.ok()?;
        nats.publish(inbox, Bytes::new()).await.ok()?;
        own.next().await
    };
    matches!(timeout(ROUND, round).await, Ok(Some(_)))
}

/// Whether a server lets in who connects so.
async fn is_let_in(connection: &Connection) -> bool {
    let Ok(prepared) = connection.prepare() else {
        return false;
    };
    let connecting = prepared.options().connect(prepared.servers());
    matches!(timeout(LET_IN, connecting).await, Ok(Ok(_)))
}

async fn until_taken(taken: &mut Subscriber, serial: u64) -> bool {
    while let Some(message) = taken.next().await {
        let said = serde_json::from_slice::<CredentialsTaken>(&message.payload);
        if said.is_ok_and(|said| said.serial == serial) {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use lattice_nats_box::{Middleman, NatsBox};

    use super::*;

    #[tokio::test]
    async fn a_server_that_says_nothing_is_not_there_though_the_connection_is() {
        let server = NatsBox::start().await.unwrap();
        let middleman = Middleman::before(server.port).await.unwrap();
        let url = middleman.instead_of(&server.url);
        let client = async_nats::connect(url).await.unwrap();
        assert!(answers(&client).await);
        middleman.delay_answers(10 * ROUND);
        assert!(!answers(&client).await);
        assert_eq!(client.connection_state(), State::Connected);
    }
}
