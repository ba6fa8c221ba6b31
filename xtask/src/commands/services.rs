//! `cargo xtask services`: what providers are tested with, for trying things by hand.

use std::ffi::{OsStr, OsString};
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use lexopt::Parser;
use sha2::{Digest as _, Sha256};

use crate::install::{nats, services};
use crate::shell;
use crate::workspace::Workspace;

/// Where they keep their data.
const DIR: &str = "LATTICE_SERVICES_DIR";

/// Where the data of root's services is when other users cannot come to the target folder, which
/// PostgreSQL and MariaDB run as. Only root writes there, so nobody can lay a link in its place.
const OF_ROOT: &str = "/var/lib/lattice-services";

/// What the brokers of Kafka's protocol are called here.
const KAFKA: &str = "kafka";

/// Whether the arguments of `up` name Kafka, or nothing and so everything.
fn starts_kafka(words: &[OsString]) -> bool {
    let mut kinds = words.iter().skip(1).filter(|word| !is_option(word));
    words.iter().any(|word| word == KAFKA) || kinds.next().is_none()
}

fn is_option(word: &OsStr) -> bool {
    word.as_encoded_bytes().starts_with(b"-")
}

/// The folder for their data; of one clone it is always the same.
fn data_folder(workspace: &Workspace) -> Result<PathBuf> {
    let usual = workspace.target().join("services");
    if !shell::is_root() || all_may_enter(workspace.target()) {
        return Ok(usual);
    }
    let folder = elsewhere(&usual);
    for folder in [Path::new(OF_ROOT), &folder] {
        fs::create_dir_all(folder)
            .and_then(|()| fs::set_permissions(folder, Permissions::from_mode(0o755)))
            .with_context(|| format!("could not make `{}`", folder.display()))?;
    }
    shell::note(&format!(
        "data is in {}, since only root comes to {}",
        folder.display(),
        usual.display()
    ));
    Ok(folder)
}

/// Whether users that own none of it can go through a folder and all above it, as far as it exists.
fn all_may_enter(folder: &Path) -> bool {
    let mut existing = folder
        .ancestors()
        .filter_map(|folder| fs::metadata(folder).ok());
    existing.all(|found| found.permissions().mode() & 0o001 != 0)
}

/// The folder that stands for `usual`.
fn elsewhere(usual: &Path) -> PathBuf {
    let digest = Sha256::digest(usual.as_os_str().as_encoded_bytes());
    let name: String = digest.iter().take(8).map(|b| format!("{b:02x}")).collect();
    Path::new(OF_ROOT).join(name)
}

/// Builds its brokers, which no registry has: the client library brings them.
fn build_kafka() -> Result<()> {
    shell::heading("brokers of Kafka's protocol (minutes the first time)");
    let mut build = shell::cargo();
    build.args(["build", "--package", "messaging-kafka", "--bin"]);
    build.arg("kafka-mock-brokers");
    shell::stream(&mut build).context("the brokers do not compile")
}

/// Installs what is missing, unless nothing is to be started, and lets the program of the services do the rest.
pub(crate) fn run(workspace: &Workspace, mut arguments: Parser) -> Result<ExitCode> {
    let words: Vec<_> = arguments.raw_args()?.collect();
    let first = words
        .first()
        .map(|word| word.to_string_lossy().into_owned());
    if matches!(first.as_deref(), Some("install" | "up")) {
        nats::ensure(workspace)?;
        nats::ensure_old(workspace)?;
        services::ensure(workspace)?;
    }
    if first.as_deref() == Some("up") && starts_kafka(&words) {
        build_kafka()?;
    }
    if first.as_deref() == Some("install") {
        shell::heading("services are installed");
        return Ok(ExitCode::SUCCESS);
    }
    let mut command = shell::cargo();
    command
        .current_dir(workspace.root())
        .args(["run", "--quiet", "--package", "lattice-services", "--"])
        .args(&words)
        .env(DIR, data_folder(workspace)?)
        .env("PATH", workspace.path_with_tools()?);
    let status = command.status().context("could not start cargo")?;
    Ok(if status.success() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folder_that_only_its_owner_enters_is_told_apart() {
        let name = format!("lattice-xtask-enter-{}", std::process::id());
        let outer = std::env::temp_dir().join(name);
        fs::create_dir_all(outer.join("target")).unwrap();
        fs::set_permissions(outer.join("target"), Permissions::from_mode(0o755)).unwrap();
        let mut entered = Vec::new();
        for mode in [0o755, 0o700] {
            fs::set_permissions(&outer, Permissions::from_mode(mode)).unwrap();
            entered.push(all_may_enter(&outer.join("target/new")));
        }
        fs::remove_dir_all(&outer).unwrap();
        // Whatever lies above is the machine's own.
        let above = all_may_enter(&std::env::temp_dir());
        assert_eq!(entered, [above, false]);
    }

    #[test]
    fn each_clone_has_a_folder_of_its_own_that_is_found_again() {
        let of = |clone: &str| elsewhere(Path::new(clone));
        assert_eq!(of("/root/a/target"), of("/root/a/target"));
        assert_ne!(of("/root/a/target"), of("/root/b/target"));
        assert_eq!(of("/root/a/target").parent(), Some(Path::new(OF_ROOT)));
    }

    #[test]
    fn kafka_is_built_where_it_is_started() {
        let starts = |words: &[&str]| {
            let words: Vec<_> = words.iter().map(OsString::from).collect();
            starts_kafka(&words)
        };
        assert!(starts(&["up"]) && starts(&["up", "redis", "kafka"]));
        assert!(!starts(&["up", "redis"]));
    }
}
