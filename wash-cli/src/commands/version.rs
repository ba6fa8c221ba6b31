//! `wash --version`: of this program and of what it starts.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tokio::process::Command;

use super::up::find_server;
use crate::output::{Output, fields};

/// How long `nats-server` may take to tell its version.
const ANSWER: Duration = Duration::from_secs(5);

/// The keys are those of 1.x, as far as there is something to name: there is no `wadm` here.
pub(crate) async fn run() -> Output {
    let wash = concat!("v", env!("CARGO_PKG_VERSION")).to_owned();
    let host = format!("v{}", lattice_host::VERSION);
    let nats = match find_server() {
        Some(program) => server_version(&program).await,
        None => None,
    };
    let mut text = format!("wash {wash}");
    let mut data = fields([("wash", Value::from(wash))]);
    if let Some(nats) = nats {
        text.push_str(&format!("\n  nats-server {nats}"));
        data.insert("nats-server".to_owned(), nats.into());
    }
    text.push_str(&format!("\n  wasmcloud {host}"));
    data.insert("wasmcloud".to_owned(), host.into());
    Output::new(text, data)
}

async fn server_version(program: &Path) -> Option<String> {
    let mut command = Command::new(program);
    command
        .arg("--version")
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true);
    // A program that does not answer has a version that is not known.
    let output = tokio::time::timeout(ANSWER, command.output()).await;
    parse(&String::from_utf8(output.ok()?.ok()?.stdout).ok()?)
}

/// Reads `nats-server: v2.11.3`.
fn parse(text: &str) -> Option<String> {
    let version = text.trim().strip_prefix("nats-server:")?.trim();
    (!version.is_empty()).then(|| version.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_of_a_server_is_read() {
        assert_eq!(parse("nats-server: v2.11.3\n").as_deref(), Some("v2.11.3"));
        assert_eq!(parse("what?"), None);
    }
}
