//! `cargo xtask lint`: format and lints, as strict as a change has to pass them.

use std::process::ExitCode;

use anyhow::{Context as _, Result};
use lexopt::Parser;

use crate::shell;
use crate::workspace::Workspace;

/// Checks every workspace's format and the native one's lints.
pub(crate) fn run(workspace: &Workspace, mut arguments: Parser) -> Result<ExitCode> {
    if let Some(argument) = arguments.next()? {
        return Err(argument.unexpected().into());
    }
    shell::heading("format");
    let root = workspace.root();
    for folder in [root.to_path_buf(), workspace.examples(), root.join("fuzz")] {
        let mut format = shell::cargo();
        format.args(["fmt", "--all", "--check"]).current_dir(folder);
        shell::stream(&mut format).context("run `cargo fmt --all` there")?;
    }
    shell::heading("lints");
    let mut clippy = shell::cargo();
    clippy
        .args([
            "clippy",
            "--workspace",
            "--all-targets",
            "--",
            "--deny",
            "warnings",
        ])
        .current_dir(workspace.root());
    shell::stream(&mut clippy).context("there are lints to mend")?;
    Ok(ExitCode::SUCCESS)
}
