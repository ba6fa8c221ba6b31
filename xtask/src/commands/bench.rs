//! `cargo xtask bench`: measures a whole lattice of release programs.

use std::process::ExitCode;

use anyhow::{Context as _, Result};
use lexopt::Parser;

use super::build::{self, Profile};
use super::guests;
use crate::install::{nats, redis};
use crate::shell;
use crate::workspace::Workspace;

/// Builds everything in release and runs the benchmark; arguments go to it.
pub(crate) fn run(workspace: &Workspace, mut arguments: Parser) -> Result<ExitCode> {
    let chosen: Vec<_> = arguments.raw_args()?.collect();
    let nats_server = nats::ensure(workspace)?;
    let redis_server = redis::ensure(workspace)?;
    guests::compile(workspace)?;
    let programs = build::compile(workspace, Profile::Release)?;
    shell::heading("benchmark");
    let mut command = shell::cargo();
    command
        .args([
            "run",
            "--release",
            "--quiet",
            "--package",
            "lattice-bench",
            "--",
        ])
        .args(chosen)
        .current_dir(workspace.root())
        .env("LATTICE_NATS_SERVER", nats_server)
        .env("LATTICE_REDIS_SERVER", redis_server)
        .env("LATTICE_BIN_DIR", programs);
    shell::stream(&mut command).context("the benchmark failed")?;
    Ok(ExitCode::SUCCESS)
}
