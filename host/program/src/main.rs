//! `lattice-host`: parses, runs, drains, and nothing else.

use std::process::ExitCode;

use clap::Parser;
use lattice_host::cli::{HostArgs, RunError, copy_well, hide_memory, run};
use lattice_host_program::{as_provider, builtins};

/// Calls allocate often and in small pieces, which this allocator does at a third of the cost.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

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
    copy_well();
    let runtime = match lattice_rpc::threads::runtime() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: could not start the threads of the host\n  caused by: {error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(run(program.host, builtins())) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => report(&error),
    }
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
