//! What a provider process is told of its own, once, and again where it may have missed it.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use lattice_core::StringMap;
use lattice_core::provider::SecretMap;

use super::delivery::Confidence;
use super::send::{publish, publish_bytes};
use super::worker::Worker;
use crate::trust::secrets::SecretState;

/// What a process was started with.
#[derive(Debug)]
pub(super) struct Given {
    pub(super) config: Arc<StringMap>,
    pub(super) secrets: Arc<SecretMap>,
}

/// How often the two ends of what a process is told have connected to NATS: what is told while one of
/// them is away is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Connects {
    host: u64,
    /// Those of 1.9 do not tell.
    process: Option<u64>,
}

impl Worker {
    pub(super) async fn tell_config(&self, config: &StringMap) {
        let nats = &self.deps.nats;
        let own = self.subjects.config_update_of(&self.xkey.public_key());
        publish(nats, &own, config).await;
        // One of 1.9 listens where all of its id do, whatever they are started with, and so does one of
        // ours from before processes told how often they have connected.
        if self.connects.is_none_or(|known| known.process.is_none()) {
            publish(nats, &self.subjects.config_update(), config).await;
        }
    }

    /// The provider's own secrets, as far as they can be had.
    pub(super) fn own_secrets(&self) -> Option<Arc<SecretMap>> {
        match self.secrets.current() {
            SecretState::Ready(secrets) => Some(secrets),
            SecretState::Pending | SecretState::Failed(_) => None,
        }
    }

    /// Gives the process its own secrets anew. One that may no longer have them keeps what it has
    /// in its memory; nothing that is told could take that away.
    pub(super) async fn tell_secrets(&self) {
        let Some(secrets) = self.own_secrets() else {
            let provider = self.slot.id.as_str();
            tracing::warn!(provider, "the secrets of a provider cannot be had any more");
            return;
        };
        match self.sealer.seal(&secrets) {
            Ok(Some(sealed)) => {
                let subject = self.subjects.secrets_update(&self.xkey.public_key());
                publish_bytes(&self.deps.nats, &subject, sealed.into()).await;
            }
            Ok(None) => {}
            Err(error) => tracing::error!(%error, "could not seal the secrets of a provider"),
        }
    }

    /// The process listens: what has changed since its start is said again.
    pub(super) async fn heard_of(&mut self, heard: Confidence) {
        if let Some(given) = self.given.take() {
            let config = self.config.merged();
            if config != given.config {
                self.tell_config(&config).await;
            }
            if self.own_secrets().is_some_and(|now| now != given.secrets) {
                self.tell_secrets().await;
            }
        }
        self.link_publisher.heard(heard).await;
    }

    /// The process has answered, which has connected so often, if it tells. What may have been lost on
    /// its way to it since the answer before is said again.
    pub(super) async fn met(&mut self, heard: Confidence, process: Option<u64>) {
        // However it does: of which generation it is says how it is told to do without a link.
        self.link_publisher.meet(heard);
        let statistics = self.deps.nats.statistics();
        let host = statistics.connects.load(Ordering::Relaxed);
        let now = Connects { host, process };
        let before = self.connects.replace(now);
        if before.is_none_or(|before| before == now) {
            self.link_publisher.has_heard();
            return;
        }
        let provider = self.slot.id.as_str();
        tracing::info!(
            provider,
            "a provider may have missed what it was told, and is told again"
        );
        self.link_publisher.may_have_missed();
        // One of 1.9 would do again what it does for a config. Its links follow when it is well.
        if heard == Confidence::Surely {
            let config = self.config.merged();
            self.tell_config(&config).await;
            if self.own_secrets().is_some() {
                self.tell_secrets().await;
            }
            // Those that it has may end before there are new ones again.
            self.renew_identity_tokens().await;
            self.link_publisher.heard(heard).await;
        }
    }
}
