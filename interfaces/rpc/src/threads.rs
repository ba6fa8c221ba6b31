//! How many threads the programs of a lattice have.

use std::cell::Cell;
use std::io;

use tokio::runtime::{Builder, Runtime};

/// The variable that goes before what is chosen here; tokio reads it.
const CHOSEN: &str = "TOKIO_WORKER_THREADS";

thread_local! {
    static FOR_LONG_WORK: Cell<bool> = const { Cell::new(false) };
}

/// Whether this is a thread of a runtime for what keeps its threads busy.
pub(crate) fn is_for_long_work() -> bool {
    FOR_LONG_WORK.get()
}

/// A runtime for a program that moves messages: half as many workers as the machine has cores.
///
/// No program of a lattice has its machine for itself. There are a host, mostly a NATS server, and
/// providers; workers that are woken only to find others at work cost more than they do, and what
/// moves from core to core finds cold caches. `TOKIO_WORKER_THREADS` chooses another number.
///
/// # Errors
///
/// The system's, when it gives no threads.
pub fn runtime() -> io::Result<Runtime> {
    let mut builder = Builder::new_multi_thread();
    if std::env::var_os(CHOSEN).is_none() {
        builder.worker_threads((cores() / 2).max(1));
    }
    builder.enable_all().build()
}

/// A runtime for what keeps its threads busy: as many workers as the machine has cores.
///
/// # Errors
///
/// The system's, when it gives no threads.
pub fn runtime_for_long_work() -> io::Result<Runtime> {
    Builder::new_multi_thread()
        .worker_threads(cores())
        .thread_name("long-call")
        .on_thread_start(|| FOR_LONG_WORK.set(true))
        .enable_all()
        .build()
}

/// How many cores the machine has for this program.
#[must_use]
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}
