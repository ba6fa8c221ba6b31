//! The built `wash`, called as a user would call it.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::shell;
use crate::workspace::Workspace;

/// A `wash` with a lattice to talk to.
pub(super) struct Wash {
    program: PathBuf,
    path: OsString,
    nats: String,
}

impl Wash {
    /// Starts a lattice in the background, or finds the one that runs already.
    pub(super) fn up(program: PathBuf, workspace: &Workspace, isolated: bool) -> Result<Self> {
        let path = workspace.path_with_tools()?;
        let mut command = Command::new(&program);
        command
            .args(["up", "--detached", "--output", "json"])
            .args(isolated.then_some("--isolated"))
            .env("PATH", &path);
        let answer = json(&mut command)?;
        if answer["already_running"] == true {
            shell::note("a lattice runs already, with the programs that it was started with;");
            shell::note("to run what was built since: `wash down`, then this again");
        }
        let url = answer["nats_url"]
            .as_str()
            .context("`wash up` does not name its NATS server")?;
        let address = url.rsplit_once("://").map_or(url, |(_, address)| address);
        shell::note(&format!("NATS on {address}"));
        Ok(Self {
            program,
            path,
            nats: format!("nats://{address}"),
        })
    }

    /// Folder of the program.
    pub(super) fn folder(&self) -> &Path {
        self.program.parent().unwrap_or(Path::new("."))
    }

    /// NATS of the lattice, for programs that connect to it.
    pub(super) fn nats_url(&self) -> &str {
        &self.nats
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
            .env("PATH", &self.path);
        json(&mut command)
    }
}

/// Runs `wash` and reads its document; its own words are the error when it fails.
fn json(command: &mut Command) -> Result<Value> {
    let shown = shell::display(command);
    let output = command
        .output()
        .with_context(|| format!("could not start `{shown}`"))?;
    let document: Option<Value> = serde_json::from_slice(&output.stdout).ok();
    match document {
        Some(document) if output.status.success() => {
            // Beside the document it says what its user should know.
            String::from_utf8_lossy(&output.stderr)
                .lines()
                .for_each(shell::note);
            Ok(document)
        }
        Some(document) => bail!(
            "`{shown}` failed ({}){}",
            output.status,
            said(&document["error"])
        ),
        None => {
            let stderr = String::from_utf8_lossy(&output.stderr);
            bail!(
                "`{shown}` wrote no document ({})\n{}",
                output.status,
                stderr.trim()
            )
        }
    }
}

/// What an error document says, a line each.
fn said(error: &Value) -> String {
    let causes = error["causes"].as_array().map_or(&[][..], Vec::as_slice);
    let lines = std::iter::once(&error["message"])
        .chain(causes)
        .filter_map(Value::as_str);
    let hint = error["hint"].as_str().map(|hint| format!("hint: {hint}"));
    lines
        .map(str::to_owned)
        .chain(hint)
        .map(|line| format!("\n    {line}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn failure_says_what_why_and_hint() {
        let error = json!({"code": "WASH0031", "message": "no host", "causes": ["gone"], "hint": "start one"});
        assert_eq!(said(&error), "\n    no host\n    gone\n    hint: start one");
    }

    #[test]
    fn program_without_a_document_is_an_error() {
        let error = json(Command::new("sh").args(["-c", "echo broken >&2; exit 70"])).unwrap_err();
        assert!(error.to_string().contains("broken"), "{error}");
    }
}
