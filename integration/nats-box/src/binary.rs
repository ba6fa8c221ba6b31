//! Finds the `nats-server` binary.

use std::path::{Path, PathBuf};

use crate::NatsBoxError;

/// Environment variables that name the binary, first one set wins.
const VARIABLES: [&str; 2] = ["LATTICE_NATS_SERVER", "NATS_SERVER"];

/// Where `cargo xtask setup` puts the binary, seen from the workspace folder.
const INSTALLED: &str = "target/tools/bin/nats-server";

/// Returns the `nats-server` to use: the one the environment names, the one that
/// `cargo xtask setup` installed, or the first one on `PATH`.
///
/// # Errors
///
/// Returns [`NatsBoxError::NoServer`] when there is none. A binary that the
/// environment names but that does not exist is an error too: falling back to
/// another one would test something else than was asked for.
pub fn find_server() -> Result<PathBuf, NatsBoxError> {
    for variable in VARIABLES {
        if let Some(path) = std::env::var_os(variable).map(PathBuf::from) {
            return existing(path, variable);
        }
    }
    let installed = workspace().join(INSTALLED);
    let on_path = std::env::var_os("PATH").unwrap_or_default();
    std::iter::once(installed)
        .chain(std::env::split_paths(&on_path).map(|dir| dir.join("nats-server")))
        .find(|candidate| candidate.is_file())
        .ok_or_else(|| NatsBoxError::NoServer {
            looked_at: format!("{}, `{INSTALLED}`, PATH", VARIABLES.join(", ")),
        })
}

fn existing(path: PathBuf, variable: &str) -> Result<PathBuf, NatsBoxError> {
    if path.is_file() {
        return Ok(path);
    }
    Err(NatsBoxError::NoServer {
        looked_at: format!("{variable}={}", path.display()),
    })
}

fn workspace() -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.ancestors().nth(2).unwrap_or(own).to_path_buf()
}
