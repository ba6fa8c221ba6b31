//! One NATS and the queues on it that are in use.

use std::collections::HashMap;
use std::sync::Arc;

use lattice_provider_sdk::Session;
use lattice_provider_sdk::nats::{NatsBackend, NatsError};
use lattice_provider_sdk::queue::QueueError;
use parking_lot::RwLock;
use tokio::sync::Mutex;

use crate::counts::Counts;
use crate::leases::Leases;
use crate::queue::Queue;
use crate::settings::{ClusterSettings, QueueSettings};
use crate::wire::{RealDomains, Wire};

/// How many queues are kept open. More may be used; they are opened again.
const OPEN_QUEUES: usize = 1024;

/// A connection to NATS with what is known about its queues.
#[derive(Debug)]
pub(crate) struct Cluster {
    pub(crate) wire: Wire,
    pub(crate) leases: Leases,
    pub(crate) counts: Counts,
    prefix: String,
    /// Holds what connecting again needs.
    _backend: NatsBackend,
    open: RwLock<HashMap<String, Arc<Queue>>>,
    /// Held while a queue is looked up, so that many calls at once ask once.
    opening: Mutex<()>,
}

impl Cluster {
    /// Uses the connection of the lattice, or makes one.
    pub(crate) async fn connect(
        settings: &ClusterSettings,
        session: &Session,
    ) -> Result<Self, NatsError> {
        let backend = NatsBackend::open(&settings.nats, session).await?;
        let wire = Wire {
            nats: backend.client().clone(),
            jetstream: backend.jetstream().clone(),
            domain: settings.nats.domain.as_deref().map(Arc::from),
            real: RealDomains::default(),
        };
        Ok(Self {
            leases: Leases::new(wire.clone()),
            counts: Counts::default(),
            wire,
            prefix: settings.prefix.clone(),
            _backend: backend,
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
