//! The services that providers are tested with: Debian's, PyPI's and npm's, none of them started.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};

use super::{DOWNLOAD_LIMIT, apt, cached, link, on_path, pypi, redis};
use crate::shell;
use crate::versions::{AZURITE, MOTO, SERVICE_APT_PACKAGES};
use crate::workspace::Workspace;

/// What the scripts of Debian's packages ask before they start a service.
const POLICY: &str = "/usr/sbin/policy-rc.d";

/// Makes sure that every service can be started.
pub(crate) fn ensure(workspace: &Workspace) -> Result<()> {
    redis::ensure(workspace)?;
    if !apt::installed(&SERVICE_APT_PACKAGES) {
        shell::heading("services out of Debian packages");
        let _asleep = Asleep::begin();
        apt::install(&SERVICE_APT_PACKAGES)?;
    }
    moto(workspace)?;
    azurite(workspace)
}

/// Keeps packages from starting what they install, as long as it lives.
struct Asleep {
    ours: bool,
}

impl Asleep {
    fn begin() -> Self {
        // Who has a policy keeps it; where it cannot be written, the services start and can be stopped.
        let ours = !Path::new(POLICY).exists() && script(Path::new(POLICY), "exit 101").is_ok();
        Self { ours }
    }
}

impl Drop for Asleep {
    fn drop(&mut self) {
        if self.ours {
            // One that stays is harmless to what runs, and the next install says so.
            let _ = fs::remove_file(POLICY);
        }
    }
}

fn script(path: &Path, line: &str) -> Result<()> {
    let context = || format!("could not write `{}`", path.display());
    fs::write(path, format!("#!/bin/sh\n{line}\n")).with_context(context)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).with_context(context)
}

/// moto, which speaks the protocols of S3 and SQS.
fn moto(workspace: &Workspace) -> Result<()> {
    let tool = workspace.tools_bin().join("moto_server");
    let name = format!("moto-{MOTO}");
    let entry = workspace.cache().join(&name);
    if tool.exists() && entry.join("moto_server").exists() {
        return Ok(());
    }
    shell::heading(&format!("moto {MOTO}"));
    let entry = cached(workspace, &name, "moto_server", |dir| {
        let mut install = pypi::pip()?;
        install
            .args([
                "install",
                "--quiet",
                "--no-warn-script-location",
                "--target",
            ])
            .arg(dir.join("packages"))
            .arg(format!("moto[server]=={MOTO}"));
        shell::quiet(&mut install, DOWNLOAD_LIMIT)?;
        // Asked where it lies: the entry moves when it is finished.
        let line = "here=$(dirname \"$(readlink -f \"$0\")\")\n\
                    PYTHONPATH=\"$here/packages\" exec python3 -m moto.server \"$@\"";
        script(&dir.join("moto_server"), line)
    })
    .with_context(|| format!("could not install `moto[server]=={MOTO}` from PyPI"))?;
    link(&entry.join("moto_server"), &tool)
}

/// Azurite, which speaks those of Azure's storage.
fn azurite(workspace: &Workspace) -> Result<()> {
    let tool = workspace.tools_bin().join("azurite");
    let name = format!("azurite-{AZURITE}");
    if tool.exists() && workspace.cache().join(&name).join("azurite").exists() {
        return Ok(());
    }
    shell::heading(&format!("azurite {AZURITE}"));
    if on_path("npm").is_none() {
        apt::install(&["nodejs", "npm"])?;
    }
    let entry = cached(workspace, &name, "azurite", |dir| {
        let mut install = Command::new("npm");
        install
            .args(["install", "--silent", "--no-audit", "--no-fund", "--prefix"])
            .arg(dir)
            .arg(format!("azurite@{AZURITE}"));
        shell::quiet(&mut install, DOWNLOAD_LIMIT)?;
        let line = "here=$(dirname \"$(readlink -f \"$0\")\")\n\
                    exec \"$here/node_modules/.bin/azurite\" \"$@\"";
        script(&dir.join("azurite"), line)
    })
    .with_context(|| format!("could not install `azurite@{AZURITE}` with npm"))?;
    link(&entry.join("azurite"), &tool)
}
