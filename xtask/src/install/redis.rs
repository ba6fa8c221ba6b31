//! redis-server: Debian's, without the service that its package would start.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use super::{apt, link, on_path};
use crate::shell;
use crate::workspace::Workspace;

/// Debian ships one program under several names, in a package that has no service.
const MULTI_CALL: &str = "/usr/bin/redis-check-rdb";

/// Makes sure that there is a redis-server and returns its path.
pub(crate) fn ensure(workspace: &Workspace) -> Result<PathBuf> {
    let tool = workspace.tools_bin().join("redis-server");
    if runs(&tool) {
        return Ok(tool);
    }
    if let Some(program) = on_path("redis-server").filter(|program| runs(program)) {
        link(&program, &tool)?;
        return Ok(tool);
    }
    shell::heading("redis-server");
    apt::install(&["redis-tools"])?;
    link(Path::new(MULTI_CALL), &tool)?;
    if !runs(&tool) {
        apt::install(&["redis-server"])?;
        let program = on_path("redis-server")
            .context("the package `redis-server` brought no program of that name")?;
        link(&program, &tool)?;
    }
    shell::note(&format!("ready: {}", tool.display()));
    Ok(tool)
}

/// Whether `program` is a redis-server; it decides by the name it is called by.
fn runs(program: &Path) -> bool {
    program.exists()
        && shell::query(Command::new(program).arg("--version"))
            .is_some_and(|version| version.contains("server"))
}
