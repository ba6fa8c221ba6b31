//! The threads for calls that keep them busy.
//!
//! Calls start on the threads that serve NATS. One that computes for long moves here when it first
//! yields, and those that follow it begin here: they share all cores with their like. So do providers
//! inside the host, with the calls that they make of its components.

use std::io;
use std::time::Duration;

use lattice_rpc::threads::{cores, runtime_for_long_work};
use lattice_rpc::{Gate, Threads, WatchedThreads};
use tokio::runtime::{Handle, Runtime};

/// How long a task on the threads that serve NATS may wait for its next turn, before the host
/// counts as having more to do than it can.
const SHORT_WAIT: Duration = Duration::from_millis(2);

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

/// Makes the gate of a host and has it watch the threads that calls run on. Guests compute up to a
/// `tick` at a stretch; on the threads for such, nobody is to wait for two of them.
pub(crate) fn gate(long: Option<Handle>, tick: Duration) -> (Gate, WatchedThreads) {
    let gate = Gate::new(cores());
    let serving = Threads {
        handle: Handle::current(),
        target: SHORT_WAIT,
    };
    let long = long.map(|handle| Threads {
        handle,
        target: tick * 3 / 2,
    });
    let watched = gate.watch(serving, long);
    (gate, watched)
}

impl Drop for LongCalls {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            // Waiting for it is not allowed where a host is dropped.
            runtime.shutdown_background();
        }
    }
}
