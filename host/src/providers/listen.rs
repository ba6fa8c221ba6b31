//! Messages of provider processes.

#![expect(
    clippy::disallowed_methods,
    reason = "owns the subjects by which providers report"
)]

use async_nats::{Client, Subscriber};
use futures::StreamExt as _;
use serde::de::DeserializeOwned;

/// Listens to what a provider says between two health requests: about its links, which health answers
/// tell as well, and of calls.
pub(super) async fn subscribe(nats: &Client, subject: String) -> Option<Subscriber> {
    match nats.subscribe(subject.clone()).await {
        Ok(reports) => Some(reports),
        Err(error) => {
            tracing::warn!(subject, %error, "could not subscribe to reports of a provider");
            None
        }
    }
}

/// The next report, if there will be any.
pub(super) async fn next<T: DeserializeOwned>(
    reports: &mut Option<Subscriber>,
) -> Option<Result<T, serde_json::Error>> {
    let message = reports.as_mut()?.next().await?;
    Some(serde_json::from_slice(&message.payload))
}
