//! One NATS and the queues on it that are in use.

use std::collections::HashMap;
use std::io::Write as _;
use std::sync::Arc;

use async_nats::jetstream::context::ContextBuilder;
use lattice_provider_sdk::nats::{self, NatsError};
use lattice_provider_sdk::queue::QueueError;
use parking_lot::RwLock;
use tempfile::NamedTempFile;
use tokio::sync::Mutex;

use crate::leases::Leases;
use crate::queue::Queue;
use crate::settings::{ClusterSettings, QueueSettings};
use crate::wire::{ANSWER_LIMIT, Wire};

/// How many queues are kept open. More may be used; they are opened again.
const OPEN_QUEUES: usize = 1024;

/// A connection to NATS with what is known about its queues.
#[derive(Debug)]
pub(crate) struct Cluster {
    pub(crate) wire: Wire,
    pub(crate) leases: Leases,
    prefix: String,
    /// Read again whenever the connection is made again.
    _authority: Option<NamedTempFile>,
    open: RwLock<HashMap<String, Arc<Queue>>>,
    /// Held while a queue is looked up, so that many calls at once ask once.
    opening: Mutex<()>,
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
                nats::connect(&server, name).await?
            }
        };
        let context = ContextBuilder::new().timeout(ANSWER_LIMIT);
        let jetstream = match &settings.domain {
            Some(domain) => context.domain(domain).build(nats.clone()),
            None => context.build(nats.clone()),
        };
        let wire = Wire { nats, jetstream };
        Ok(Self {
            leases: Leases::new(wire.clone()),
            wire,
            prefix: settings.prefix.clone(),
            _authority: authority,
            open: RwLock::default(),
            opening: Mutex::default(),
        })
    }

    /// The queue of that name, created as `create` says if it is missing.
    pub(crate) async fn queue(
        &self,
        name: &str,
        create: Option<&QueueSettings>,
    ) -> Result<Arc<Queue>, QueueError> {
        self.wire.connected()?;
        if let Some(known) = self.known(name) {
            return Ok(known);
        }
        let _one_at_a_time = self.opening.lock().await;
        if let Some(known) = self.known(name) {
            return Ok(known);
        }
        let queue = Queue::open(&self.wire, &self.prefix, name, create).await?;
        let queue = Arc::new(queue);
        let mut open = self.open.write();
        if open.len() >= OPEN_QUEUES {
            open.clear();
        }
        open.insert(name.to_owned(), Arc::clone(&queue));
        Ok(queue)
    }

    fn known(&self, name: &str) -> Option<Arc<Queue>> {
        self.open.read().get(name).map(Arc::clone)
    }

    /// Looks a queue up again before its next use: it may have been deleted.
    pub(crate) fn forget(&self, name: &str) {
        self.open.write().remove(name);
    }
}

fn keep(pem: &str) -> std::io::Result<NamedTempFile> {
    let mut file = NamedTempFile::with_prefix("queue-nats-ca-")?;
    file.write_all(pem.as_bytes())?;
    file.flush()?;
    Ok(file)
}
