//! The threads for calls that keep them busy.
//!
//! Calls start on the threads that serve NATS. One that computes for long moves here when it first
//! yields, and those that follow it begin here: they share all cores with their like. So do providers
//! inside the host, with the calls that they make of its components.

use std::io;

use lattice_rpc::threads::runtime_for_long_work;
use tokio::runtime::{Handle, Runtime};

/// Threads that end, with what runs on them, when this is dropped.
#[derive(Debug)]
pub(crate) struct LongCalls(Option<Runtime>);

impl LongCalls {
    pub(crate) fn start() -> io::Result<Self> {
        runtime_for_long_work().map(|runtime| Self(Some(runtime)))
    }

    pub(crate) fn handle(&self) -> Option<Handle> {
        self.0.as_ref().map(|runtime| runtime.handle().clone())
    }
}

impl Drop for LongCalls {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            // Waiting for it is not allowed where a host is dropped.
            runtime.shutdown_background();
        }
    }
}
