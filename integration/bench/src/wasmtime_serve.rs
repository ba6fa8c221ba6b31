//! The same component behind `wasmtime serve`, with its defaults.

use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Context as _, Result};
use tokio::process::{Child, Command};

/// Names the program, of the version that the host is built with.
const PROGRAM: &str = "LATTICE_WASMTIME";

/// What to tell when there is none.
pub(crate) const HOW_TO_GET_IT: &str =
    "wasmtime_serve was left out; `cargo xtask bench --wasmtime` installs it and measures it too";

/// The program, when there is one.
pub(crate) fn program() -> Option<PathBuf> {
    std::env::var_os(PROGRAM)
        .filter(|path| !path.is_empty())
        .map(PathBuf::from)
}

/// Serves a component at `address`, which is a `file://` reference.
pub(crate) fn start(address: &str, reference: &str) -> Result<Child> {
    let program = program().with_context(|| format!("{PROGRAM} is not set"))?;
    let path = reference.strip_prefix("file://").unwrap_or(reference);
    Command::new(&program)
        .args(["serve", "-S", "cli", "--addr", address, path])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("could not start `{}`", program.display()))
}
