//! The functions that a provider serves, and how they end.

use std::pin::Pin;

use futures::{Stream, StreamExt as _};
use lattice_rpc::ServeHandle;
use parking_lot::Mutex;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

type Call = Pin<Box<dyn Future<Output = anyhow::Result<()>> + Send>>;

/// The calls of one function, as bindings made by `wit-bindgen-wrpc` take them in.
pub type Invocations = Pin<Box<dyn Stream<Item = anyhow::Result<Call>> + Send>>;

/// Owns what a provider serves.
#[derive(Debug, Default)]
pub(crate) struct Serving {
    handles: Mutex<Vec<ServeHandle>>,
    /// Stops functions that are served through bindings from taking calls.
    leave: CancellationToken,
    /// Ends the calls of those functions.
    abort: CancellationToken,
    tasks: TaskTracker,
}

impl Serving {
    pub(crate) fn leave(&self) -> &CancellationToken {
        &self.leave
    }

    pub(crate) fn keep(&self, handle: ServeHandle) {
        self.handles.lock().push(handle);
    }

    /// Runs each call in a task of its own; finished ones leave nothing behind.
    pub(crate) fn drive(
        &self,
        instance: &'static str,
        function: &'static str,
        mut calls: Invocations,
    ) {
        let tasks = self.tasks.clone();
        let abort = self.abort.clone();
        self.tasks.spawn(async move {
            loop {
                let next = tokio::select! {
                    biased;
                    () = abort.cancelled() => break,
                    next = calls.next() => next,
                };
                match next {
                    None => break,
                    Some(Err(error)) => {
                        tracing::warn!(instance, function, error = %format!("{error:#}"), "refused a call");
                    }
                    Some(Ok(call)) => {
                        tasks.spawn(run(instance, function, call, abort.clone()));
                    }
                }
            }
        });
    }

    /// Stops taking calls, answers those that have arrived, and ends by `until` at the latest.
    pub(crate) async fn drain(&self, until: Instant) {
        self.leave.cancel();
        self.tasks.close();
        let handles = std::mem::take(&mut *self.handles.lock());
        let drained = futures::future::join_all(handles.into_iter().map(|h| h.drain(until)));
        let driven = async {
            if tokio::time::timeout_at(until, self.tasks.wait())
                .await
                .is_err()
            {
                self.abort.cancel();
                self.tasks.wait().await;
            }
        };
        futures::join!(drained, driven);
    }
}

async fn run(instance: &'static str, function: &'static str, call: Call, abort: CancellationToken) {
    let done = tokio::select! {
        biased;
        () = abort.cancelled() => return,
        done = call => done,
    };
    if let Err(error) = done {
        tracing::warn!(instance, function, error = %format!("{error:#}"), "a call failed");
    }
}
