//! The built `wash`, called as a user would call it.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::shell;
use crate::workspace::Workspace;

/// Where the lattice's NATS listens unless that port was taken.
const USUAL_PORT: &str = "4222";

/// A `wash` with a lattice to talk to.
pub(super) struct Wash {
    program: PathBuf,
    path: OsString,
    host: String,
    port: String,
}

impl Wash {
    /// Starts a lattice in the background, or finds the one that runs already.
    pub(super) fn up(program: PathBuf, workspace: &Workspace) -> Result<Self> {
        let path = workspace.path_with_tools()?;
        let mut command = Command::new(&program);
        command
            .args(["up", "--detached", "--output", "json"])
            .env("PATH", &path);
        let answer = json(&mut command)?;
        let url = answer["nats_url"].as_str().unwrap_or("127.0.0.1:4222");
        let address = url.rsplit_once("://").map_or(url, |(_, address)| address);
        let (host, port) = address
            .rsplit_once(':')
            .with_context(|| format!("`wash up` names `{url}` as NATS, which has no port"))?;
        shell::note(&format!("NATS on {address}"));
        Ok(Self {
            program,
            path,
            host: host.to_owned(),
            port: port.to_owned(),
        })
    }

    /// Folder of the program.
    pub(super) fn folder(&self) -> &Path {
        self.program.parent().unwrap_or(Path::new("."))
    }

    /// NATS of the lattice, for programs that connect to it.
    pub(super) fn nats_url(&self) -> String {
        format!("nats://{}:{}", self.host, self.port)
    }

    /// Lines for the user's shell that make `wash` find this lattice; none when it does so anyway.
    pub(super) fn exports(&self) -> String {
        if self.port == USUAL_PORT {
            return String::new();
        }
        format!("  export WASMCLOUD_CTL_PORT={}\n", self.port)
    }

    /// Runs a command, shows it, and returns its JSON document.
    pub(super) fn run(&self, arguments: &[&str]) -> Result<Value> {
        shell::note(&format!("wash {}", arguments.join(" ")));
        self.ask(arguments)
    }

    /// Runs a command that changes nothing.
    pub(super) fn ask(&self, arguments: &[&str]) -> Result<Value> {
        let mut command = Command::new(&self.program);
        command
            .args(arguments)
            .args(["--output", "json"])
            .env("PATH", &self.path)
            .env("WASMCLOUD_CTL_HOST", &self.host)
            .env("WASMCLOUD_CTL_PORT", &self.port);
        json(&mut command)
    }
}

/// Runs `wash` and reads its document; its own words are the error when it fails.
fn json(command: &mut Command) -> Result<Value> {
    let shown = format!("{command:?}");
    let output = command
        .output()
        .with_context(|| format!("could not start {shown}"))?;
    let stdout = String::from_utf8_lossy(&output.stdout);
    if output.status.success() {
        return serde_json::from_str(&stdout).with_context(|| format!("{shown} wrote no JSON"));
    }
    let said = String::from_utf8_lossy(&output.stderr);
    bail!(
        "{shown} failed ({})\n{}{}",
        output.status,
        said.trim(),
        stdout.trim()
    );
}
