//! Operations that a component does.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use bytes::{Bytes, BytesMut};
use futures::FutureExt as _;
use futures::future::BoxFuture;
use lattice_codec::{Reader, write};
use lattice_integration::subject;
use lattice_rpc::{CallError, Invocation, Peer, RemoteError};
use tokio::time::Instant;

use super::{Batch, Work};

/// How long one batch may take.
const LIMIT: Duration = Duration::from_secs(60);
/// How long to wait before a batch that had no turn is tried again.
const PAUSE: Duration = Duration::from_millis(5);
const RUN: &str = "test:ops/ops.run";

/// A running component of the guest `ops`.
#[derive(Debug)]
pub(super) struct Component {
    peer: Peer,
    subject: String,
}

impl Component {
    pub(super) fn new(peer: Peer, id: &str) -> Self {
        Self {
            peer,
            subject: subject(id, RUN),
        }
    }

    /// Calls, and again when the host had no turn for the call in time, as any client would. What
    /// that takes is counted.
    async fn answer(&self, params: Bytes) -> Result<Bytes, CallError> {
        let until = Instant::now() + LIMIT;
        loop {
            let call = Invocation::new(self.subject.clone(), until).source("bench");
            match self.peer.call(call, params.clone()).await {
                Err(CallError::Remote(error))
                    if error.code == RemoteError::OVERLOADED && Instant::now() < until =>
                {
                    tokio::time::sleep(PAUSE).await;
                }
                answer => return answer,
            }
        }
    }

    async fn call(&self, batch: Batch<'_>) -> Result<()> {
        let mut params = BytesMut::new();
        write::string(&mut params, batch.kind);
        write::string(&mut params, batch.place);
        write::uleb(&mut params, u64::from(batch.times));
        write::uleb(&mut params, u64::from(batch.size));
        let answer = self.answer(params.freeze()).await;
        let mut read = Reader::new(answer.with_context(|| format!("`{}`", batch.kind))?);
        if read.result_is_err()? {
            bail!("`{}` in the component: {}", batch.kind, read.string()?);
        }
        Ok(())
    }
}

impl Work for Component {
    fn run<'a>(&'a self, batch: Batch<'a>) -> BoxFuture<'a, Result<()>> {
        self.call(batch).boxed()
    }
}
