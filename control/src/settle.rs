//! Making sure that the server knows a subscription.

#![expect(clippy::disallowed_methods, reason = "asks on a subject of its own")]

use std::time::Duration;

use async_nats::client::RequestErrorKind;
use async_nats::{Client, RequestError};
use tokio::time::timeout;

/// Waits until the server has handled everything sent on this connection so far.
///
/// Sending a subscription does not mean that the server knows it. A request to a subject of our
/// own that nobody serves comes back with "no responders" after everything before it.
pub(crate) async fn settle(nats: &Client, within: Duration) -> Result<(), SettleError> {
    let nobody = format!("{}.settle", nats.new_inbox());
    match timeout(within, nats.request(nobody, "".into())).await {
        Err(_) => Err(SettleError::Timeout),
        Ok(Err(error)) if error.kind() != RequestErrorKind::NoResponders => {
            Err(SettleError::Request(error))
        }
        Ok(_) => Ok(()),
    }
}

/// Why the server's knowledge is in doubt.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SettleError {
    #[error("the NATS server did not answer in time")]
    Timeout,
    #[error(transparent)]
    Request(RequestError),
}
