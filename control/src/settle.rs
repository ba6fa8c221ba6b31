//! Making sure that the server knows a subscription.

#![expect(clippy::disallowed_methods, reason = "writes to a subject of its own")]

use std::time::Duration;

use async_nats::{Client, PublishError, SubscribeError};
use futures::StreamExt as _;
use tokio::time::timeout;

/// Waits until the server has handled everything sent on this connection so far.
///
/// Sending a subscription does not mean that the server knows it. A message to an inbox of our own
/// comes back after everything before it, whoever else listens there.
pub(crate) async fn settle(nats: &Client, within: Duration) -> Result<(), SettleError> {
    let come_back = async {
        let inbox = nats.new_inbox();
        let mut mine = nats.subscribe(inbox.clone()).await?;
        nats.publish(inbox, "".into()).await?;
        mine.next().await.map(drop).ok_or(SettleError::Closed)
    };
    let done = timeout(within, come_back).await;
    done.unwrap_or(Err(SettleError::Timeout))
}

/// Why the server's knowledge is in doubt.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SettleError {
    #[error(
        "a message to an inbox of this connection did not come back in time: the NATS server does \
         not answer, or its user may not write to and read from its inbox"
    )]
    Timeout,
    #[error("the connection to NATS has ended")]
    Closed,
    #[error(transparent)]
    Subscribe(#[from] SubscribeError),
    #[error(transparent)]
    Publish(#[from] PublishError),
}
