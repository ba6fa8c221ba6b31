//! Running `wash` as users do, with an environment of its own.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "each test program uses its own part of these helpers"
)]

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

pub mod artifacts;
pub mod fake;
pub mod local;

/// A home of its own for `wash`: nothing of the machine's user leaks into a test.
#[derive(Debug)]
pub struct Home {
    folder: TempDir,
    variables: Vec<(String, String)>,
}

/// Everything one run of `wash` gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    pub stdout: String,
    pub stderr: String,
    pub code: Option<i32>,
}

impl Home {
    pub fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            variables: Vec::new(),
        }
    }

    /// A home whose commands talk to the NATS server at this port.
    pub fn at_port(port: u16) -> Self {
        Self::new()
            .with("WASMCLOUD_CTL_PORT", port)
            .with("WASMCLOUD_RPC_PORT", port)
    }

    pub fn with(mut self, name: &str, value: impl ToString) -> Self {
        self.variables.push((name.to_owned(), value.to_string()));
        self
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    pub fn file(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, bytes).unwrap();
        path
    }

    pub fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_wash"));
        command
            .env_clear()
            .current_dir(self.path())
            .stdin(Stdio::null());
        for name in [
            "PATH",
            "LATTICE_NATS_SERVER",
            "RUSTUP_HOME",
            "CARGO_HOME",
            "TMPDIR",
        ] {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        command.env("HOME", self.path());
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Runs `wash` with these words, separated by blanks.
    pub fn wash(&self, line: &str) -> Outcome {
        self.run(&line.split_whitespace().collect::<Vec<_>>())
    }

    pub fn run(&self, args: &[&str]) -> Outcome {
        let output = self.command().args(args).output().unwrap();
        Outcome {
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
            code: output.status.code(),
        }
        .without(
            &self.path().canonicalize().unwrap().display().to_string(),
            "[HOME]",
        )
        .without(&self.path().display().to_string(), "[HOME]")
    }
}

impl Outcome {
    /// Replaces what differs from run to run.
    pub fn without(self, text: &str, name: &str) -> Self {
        Self {
            stdout: self.stdout.replace(text, name),
            stderr: self.stderr.replace(text, name),
            code: self.code,
        }
    }

    /// The JSON document on stdout; there must be exactly one.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}\n{self}"))
    }

    /// Fails the test unless the command worked.
    pub fn ok(self) -> Self {
        assert_eq!(self.code, Some(0), "{self}");
        self
    }
}

/// All of it in one text, for snapshots.
impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.stdout.is_empty() {
            write!(f, "-- stdout\n{}", self.stdout)?;
        }
        if !self.stderr.is_empty() {
            write!(f, "-- stderr\n{}", self.stderr)?;
        }
        match self.code {
            Some(code) => write!(f, "-- exit {code}"),
            None => f.write_str("-- killed"),
        }
    }
}

/// Compares a whole run with a snapshot.
#[track_caller]
pub fn expect(outcome: &Outcome, snapshot: &str) {
    let (found, wanted) = (
        outcome.to_string(),
        snapshot.trim_start_matches('\n').trim_end(),
    );
    assert!(
        found == wanted,
        "the run differs from its snapshot:\n{found}\n\n-- wanted:\n{wanted}"
    );
}

/// A port on which nothing listens.
pub fn free_port() -> u16 {
    lattice_nats_box::free_port().unwrap()
}
