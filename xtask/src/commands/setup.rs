//! `cargo xtask setup`: installs what is missing and says so; silent and quick when nothing is.

use std::process::ExitCode;

use anyhow::Result;
use lexopt::Parser;

use crate::install::{guest::GuestToolchain, nats, nextest, redis};
use crate::shell;
use crate::workspace::Workspace;

/// Installs every tool of the repository.
pub(crate) fn run(workspace: &Workspace, mut arguments: Parser) -> Result<ExitCode> {
    if let Some(argument) = arguments.next()? {
        return Err(argument.unexpected().into());
    }
    nats::ensure(workspace)?;
    GuestToolchain::ensure(workspace)?;
    redis::ensure(workspace)?;
    nextest::ensure(workspace)?;
    shell::heading(&format!(
        "tools are ready in {}",
        workspace.tools().display()
    ));
    Ok(ExitCode::SUCCESS)
}
