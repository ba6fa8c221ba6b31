//! `--capabilities`: what an operation of each capability costs through a component, beside the
//! same by the backend's own client.
//!
//! The same operations are repeated on several roads, one after the other in each round: by the
//! client alone, by a component whose provider runs in its host, by one whose provider is a process
//! of its own, and, where the backend is a library, by the provider's implementation without a
//! lattice. What is told is the share of the client's operations that are left.

mod catalog;
mod component;
mod ground;
mod native;
pub(crate) mod page;
mod rounds;
mod sdk;

use std::sync::Arc;

use anyhow::Result;
use futures::future::BoxFuture;

pub(crate) use rounds::run;

/// What is done at once.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Batch<'a> {
    /// What the guest `ops` calls it.
    pub(crate) kind: &'a str,
    /// The key, object, subject, queue, lock or address that it is done with.
    pub(crate) place: &'a str,
    /// How often, one after the other.
    pub(crate) times: u32,
    /// How many bytes are written or expected.
    pub(crate) size: u32,
}

/// Something that does operations, in whichever way.
pub(crate) trait Work: Send + Sync {
    /// Does a batch.
    fn run<'a>(&'a self, batch: Batch<'a>) -> BoxFuture<'a, Result<()>>;
}

/// One way.
pub(crate) type Worker = Arc<dyn Work>;

/// The error of an operation that a way does not know.
fn unknown<T>(kind: &str) -> Result<T> {
    anyhow::bail!("there is no way to do `{kind}` here")
}
