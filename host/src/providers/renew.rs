//! Keeps the credentials of a provider process in step with time and with its links.

#![expect(
    clippy::disallowed_methods,
    reason = "owns the subjects by which credentials are told"
)]

use std::time::Duration;

use async_nats::Subscriber;
use futures::StreamExt as _;
use lattice_core::provider::CredentialsTaken;
use lattice_core::subject::ProviderRights;
use tokio::time::timeout;

use super::credentials::Credentials;
use super::worker::Worker;

/// How long a process may take to say that it was told of new credentials.
const HEARD: Duration = Duration::from_secs(2);
/// How long it may take until it is connected with them.
const TAKEN: Duration = Duration::from_secs(12);
/// How long the rights of a link stay that is gone, for answers that are under way.
const GRACE: Duration = Duration::from_secs(1);

impl Worker {
    /// Tells the process of links that have changed; what they need is granted before.
    pub(super) async fn links_changed(&mut self) {
        loop {
            // Links may have changed again while the process took its credentials.
            if let Some(credentials) = &self.credentials {
                let wanted = credentials.wanted(&self.deps.links.of(&self.slot.id));
                let both = credentials.held().with(&wanted);
                if both != *credentials.held() {
                    // When it does not work out now, it is due again soon, and the links with it.
                    if !self.renew_credentials(both).await {
                        return;
                    }
                    continue;
                }
            }
            self.teller.sync().await;
            let Some(credentials) = &mut self.credentials else {
                return;
            };
            let wanted = credentials.wanted(&self.deps.links.of(&self.slot.id));
            if credentials.held().with(&wanted) == *credentials.held() {
                if *credentials.held() != wanted {
                    credentials.due_in(GRACE);
                }
                return;
            }
        }
    }

    /// Replaces credentials that end soon, or that reach further than they have to. `false` when
    /// they have ended, so that the process is of no use any more.
    pub(super) async fn credentials_due(&mut self) -> bool {
        let links = self.deps.links.of(&self.slot.id);
        let Some(credentials) = &self.credentials else {
            return true;
        };
        if credentials.is_over() {
            return false;
        }
        let wanted = credentials.wanted(&links);
        if self.renew_credentials(wanted).await {
            self.links_changed().await;
        }
        true
    }

    /// Gives the process new credentials with these rights, and waits until it uses them.
    async fn renew_credentials(&mut self, rights: ProviderRights) -> bool {
        let done = self.try_renew(&rights).await;
        let Some(credentials) = &mut self.credentials else {
            return true;
        };
        match done {
            Ok(()) => credentials.took(rights),
            Err(why) => {
                let provider = self.slot.id.as_str();
                tracing::debug!(provider, "the process has not taken new credentials: {why}");
                credentials.failed();
            }
        }
        done.is_ok()
    }

    async fn try_renew(&mut self, rights: &ProviderRights) -> Result<(), &'static str> {
        let Some(credentials) = &mut self.credentials else {
            return Ok(());
        };
        let new = credentials.make(rights).map_err(|error| {
            tracing::error!(%error, "could not make credentials for a provider");
            "they could not be made"
        })?;
        let sealed = Credentials::seal(&new, &self.deps.xkey, &self.xkey);
        let sealed = sealed.ok_or("they could not be sealed")?;
        let xkey = self.xkey.public_key();
        let nats = &self.deps.nats;
        let taken = nats.subscribe(self.subjects.credentials_taken(&xkey));
        let mut taken = taken.await.map_err(|_| "NATS is away")?;
        let told = nats.request(self.subjects.credentials(&xkey), sealed.into());
        match timeout(HEARD, told).await {
            Ok(Ok(_)) => {}
            _ => return Err("it does not answer"),
        }
        match timeout(TAKEN, until_taken(&mut taken, new.serial)).await {
            Ok(true) => Ok(()),
            _ => Err("it does not say that it is connected with them"),
        }
    }
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
