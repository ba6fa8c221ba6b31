//! The listening sockets of the provider, by address.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use lattice_provider_sdk::{LinkError, LinkKey, Session};
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use crate::listener::{Listener, MAX_CONNECTIONS};
use crate::route::{Route, Routes};
use crate::settings::Mode;

/// How long requests may take to finish after their link has gone.
const DRAIN: Duration = Duration::from_secs(30);

/// Owns the sockets.
pub(crate) struct Servers {
    session: Session,
    room: Arc<Semaphore>,
    listeners: Mutex<HashMap<SocketAddr, Listener>>,
    /// Sockets that are closed while requests are still being answered.
    draining: TaskTracker,
}

impl Servers {
    pub(crate) fn new(session: Session) -> Self {
        Self {
            session,
            room: Arc::new(Semaphore::new(MAX_CONNECTIONS)),
            listeners: Mutex::default(),
            draining: TaskTracker::new(),
        }
    }

    /// Gives a link its place at an address, listening there if nobody does yet.
    pub(crate) fn add(
        &self,
        address: SocketAddr,
        mode: &Mode,
        route: Route,
    ) -> Result<(), LinkError> {
        let mut listeners = self.listeners.lock();
        if let Some(listener) = listeners.get(&address) {
            let component = route.key.peer.clone();
            let waits = listener.shared().routes().write().add(mode, route);
            let waits = waits.map_err(|_| {
                let what =
                    format!("{address} is still in use by links that route by another header");
                LinkError::unavailable(what)
            })?;
            if let Some(owner) = waits {
                tracing::info!(%address, %component, owner = %owner.peer, "waits for its turn");
            }
            return Ok(());
        }
        let mut routes = Routes::new(mode);
        if routes.add(mode, route).is_err() {
            return Err(LinkError::invalid("the link does not fit the routing mode"));
        }
        let peer = self.session.peer().clone();
        let listener =
            Listener::bind(address, peer, routes, Arc::clone(&self.room)).map_err(|e| {
                LinkError::unavailable_because(format!("could not listen on {address}"), e)
            })?;
        listeners.insert(address, listener);
        Ok(())
    }

    /// Accepts connections at an address of a link again, where that has broken off.
    pub(crate) fn check(&self, address: SocketAddr) -> Result<(), LinkError> {
        match self.listeners.lock().get_mut(&address) {
            Some(listener) => listener.go_on().map_err(|e| {
                let what = format!("could not listen on {address} again");
                LinkError::unavailable_because(what, e)
            }),
            None => {
                let what = format!("nobody listens on {address}");
                Err(LinkError::unavailable(what))
            }
        }
    }

    /// Takes a link's place away; the last one at an address closes it. Requests under way finish.
    pub(crate) async fn remove(&self, key: &LinkKey) {
        for mut listener in self.take_unused(key) {
            listener.close().await;
            self.draining.spawn(listener.drain(Instant::now() + DRAIN));
        }
    }

    fn take_unused(&self, key: &LinkKey) -> Vec<Listener> {
        let mut listeners = self.listeners.lock();
        let unused = listeners.extract_if(|_, listener| {
            let mut routes = listener.shared().routes().write();
            routes.remove(key) && routes.any().is_none()
        });
        unused.map(|(_, listener)| listener).collect()
    }

    /// Closes every address and lets requests under way finish, by `until` at the latest.
    pub(crate) async fn shutdown(&self, until: Instant) {
        let listeners: Vec<_> = self.listeners.lock().drain().collect();
        for (_, mut listener) in listeners {
            listener.close().await;
            self.draining.spawn(listener.drain(until));
        }
        self.draining.close();
        if tokio::time::timeout_at(until, self.draining.wait())
            .await
            .is_err()
        {
            tracing::warn!("left requests unfinished");
        }
    }
}
