//! Publishes the events of a host.

#![expect(
    clippy::disallowed_methods,
    reason = "owns the subjects of events, writing"
)]

use std::time::Duration;

use async_nats::Client;
use bytes::Bytes;
use lattice_core::event::{CloudEvent, Event};
use lattice_core::{HostId, LatticeName, subject};
use tokio::time::timeout;

/// How long publishing may wait for room in the connection's queue.
const PATIENCE: Duration = Duration::from_secs(2);

/// Publishes events in the name of one host. Cheap to clone.
///
/// Publishing never fails: an operation that succeeded stays a success when nobody can be told.
#[derive(Debug, Clone)]
pub struct EventPublisher {
    nats: Client,
    lattice: LatticeName,
    source: HostId,
}

impl EventPublisher {
    /// A publisher for `source`.
    #[must_use]
    pub fn new(nats: Client, lattice: LatticeName, source: HostId) -> Self {
        Self {
            nats,
            lattice,
            source,
        }
    }

    /// Publishes an event with a fresh id and the present time. A failure is logged.
    pub async fn publish(&self, event: Event) {
        let name = event.name().to_owned();
        let envelope = CloudEvent::now(&self.source, event);
        let payload = match serde_json::to_vec(&envelope) {
            Ok(payload) => Bytes::from(payload),
            Err(error) => {
                tracing::error!(event = name, %error, "could not encode event");
                return;
            }
        };
        let subject = subject::event::event(&self.lattice, &name);
        match timeout(PATIENCE, self.nats.publish(subject, payload)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(event = name, %error, "could not publish event"),
            Err(_) => tracing::warn!(event = name, "could not publish event in time"),
        }
    }

    /// Waits until everything published so far has been sent, at most for `deadline`.
    pub async fn flush(&self, deadline: Duration) {
        match timeout(deadline, self.nats.flush()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "could not flush events"),
            Err(_) => tracing::warn!("could not flush events in time"),
        }
    }
}
