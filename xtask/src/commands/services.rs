//! `cargo xtask services`: what providers are tested with, for trying things by hand.

use std::ffi::{OsStr, OsString};
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use lexopt::Parser;

use crate::install::{nats, services};
use crate::shell;
use crate::workspace::Workspace;

/// Where they keep their data.
const DIR: &str = "LATTICE_SERVICES_DIR";

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
        .env(DIR, workspace.target().join("services"))
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
    fn kafka_is_built_where_it_is_started() {
        let starts = |words: &[&str]| {
            let words: Vec<_> = words.iter().map(OsString::from).collect();
            starts_kafka(&words)
        };
        assert!(starts(&["up"]) && starts(&["up", "redis", "kafka"]));
        assert!(!starts(&["up", "redis"]));
    }
}
