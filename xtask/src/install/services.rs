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

/// Line of a policy of ours, before the id of the process that wrote it.
const MARK: &str = "# lattice xtask, process ";

/// How to end what packages have started, where they could not be kept from it.
const STOP: &str = "systemctl disable --now postgresql mariadb etcd rabbitmq-server mosquitto";

/// Makes sure that every service can be started.
pub(crate) fn ensure(workspace: &Workspace) -> Result<()> {
    remove_abandoned_policy();
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
        // Who has a policy keeps it.
        if !apt::available() || Path::new(POLICY).exists() {
            return Self { ours: false };
        }
        let written = write_policy();
        if let Err(error) = &written {
            shell::note(&format!("could not write `{POLICY}`: {error:#}"));
            shell::note("the packages start their services, at the usual ports; to end them:");
            shell::note(&format!("sudo {STOP}"));
        }
        Self {
            ours: written.is_ok(),
        }
    }
}

impl Drop for Asleep {
    fn drop(&mut self) {
        if self.ours {
            remove_policy();
        }
    }
}

/// Writes the policy as root would, by the way that packages are installed.
fn write_policy() -> Result<()> {
    let policy = policy(std::process::id());
    // Whole or not at all: half of one could keep every package from starting anything.
    let line = "printf %s \"$1\" >\"$0.new\" && chmod 755 \"$0.new\" && mv \"$0.new\" \"$0\"";
    let mut write = apt::as_root("sh", &["-c", line, POLICY, &policy])?;
    shell::quiet(&mut write, DOWNLOAD_LIMIT)
}

/// A policy that lets nothing start, marked as ours.
fn policy(process: u32) -> String {
    format!("#!/bin/sh\n{MARK}{process}\nexit 101\n")
}

fn remove_policy() {
    let removed = apt::as_root("rm", &["-f", POLICY])
        .and_then(|mut remove| shell::quiet(&mut remove, DOWNLOAD_LIMIT));
    if let Err(error) = removed {
        shell::note(&format!(
            "remove `{POLICY}`: until then no package starts its service ({error:#})"
        ));
    }
}

/// Removes a policy of a run that was ended before it could: while it is there, no package of this machine
/// starts its service.
fn remove_abandoned_policy() {
    if fs::read_to_string(POLICY).is_ok_and(|text| is_abandoned(&text)) {
        shell::note(&format!(
            "removing `{POLICY}`, which an earlier run has left"
        ));
        remove_policy();
    }
}

/// Whether a policy is ours and its process is gone.
fn is_abandoned(policy: &str) -> bool {
    let process = policy.lines().find_map(|line| line.strip_prefix(MARK));
    process.is_some_and(|id| !Path::new("/proc").join(id.trim()).exists())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policy_is_removed_only_if_it_is_ours_and_its_process_is_gone() {
        // No process has an id as high as this.
        assert!(is_abandoned(&policy(u32::MAX)));
        assert!(!is_abandoned(&policy(std::process::id())));
        assert!(!is_abandoned("#!/bin/sh\nexit 101\n"));
    }
}
