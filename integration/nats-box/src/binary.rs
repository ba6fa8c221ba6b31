//! Finds the `nats-server` binary.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::NatsBoxError;

/// Environment variables that name the binary, first one set wins.
const VARIABLES: [&str; 2] = ["LATTICE_NATS_SERVER", "NATS_SERVER"];

/// Where `cargo xtask setup` puts the binary, seen from the workspace folder.
const INSTALLED: &str = "target/tools/bin/nats-server";

/// What names an older server, and where `cargo xtask test` puts it.
const OLD: (&str, &str) = (
    "LATTICE_OLD_NATS_SERVER",
    "target/tools/bin/nats-server-debian",
);

/// Returns an older `nats-server`, of version 2.9: the one the environment names, or Debian's, which
/// `cargo xtask test` fetches.
///
/// # Errors
///
/// Returns [`NatsBoxError::NoServer`] when there is none.
pub fn find_old_server() -> Result<PathBuf, NatsBoxError> {
    let (variable, installed) = OLD;
    let named = std::env::var_os(variable).map(PathBuf::from);
    let found = named.unwrap_or_else(|| workspace().join(installed));
    existing(found, variable).map(itself)
}

/// The program behind a link to it: the server writes its ports into a file that is called as it is
/// itself.
fn itself(found: PathBuf) -> PathBuf {
    found.canonicalize().unwrap_or(found)
}

/// Returns the `nats-server` to use: the one the environment names, the one that
/// `cargo xtask setup` installed, or the first one on `PATH`.
///
/// # Errors
///
/// Returns [`NatsBoxError::NoServer`] when there is none. A binary that the
/// environment names but that does not exist is an error too: falling back to
/// another one would test something else than was asked for.
pub fn find_server() -> Result<PathBuf, NatsBoxError> {
    find(&workspace(), |variable| std::env::var_os(variable)).map(itself)
}

fn find(
    workspace: &Path,
    environment: impl Fn(&str) -> Option<OsString>,
) -> Result<PathBuf, NatsBoxError> {
    for variable in VARIABLES {
        if let Some(path) = environment(variable).map(PathBuf::from) {
            return existing(path, variable);
        }
    }
    let on_path = environment("PATH").unwrap_or_default();
    std::iter::once(workspace.join(INSTALLED))
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder with an executable in each of the known places.
    fn machine() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for file in [INSTALLED, "path/nats-server", "named"] {
            let file = dir.path().join(file);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, "").unwrap();
        }
        dir
    }

    #[test]
    fn the_environment_comes_first_then_the_installed_one_then_the_path() {
        let machine = machine();
        let root = machine.path();
        let path = |name: &str| (name == "PATH").then(|| root.join("path").into_os_string());
        let named = |name: &str| (name == VARIABLES[0]).then(|| root.join("named").into());
        assert_eq!(find(root, named).unwrap(), root.join("named"));
        assert_eq!(find(root, path).unwrap(), root.join(INSTALLED));
        std::fs::remove_file(root.join(INSTALLED)).unwrap();
        assert_eq!(find(root, path).unwrap(), root.join("path/nats-server"));
    }

    #[test]
    fn a_missing_server_is_an_error_with_a_hint() {
        let empty = tempfile::tempdir().unwrap();
        let error = find(empty.path(), |_| None).unwrap_err();
        assert!(error.to_string().contains("cargo xtask setup"), "{error}");
        let machine = machine();
        let gone = |name: &str| (name == VARIABLES[1]).then(|| "/nowhere/nats-server".into());
        let error = find(machine.path(), gone).unwrap_err();
        assert!(
            error.to_string().contains("NATS_SERVER=/nowhere"),
            "{error}"
        );
    }
}
