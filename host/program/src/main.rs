//! `lattice-host`: parses, runs, drains, and nothing else.

use std::io;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use lattice_host::cli::{HostArgs, RunError, copy_well, hide_memory, run};
use lattice_host_program::{as_provider, builtins, raise_file_limit};

/// Calls allocate often and in small pieces, which this allocator does at a third of the cost.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How long threads that are busy may keep the program after its host has stopped: what compiles cannot be
/// ended, and may take hours.
const LAST_WORK: Duration = Duration::from_secs(5);

/// Runs one host of a lattice.
#[derive(Debug, Parser)]
#[command(name = "lattice-host", version = lattice_host::VERSION)]
struct Program {
    #[command(flatten)]
    host: HostArgs,
}

fn main() -> ExitCode {
    // It may have been started with seeds, and makes or reads some: nothing comes before.
    hide_memory();
    if let Some(code) = as_provider() {
        return code;
    }
    let program = Program::parse();
    raise_file_limit();
    copy_well();
    match on_threads(run(program.host, builtins())) {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(error)) => report(&error),
        Err(error) => {
            eprintln!("error: could not start the threads of the host\n  caused by: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Does the work of the program on threads of its own, and ends them.
fn on_threads<T>(work: impl Future<Output = T>) -> io::Result<T> {
    let runtime = lattice_rpc::threads::runtime()?;
    let done = runtime.block_on(work);
    runtime.shutdown_timeout(LAST_WORK);
    Ok(done)
}

/// Prints what failed, why, and what to do.
fn report(error: &RunError) -> ExitCode {
    eprintln!("error: {error}");
    let mut cause = std::error::Error::source(error);
    while let Some(why) = cause {
        eprintln!("  caused by: {why}");
        cause = why.source();
    }
    if let Some(hint) = error.hint() {
        eprintln!("hint: {hint}");
    }
    ExitCode::from(error.exit_code())
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use tokio::sync::oneshot;

    use super::*;

    #[test]
    fn a_thread_that_stays_busy_does_not_keep_the_program() {
        let (end, ended) = mpsc::channel::<()>();
        let (begin, begun) = oneshot::channel::<()>();
        let done = on_threads(async move {
            let _thread = tokio::task::spawn_blocking(move || {
                let _begun = begin.send(());
                let _ended = ended.recv_timeout(12 * LAST_WORK);
            });
            begun.await
        });
        done.unwrap().unwrap();
        assert!(end.send(()).is_ok(), "it was waited for");
    }
}
