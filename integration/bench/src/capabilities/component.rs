//! Operations that a component does.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use bytes::BytesMut;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use lattice_codec::{Reader, write};
use lattice_integration::subject;
use lattice_rpc::{Invocation, Peer};
use tokio::time::Instant;

use super::{Batch, Work};

/// How long one batch may take.
const LIMIT: Duration = Duration::from_secs(60);
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

    async fn call(&self, batch: Batch<'_>) -> Result<()> {
        let mut params = BytesMut::new();
        write::string(&mut params, batch.kind);
        write::string(&mut params, batch.place);
        write::uleb(&mut params, u64::from(batch.times));
        write::uleb(&mut params, u64::from(batch.size));
        let call = Invocation::new(self.subject.clone(), Instant::now() + LIMIT).source("bench");
        let answer = self.peer.call(call, params.freeze()).await;
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
