//! One connection to NATS, shared by the links that say the same.

use async_nats::jetstream::Context;
use async_nats::jetstream::response::Response;
use lattice_provider_sdk::nats::{NatsBackend, NatsError};
use lattice_provider_sdk::{BoxError, Session};
use serde_json::Value;

use crate::settings::ClusterSettings;

/// A connection to NATS.
pub(crate) struct Cluster {
    pub(crate) nats: async_nats::Client,
    pub(crate) jetstream: Context,
    /// How the subjects of answers begin.
    pub(crate) inbox: String,
    backend: NatsBackend,
}

impl Cluster {
    /// Uses the connection of the lattice, or makes one.
    pub(crate) async fn connect(
        settings: &ClusterSettings,
        session: &Session,
    ) -> Result<Self, NatsError> {
        let adjust = |options: async_nats::ConnectOptions| match &settings.inbox {
            Some(prefix) => options.custom_inbox_prefix(prefix),
            None => options,
        };
        let backend = NatsBackend::open_with(&settings.nats, session, adjust).await?;
        let inbox = settings.inbox.as_deref().unwrap_or("_INBOX");
        Ok(Self {
            nats: backend.client().clone(),
            jetstream: backend.jetstream().clone(),
            inbox: format!("{inbox}."),
            backend,
        })
    }

    /// Whether another connection leads to the same NATS.
    pub(crate) fn is_with(&self, client: &async_nats::Client) -> bool {
        self.backend.is_with(client)
    }

    /// Asks whether JetStream is there for this login.
    pub(crate) async fn has_jetstream(&self) -> Result<(), BoxError> {
        // Read as anything: servers of 2.9 leave out what the client's own type wants.
        let answer: Response<Value> = self.jetstream.request("INFO", &()).await?;
        match answer {
            Response::Ok(_) => Ok(()),
            Response::Err { error } => Err(error.into()),
        }
    }

    /// Whether there is a connection right now. What is sent without one waits for the next one.
    pub(crate) fn is_connected(&self) -> bool {
        self.backend.is_connected()
    }
}
