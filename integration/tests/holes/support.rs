//! What the tests of holes share: peers as they are on a 1.9 lattice.

#![expect(clippy::disallowed_methods, reason = "a test speaks the wire itself")]

use std::time::Duration;

use anyhow::{Result, ensure};
use bytes::Bytes;
use futures::StreamExt as _;
use lattice_integration::{Lattice, STEP, echo, subject};
use lattice_rpc::{IncomingCall, Limiter, Peer, ServeHandle, ServeOptions};
use tokio::time::timeout;

/// Calls the echo, which has to answer within a second.
pub(crate) async fn answers_at_once(peer: &Peer, id: &str) -> Result<()> {
    let took = echo(peer, id).await?;
    ensure!(took < Duration::from_secs(1), "it took {took:?}");
    Ok(())
}

/// Sends what a caller of the 1.9 lattice sends first, and forgets the call: nobody hears the
/// accept, nothing follows.
pub(crate) async fn forget(lattice: &Lattice, subject: String, first: Bytes) -> Result<()> {
    let inbox = lattice.client.new_inbox();
    Ok(lattice
        .client
        .publish_with_reply(subject, inbox, first)
        .await?)
}

/// Calls as a caller of the 1.9 lattice does, and leaves when the call was accepted. One who had not even
/// listened until then is told apart by NATS.
pub(crate) async fn leave(lattice: &Lattice, subject: String, first: Bytes) -> Result<()> {
    let inbox = lattice.client.new_inbox();
    let mut accepts = lattice.client.subscribe(inbox.clone()).await?;
    lattice
        .client
        .publish_with_reply(subject, inbox, first)
        .await?;
    let accept = timeout(STEP, accepts.next()).await?;
    ensure!(
        accept.is_some_and(|accept| accept.reply.is_some()),
        "the call was not accepted"
    );
    Ok(())
}

/// Serves a function under an id of its own, in the place of a component or provider.
pub(crate) async fn stand_in<H, F>(
    peer: &Peer,
    id: &str,
    function: &str,
    handler: H,
) -> Result<ServeHandle>
where
    H: Fn(IncomingCall) -> F + Send + Sync + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    let options = ServeOptions {
        limiter: std::sync::Arc::new(Limiter::new(1000, 1000, Duration::from_secs(1))),
        default_deadline: Duration::from_secs(5),
        longest_deadline: Duration::from_secs(60),
        relief: lattice_rpc::Relief::default(),
        takes: None,
    };
    let queue = format!("default.{id}");
    let serving = peer
        .serve(&subject(id, function), &queue, options, handler)
        .await?;
    peer.confirm(Duration::from_secs(5)).await?;
    Ok(serving)
}
