//! A shell with folders and ports of its own, and the programs under test on its path.
//!
//! It starts as a clone in which programs are built and no tool is fetched: what a readme calls
//! beside them has to come from one of its own steps, or from the machine.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::Write as _;
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use lattice_integration::{free_port, program, workspace};
use tempfile::TempDir;
use tokio::process::Command;

/// Longest time for one command.
const LIMIT: Duration = Duration::from_secs(90);

/// Redis is not part of the lattice and is ended apart from it.
const REDIS_PORT: &str = "6379";

/// Where `cargo xtask setup` puts tools, from the target folder.
const TOOLS: &str = "tools/bin";

/// Runs commands as a reader would, apart from everything else on this machine.
#[derive(Debug)]
pub(crate) struct Shell {
    home: TempDir,
    nats_port: u16,
    path: OsString,
    ports: BTreeMap<String, String>,
}

impl Shell {
    /// Makes a shell in which each of `ports` stands for another, free one.
    pub(crate) fn new(ports: &[&str]) -> Result<Self> {
        let home = tempfile::Builder::new()
            .prefix("lattice-readme-")
            .tempdir()?;
        let programs = program("wash")?;
        let programs = programs.parent().context("`wash` lies in no folder")?;
        let folders = [
            write_cargo(home.path(), programs)?,
            programs.to_owned(),
            target(home.path()).join(TOOLS),
        ];
        let path = std::env::var_os("PATH").unwrap_or_default();
        let machine = std::env::split_paths(&path)
            .filter(|folder| *folder != workspace().join("target").join(TOOLS));
        let mut shell = Self {
            path: std::env::join_paths(folders.into_iter().chain(machine))?,
            home,
            nats_port: free_port()?,
            ports: BTreeMap::new(),
        };
        for port in ports {
            shell.map(port, &free_port()?.to_string());
        }
        Ok(shell)
    }

    /// Lets `port`, wherever a readme names it, stand for `own`.
    pub(crate) fn map(&mut self, port: &str, own: &str) {
        self.ports.insert(port.to_owned(), own.to_owned());
    }

    /// The text with the ports of this shell.
    pub(crate) fn translate(&self, text: &str) -> String {
        self.ports
            .iter()
            .fold(text.to_owned(), |text, (port, own)| text.replace(port, own))
    }

    /// Runs a line and returns what it printed.
    pub(crate) async fn run(&self, line: &str) -> Result<String> {
        let line = self.translate(line);
        let running = self.command(&line).output();
        let output = tokio::time::timeout(LIMIT, running)
            .await
            .with_context(|| format!("`{line}` took longer than {} s", LIMIT.as_secs()))?
            .with_context(|| format!("could not run `{line}`"))?;
        printed(&line, &output)
    }

    fn command(&self, line: &str) -> Command {
        let home = self.home.path();
        let cache = std::env::var_os("XDG_CACHE_HOME").map_or_else(
            || std::env::home_dir().unwrap_or_default().join(".cache"),
            PathBuf::from,
        );
        let mut command = Command::new("sh");
        command
            .args(["-c", line])
            .current_dir(workspace())
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .env("PATH", &self.path)
            .env("HOME", home)
            .env("CARGO_TARGET_DIR", target(home))
            .env("XDG_CONFIG_HOME", home.join("config"))
            .env("XDG_DATA_HOME", home.join("data"))
            // What `cargo xtask setup` has fetched is not fetched again.
            .env("XDG_CACHE_HOME", cache)
            .env("WASMCLOUD_NATS_PORT", self.nats_port.to_string());
        command
    }
}

/// The target folder of a shell.
fn target(home: &Path) -> PathBuf {
    home.join("target")
}

/// Makes a target folder with what is built and without tools, and a `cargo` whose `xtask` is the
/// one under test: the real one would compile, in turns with all tests. Returns its folder.
fn write_cargo(home: &Path, programs: &Path) -> Result<PathBuf> {
    let target = target(home);
    std::fs::create_dir(&target)?;
    symlink(programs, target.join("debug"))?;
    let components = workspace().join("target/components");
    symlink(components, target.join("components"))?;
    let folder = home.join("bin");
    std::fs::create_dir(&folder)?;
    let cargo = folder.join("cargo");
    let xtask = target.join("debug/xtask");
    let script = format!(
        "#!/bin/sh\n[ \"$1\" = xtask ] || exit 1\nshift\nexec '{}' \"$@\"\n",
        xtask.display()
    );
    std::fs::write(&cargo, script)?;
    std::fs::set_permissions(&cargo, std::fs::Permissions::from_mode(0o755))?;
    Ok(folder)
}

fn printed(line: &str, output: &Output) -> Result<String> {
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(stdout);
    }
    let stderr = String::from_utf8_lossy(&output.stderr);
    bail!("`{line}` failed ({})\n{stdout}{stderr}", output.status)
}

/// Whatever way a test ends, nothing that it started stays.
impl Drop for Shell {
    fn drop(&mut self) {
        let mut down = self.command("wash down").into_std();
        // The transcript has stopped its lattice itself unless it failed before.
        let _ = down.stdout(Stdio::null()).stderr(Stdio::null()).status();
        let redis = self
            .ports
            .get(REDIS_PORT)
            .and_then(|port| port.parse().ok());
        if let Some(Ok(mut stream)) =
            redis.map(|port: u16| TcpStream::connect((Ipv4Addr::LOCALHOST, port)))
        {
            let _ = stream.write_all(b"SHUTDOWN NOSAVE\r\n");
        }
    }
}
