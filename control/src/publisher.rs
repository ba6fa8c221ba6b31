//! Publishes the events of a host.

#![expect(
    clippy::disallowed_methods,
    reason = "owns the subjects of events, writing"
)]

mod heartbeat;

use std::sync::Arc;
use std::time::Duration;

use async_nats::Client;
use bytes::Bytes;
use lattice_core::event::{CloudEvent, Event};
use lattice_core::{HostId, LatticeName, subject};
use lattice_rpc::throttle::LogThrottle;
use tokio::time::timeout;

use heartbeat::Encoded;

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
    /// Of the lines about heartbeats that are too large.
    too_large: Arc<LogThrottle>,
}

impl EventPublisher {
    /// A publisher for `source`.
    #[must_use]
    pub fn new(nats: Client, lattice: LatticeName, source: HostId) -> Self {
        Self {
            nats,
            lattice,
            source,
            too_large: Arc::default(),
        }
    }

    /// Publishes an event with a fresh id and the present time. A failure is logged.
    pub async fn publish(&self, event: Event) {
        let name = event.name().to_owned();
        let envelope = CloudEvent::now(&self.source, event);
        let Some(payload) = self.encode(&name, envelope) else {
            return;
        };
        let subject = subject::event::event(&self.lattice, &name);
        match timeout(PATIENCE, self.nats.publish(subject, payload)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(event = name, %error, "could not publish event"),
            Err(_) => tracing::warn!(event = name, "could not publish event in time"),
        }
    }

    /// The bytes of an event, if it can be sent. What cannot, or only in part, is logged.
    fn encode(&self, name: &str, envelope: CloudEvent) -> Option<Bytes> {
        let max = self.nats.max_payload();
        match heartbeat::encode(envelope, max) {
            Ok(Encoded { payload, left_out }) if left_out.is_empty() => Some(payload),
            Ok(Encoded { payload, left_out }) => {
                let bytes = payload.len();
                self.tell_of_size(bytes, max, &left_out);
                (bytes <= max).then_some(payload)
            }
            Err(error) => {
                tracing::error!(event = name, %error, "could not encode event");
                None
            }
        }
    }

    /// Logs that a heartbeat was too large, and has so many bytes without what was left out.
    fn tell_of_size(&self, bytes: usize, max: usize, left_out: &[&str]) {
        let Some(untold) = self.too_large.turn() else {
            return;
        };
        let left_out = left_out.join(", ");
        if bytes <= max {
            tracing::warn!(
                bytes,
                max,
                untold,
                "a heartbeat is too large for NATS and is sent without {left_out}"
            );
        } else {
            tracing::error!(
                bytes,
                max,
                untold,
                hint = "run less on this host, or let the NATS servers take more (`max_payload`)",
                "a heartbeat is not sent, and this host may be taken for gone: it is too large for NATS \
                 even without {left_out}"
            );
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
