//! cargo-nextest, the test runner.

use std::process::Command;

use anyhow::Result;

use super::{cached, cargo_install, link};
use crate::shell;
use crate::versions::NEXTEST;
use crate::workspace::Workspace;

const PROGRAM: &str = "bin/cargo-nextest";

/// Makes sure that `cargo nextest` runs: the machine's own, or one under `target/tools/bin`.
pub(crate) fn ensure(workspace: &Workspace) -> Result<()> {
    let mut probe = Command::new("cargo-nextest");
    probe
        .args(["nextest", "--version"])
        .env("PATH", workspace.path_with_tools()?);
    if shell::query(&mut probe).is_some() {
        return Ok(());
    }
    shell::heading(&format!("cargo-nextest {NEXTEST}"));
    let entry = cached(
        workspace,
        &format!("cargo-nextest-{NEXTEST}"),
        PROGRAM,
        |dir| {
            shell::note("building it from source, once per machine; this takes some minutes");
            cargo_install("cargo-nextest", NEXTEST, dir)
        },
    )?;
    link(
        &entry.join(PROGRAM),
        &workspace.tools_bin().join("cargo-nextest"),
    )
}
