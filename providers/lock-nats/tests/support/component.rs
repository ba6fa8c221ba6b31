//! A component that uses locks.

use std::time::Duration;

use lattice_core::{ComponentId, LatticeName};
use lattice_rpc::Peer;
use lattice_rpc::wrpc::{CallContext, Client};
use tokio::time::Instant;

use super::PATIENCE;
use super::bindings::lattice::lock::lock;
pub use super::bindings::lattice::lock::types::{Error, Holder, Lease};

/// Calls a provider through one link. A call that fails as such, rather than with an error of the
/// interface, panics.
#[derive(Clone)]
pub struct Component {
    client: Client,
    link_name: String,
    limit: Duration,
}

impl Component {
    pub fn new(peer: &Peer, provider: &ComponentId, id: &str, link_name: &str) -> Self {
        let id = ComponentId::new(id).unwrap();
        let lattice = LatticeName::default();
        Self {
            client: Client::new(peer.clone(), &lattice, id, provider.clone(), PATIENCE),
            link_name: link_name.to_owned(),
            limit: PATIENCE,
        }
    }

    /// The same, with less time for each call.
    pub fn within(&self, limit: Duration) -> Self {
        Self {
            limit,
            ..self.clone()
        }
    }

    fn cx(&self) -> CallContext {
        CallContext {
            deadline: Some(Instant::now() + self.limit),
            ..CallContext::through(&self.link_name)
        }
    }

    pub async fn acquire(&self, name: &str, ttl_ms: u32, wait_ms: u32) -> Result<Lease, Error> {
        self.acquire_in("", name, ttl_ms, wait_ms).await
    }

    pub async fn acquire_in(
        &self,
        store: &str,
        name: &str,
        ttl_ms: u32,
        wait_ms: u32,
    ) -> Result<Lease, Error> {
        lock::acquire(&self.client, self.cx(), store, name, ttl_ms, wait_ms)
            .await
            .unwrap()
    }

    /// An acquisition that may fail as a call.
    pub async fn try_acquire(
        &self,
        name: &str,
        ttl_ms: u32,
        wait_ms: u32,
    ) -> anyhow::Result<Lease> {
        let called = lock::acquire(&self.client, self.cx(), "", name, ttl_ms, wait_ms).await?;
        called.map_err(|error| anyhow::anyhow!("{error:?}"))
    }

    pub async fn renew(&self, lease: &Lease, ttl_ms: u32) -> Result<Lease, Error> {
        lock::renew(&self.client, self.cx(), &lease.store, &lease.token, ttl_ms)
            .await
            .unwrap()
    }

    pub async fn release(&self, lease: &Lease) -> Result<(), Error> {
        lock::release(&self.client, self.cx(), &lease.store, &lease.token)
            .await
            .unwrap()
    }

    pub async fn inspect(&self, name: &str) -> Result<Option<Holder>, Error> {
        lock::inspect(&self.client, self.cx(), "", name)
            .await
            .unwrap()
    }
}
