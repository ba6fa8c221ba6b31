//! Whoever runs as the same user cannot read the memory of who holds keys.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt};
use std::process::Stdio;

use anyhow::{Context as _, Result, ensure};
use lattice_integration::{Lattice, program, until};
use tempfile::TempDir;
use tokio::process::{Child, Command};

/// A user who is not the one of the tests, where these may run as anybody.
const NOBODY: u32 = 65534;
const ROOT: u32 = 0;

/// A program as it is started by a user who is not root.
fn start(lattice: &Lattice, folder: &TempDir, name: &str, words: &[&str]) -> Result<Child> {
    start_with(Stdio::null(), lattice, folder, name, words)
}

/// The same with something on its standard input.
fn start_with(
    input: Stdio,
    lattice: &Lattice,
    folder: &TempDir,
    name: &str,
    words: &[&str],
) -> Result<Child> {
    let mut command = Command::new(program(name)?);
    command
        .args(words)
        .env("HOME", folder.path())
        .env("WASMCLOUD_CTL_PORT", lattice.nats.port.to_string())
        .env("WASMCLOUD_NATS_PORT", lattice.nats.port.to_string())
        .current_dir(folder.path())
        .stdin(input)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true);
    if std::fs::metadata("/proc/self")?.uid() == ROOT {
        command.uid(NOBODY).gid(NOBODY);
    }
    Ok(command.spawn()?)
}

/// A folder that everybody may use.
fn folder() -> Result<TempDir> {
    let folder = tempfile::Builder::new()
        .prefix("lattice-memory-")
        .tempdir()?;
    std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o777))?;
    Ok(folder)
}

/// What is in `/proc` of a process whose memory is hidden belongs to root, whoever it runs as.
async fn is_hidden(process: &mut Child) -> Result<()> {
    let pid = process.id().context("it has ended")?;
    until(async || {
        ensure!(process.try_wait()?.is_none(), "it has ended");
        let owner = std::fs::metadata(format!("/proc/{pid}/mem"))?.uid();
        ensure!(owner == ROOT, "its memory belongs to user {owner}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn hosts_and_backends_hide_their_memory_from_the_start() -> Result<()> {
    let lattice = Lattice::start(0).await?;
    let folder = folder()?;
    // Neither has been asked for a secret yet.
    let flags = ["--no-socket", "--no-code-cache"];
    let mut host = start(&lattice, &folder, "lattice-host", &flags)?;
    is_hidden(&mut host).await.context("the host")?;
    let words = [
        "secrets-backend",
        "serve",
        "--encryption-xkey-file",
        "sealing.key",
    ];
    let mut backend = start(&lattice, &folder, "wash", &words)?;
    is_hidden(&mut backend).await.context("the backend")?;
    // It has the keys of a whole lattice, or reads them.
    let port = lattice.nats.port.to_string();
    let words = [
        "up",
        "--nats-connect-only",
        "--nats-port",
        &port,
        "-x",
        "hidden",
    ];
    let mut up = start(&lattice, &folder, "wash", &words)?;
    is_hidden(&mut up).await.context("wash up")?;
    let pid = up.id().context("it has ended")?.to_string();
    Command::new("kill").arg(pid).status().await?;
    up.wait().await?;
    Ok(())
}

#[tokio::test]
async fn a_provider_hides_its_memory_before_it_is_told_anything() -> Result<()> {
    let lattice = Lattice::start(0).await?;
    let folder = folder()?;
    // The line with its keys does not come, for as long as this end is open.
    let (input, name) = (Stdio::piped(), "keyvalue-memory-provider");
    let mut provider = start_with(input, &lattice, &folder, name, &[])?;
    is_hidden(&mut provider).await.context("the provider")
}
