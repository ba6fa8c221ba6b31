//! Where things are: the repository, its target folder, and the cache shared by all clones.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::shell;

/// Folders of one clone of the repository.
#[derive(Debug, Clone)]
pub(crate) struct Workspace {
    root: PathBuf,
    target: PathBuf,
    cache: PathBuf,
}

impl Workspace {
    /// Finds the folders from the environment that cargo gives to `cargo xtask`.
    pub(crate) fn locate() -> Result<Self> {
        let manifest = env::var_os("CARGO_MANIFEST_DIR")
            .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
        let root = manifest
            .parent()
            .context("xtask has no parent folder")?
            .to_path_buf();
        let target = match env::var_os("CARGO_TARGET_DIR") {
            Some(dir) => root.join(dir),
            None => target_of(&mut metadata(&root)).unwrap_or_else(|| root.join("target")),
        };
        Ok(Self {
            root,
            target,
            cache: cache_dir()?,
        })
    }

    /// The repository.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Cargo's target folder for native code.
    pub(crate) fn target(&self) -> &Path {
        &self.target
    }

    /// Tools of this clone.
    pub(crate) fn tools(&self) -> PathBuf {
        self.target.join("tools")
    }

    /// Programs of this clone's tools.
    pub(crate) fn tools_bin(&self) -> PathBuf {
        self.tools().join("bin")
    }

    /// Finished guest components.
    pub(crate) fn components(&self) -> PathBuf {
        self.target.join("components")
    }

    /// Cargo's target folder for guests: one for all, so that std is built at most once.
    pub(crate) fn guests_target(&self) -> PathBuf {
        self.target.join("guests")
    }

    /// The guest workspace.
    pub(crate) fn examples(&self) -> PathBuf {
        self.root.join("examples")
    }

    /// Folder for slow installs, shared by every clone on this machine.
    pub(crate) fn cache(&self) -> &Path {
        &self.cache
    }

    /// `PATH` with the tools of this clone first.
    pub(crate) fn path_with_tools(&self) -> Result<std::ffi::OsString> {
        path_with(&self.tools_bin())
    }
}

/// Asks cargo about the repository.
fn metadata(root: &Path) -> Command {
    let mut command = shell::cargo();
    command
        .args(["metadata", "--no-deps", "--format-version=1"])
        .current_dir(root);
    command
}

/// The target folder as cargo knows it: its configuration may name another one.
fn target_of(metadata: &mut Command) -> Option<PathBuf> {
    let document: Value = serde_json::from_str(&shell::query(metadata)?).ok()?;
    document["target_directory"].as_str().map(PathBuf::from)
}

/// `PATH` with `first` before everything else.
pub(crate) fn path_with(first: &Path) -> Result<std::ffi::OsString> {
    let old = env::var_os("PATH").unwrap_or_default();
    let dirs = std::iter::once(first.to_path_buf()).chain(env::split_paths(&old));
    env::join_paths(dirs)
        .with_context(|| format!("folder `{}` cannot be part of PATH", first.display()))
}

fn cache_dir() -> Result<PathBuf> {
    if let Some(dir) = env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .filter(|d| d.is_absolute())
    {
        return Ok(dir.join("lattice-tools"));
    }
    let home = env::home_dir().context(
        "no home folder to keep tools in; set HOME or XDG_CACHE_HOME to a folder you can write",
    )?;
    Ok(home.join(".cache").join("lattice-tools"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn target_folder_is_the_one_that_cargo_is_configured_with() {
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut command = metadata(manifest.parent().unwrap());
        command
            .env_remove("CARGO_TARGET_DIR")
            .env("CARGO_BUILD_TARGET_DIR", "/elsewhere/target");
        assert_eq!(target_of(&mut command), Some("/elsewhere/target".into()));
    }
}
