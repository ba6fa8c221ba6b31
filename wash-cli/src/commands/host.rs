//! `wash host`: the host program, from the same library as `lattice-host`.

use std::error::Error as _;

pub(crate) use lattice_host::cli::HostArgs as Args;
use lattice_host::cli::RunError;

use crate::error::{CliError, Code, Result};
use crate::local;
use crate::output::Output;

/// Runs until the host has stopped; all it says is in its log, on stderr.
pub(crate) async fn run(args: Args) -> Result<Output> {
    lattice_host_program::raise_file_limit();
    lattice_host::cli::copy_well();
    match lattice_host::cli::run(args, lattice_host_program::builtins()).await {
        Ok(()) => {
            local::forget_own();
            Ok(Output::silent())
        }
        Err(error) => Err(explain(&error)),
    }
}

fn explain(error: &RunError) -> CliError {
    let code = match error {
        RunError::Settings(_) => Code::Usage,
        RunError::Start(start) if start.is_unreachable() => Code::NatsUnreachable,
        _ => Code::Unexpected,
    };
    let mut failure = CliError::new(code, error.to_string());
    if let Some(source) = error.source() {
        failure = failure.caused_by(source);
    }
    match error.hint() {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}
