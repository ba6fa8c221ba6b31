//! `cargo xtask services`: what providers are tested with, for trying things by hand.

use std::process::ExitCode;

use anyhow::{Context as _, Result};
use lexopt::Parser;

use crate::install::services;
use crate::shell;
use crate::workspace::Workspace;

/// Where they keep their data.
const DIR: &str = "LATTICE_SERVICES_DIR";

/// Installs what is missing, unless nothing is to be started, and lets the program of the services do the rest.
pub(crate) fn run(workspace: &Workspace, mut arguments: Parser) -> Result<ExitCode> {
    let words: Vec<_> = arguments.raw_args()?.collect();
    let first = words
        .first()
        .map(|word| word.to_string_lossy().into_owned());
    if matches!(first.as_deref(), Some("install" | "up")) {
        services::ensure(workspace)?;
    }
    if first.as_deref() == Some("install") {
        shell::heading("services are installed");
        return Ok(ExitCode::SUCCESS);
    }
    let mut command = shell::cargo();
    command
        .current_dir(workspace.root())
        .args(["run", "--quiet", "--package", "lattice-services", "--"])
        .args(&words)
        .env(DIR, workspace.target().join("services"))
        .env("PATH", workspace.path_with_tools()?);
    let status = command.status().context("could not start cargo")?;
    Ok(if status.success() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
