//! Messages to provider processes.

#![expect(
    clippy::disallowed_methods,
    reason = "owns the subjects by which providers are told"
)]

use std::time::Duration;

use async_nats::Client;
use bytes::Bytes;
use serde::Serialize;
use tokio::time::timeout;

/// How long a message may wait for room in the connection's queue.
const PATIENCE: Duration = Duration::from_secs(2);

/// Publishes a message to a provider. A failure is logged: what a provider has to know is told
/// again when it is started or heard of again.
pub(crate) async fn publish(nats: &Client, subject: &str, message: &impl Serialize) {
    let payload = match serde_json::to_vec(message) {
        Ok(payload) => payload,
        Err(error) => {
            tracing::error!(subject, %error, "could not encode a message to a provider");
            return;
        }
    };
    publish_bytes(nats, subject, payload.into()).await;
}

/// The same with bytes that are a message already.
pub(crate) async fn publish_bytes(nats: &Client, subject: &str, payload: Bytes) {
    match timeout(PATIENCE, nats.publish(subject.to_owned(), payload)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::error!(subject, %error, "could not send to a provider"),
        Err(_) => tracing::error!(subject, "could not send to a provider: NATS is away"),
    }
}
