//! Calls straight over the bus, as a peer makes them, and waiting for what they lead to.

#![expect(clippy::disallowed_methods, reason = "watches calls from outside")]

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use async_nats::{Client, Subscriber};
use bytes::{BufMut as _, Bytes, BytesMut};
use futures::{FutureExt as _, StreamExt as _};
use lattice_codec::write;
use lattice_rpc::{CallError, Invocation, Peer};
use tokio::time::{Instant, timeout};

use crate::{Lattice, STEP};

/// The function of the probe that gives back the text it takes.
pub const ECHO: &str = "test:probe/echo@0.1.0.text";

/// The function of the probe that takes as many milliseconds as it is told.
pub const SLEEP: &str = "test:probe/behave@0.1.0.sleep";

/// The function of an HTTP component that answers requests.
pub const HANDLE: &str = "wrpc:http/incoming-handler@0.1.0.handle";

/// Builds parameters out of what `fill` writes.
pub fn params(fill: impl FnOnce(&mut BytesMut)) -> Bytes {
    let mut out = BytesMut::new();
    fill(&mut out);
    out.freeze()
}

/// A text as parameters or result.
pub fn text(text: &str) -> Bytes {
    texts(&[text])
}

/// Texts, one after the other.
pub fn texts(texts: &[&str]) -> Bytes {
    with_tail(texts, &[])
}

/// Bytes after texts, as they are.
pub fn with_tail(first: &[&str], tail: &[u8]) -> Bytes {
    params(|out| {
        first.iter().for_each(|text| write::string(out, text));
        out.put_slice(tail);
    })
}

/// A number as parameters or result.
pub fn number(number: u64) -> Bytes {
    params(|out| write::uleb(out, number))
}

/// The subject of a function of an entity in the lattice of the box.
pub fn subject(id: &str, function: &str) -> String {
    format!("default.{id}.wrpc.0.0.1.{function}")
}

/// Calls a function and gives it `ms` milliseconds.
///
/// # Errors
///
/// Fails as the call does.
pub async fn call(
    peer: &Peer,
    id: &str,
    function: &str,
    params: Bytes,
    ms: u64,
) -> Result<Bytes, CallError> {
    let deadline = Instant::now() + Duration::from_millis(ms);
    let invocation = Invocation::new(subject(id, function), deadline).source("test");
    peer.call(invocation, params).await
}

/// Calls the echo of a probe; gives how long it took.
///
/// # Errors
///
/// Fails when the call does, or gives something else.
pub async fn echo(peer: &Peer, id: &str) -> Result<Duration> {
    let before = Instant::now();
    let answer = call(peer, id, ECHO, text("still here"), 5000).await?;
    ensure!(answer == text("still here"), "another echo: {answer:?}");
    Ok(before.elapsed())
}

/// The calls of one function, as they come by on the bus.
#[derive(Debug)]
pub struct Calls(Subscriber, Client);

impl Calls {
    /// Waits until `count` calls have begun since the last time.
    ///
    /// # Errors
    ///
    /// Fails when fewer have in time.
    pub async fn begun(&mut self, count: usize) -> Result<()> {
        let calls = self.0.by_ref().take(count).count();
        let seen = timeout(STEP, calls).await.context("fewer calls came")?;
        ensure!(seen == count, "the connection has ended");
        Ok(())
    }
}

impl Calls {
    /// Whether no call has come by until now.
    ///
    /// # Errors
    ///
    /// Fails when the connection has ended.
    pub async fn none(&mut self) -> Result<bool> {
        lattice_nats_box::taken_in(&self.1).await?;
        Ok(self.0.next().now_or_never().is_none())
    }
}

impl Lattice {
    /// Watches the calls of a function from now on.
    ///
    /// # Errors
    ///
    /// Fails without a connection.
    pub async fn calls(&self, id: &str, function: &str) -> Result<Calls> {
        let calls = self.client.subscribe(subject(id, function)).await?;
        lattice_nats_box::taken_in(&self.client).await?;
        Ok(Calls(calls, self.client.clone()))
    }
}

/// Tries `check` until it holds.
///
/// # Errors
///
/// Fails with the last error when it does not hold in time.
pub async fn until<T>(mut check: impl AsyncFnMut() -> Result<T>) -> Result<T> {
    let limit = Instant::now() + STEP;
    loop {
        match check().await {
            Ok(found) => return Ok(found),
            Err(error) if Instant::now() >= limit => return Err(error),
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}
