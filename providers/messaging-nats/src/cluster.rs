//! One connection to NATS, shared by the links that say the same.

use std::io::Write as _;
use std::time::Duration;

use async_nats::connection::State;
use async_nats::jetstream::Context;
use async_nats::jetstream::context::ContextBuilder;
use async_nats::jetstream::response::Response;
use lattice_provider_sdk::BoxError;
use lattice_provider_sdk::nats::{self, NatsError};
use serde_json::Value;
use tempfile::NamedTempFile;

use crate::settings::ClusterSettings;

/// How long JetStream may take to answer; less than the usual deadline of a call, so that the
/// caller hears what is missing.
const ANSWER_LIMIT: Duration = Duration::from_secs(3);

/// A connection to NATS.
pub(crate) struct Cluster {
    pub(crate) nats: async_nats::Client,
    pub(crate) jetstream: Context,
    /// How the subjects of answers begin.
    pub(crate) inbox: String,
    /// Read again whenever the connection is made again.
    _authority: Option<NamedTempFile>,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    /// The server is not there or refuses, or the login cannot be used.
    #[error(transparent)]
    Nats(#[from] NatsError),
    /// The certificates to trust could not be kept.
    #[error("could not write the link's `tls_ca` to a file")]
    Authority(#[source] std::io::Error),
}

impl Cluster {
    /// Uses the connection of the lattice, or makes one under the name `name`.
    pub(crate) async fn connect(
        settings: &ClusterSettings,
        own: &async_nats::Client,
        name: &str,
    ) -> Result<Self, ConnectError> {
        let mut authority = None;
        let nats = match &settings.server {
            None => own.clone(),
            Some(server) => {
                let mut server = server.clone();
                if let Some(pem) = &settings.authority {
                    let file = keep(pem.expose()).map_err(ConnectError::Authority)?;
                    server.ca_file = Some(file.path().to_path_buf());
                    authority = Some(file);
                }
                let adjust = |options: async_nats::ConnectOptions| {
                    let options = options.ping_interval(nats::BACKEND_PING_INTERVAL);
                    match &settings.inbox {
                        Some(prefix) => options.custom_inbox_prefix(prefix),
                        None => options,
                    }
                };
                nats::connect_with(&server, name, adjust).await?
            }
        };
        let context = ContextBuilder::new();
        let jetstream = match &settings.domain {
            Some(domain) => context.domain(domain).timeout(ANSWER_LIMIT),
            None => context.timeout(ANSWER_LIMIT),
        };
        let inbox = settings.inbox.as_deref().unwrap_or("_INBOX");
        Ok(Self {
            jetstream: jetstream.build(nats.clone()),
            nats,
            inbox: format!("{inbox}."),
            _authority: authority,
        })
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
        self.nats.connection_state() == State::Connected
    }
}

fn keep(pem: &str) -> std::io::Result<NamedTempFile> {
    let mut file = NamedTempFile::with_prefix("messaging-nats-ca-")?;
    file.write_all(pem.as_bytes())?;
    file.flush()?;
    Ok(file)
}
