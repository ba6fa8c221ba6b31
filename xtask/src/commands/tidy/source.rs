//! The Rust files of the repository and what cargo knows of it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::shell;

/// Manifests of the workspaces: the native one, the guests' one, the fuzz targets' one.
const WORKSPACES: [&str; 3] = ["Cargo.toml", "examples/Cargo.toml", "fuzz/Cargo.toml"];

/// Every `.rs` file of the repository, build output apart.
pub(super) fn rust_files(root: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    collect(root, &mut files)?;
    files.sort();
    Ok(files)
}

fn collect(dir: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    let entries =
        fs::read_dir(dir).with_context(|| format!("could not read `{}`", dir.display()))?;
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        let path = entry.path();
        if entry.file_type()?.is_dir() {
            if name != "target" && !name.to_string_lossy().starts_with('.') {
                collect(&path, files)?;
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    Ok(())
}

/// The packages of every workspace, as `cargo metadata` describes them.
pub(super) fn packages(root: &Path) -> Result<Vec<Value>> {
    let mut packages = Vec::new();
    for manifest in WORKSPACES
        .iter()
        .map(|path| root.join(path))
        .filter(|path| path.exists())
    {
        packages.extend(packages_of(&manifest)?);
    }
    Ok(packages)
}

/// The packages of one workspace.
pub(super) fn packages_of(manifest: &Path) -> Result<Vec<Value>> {
    let mut command: Command = shell::cargo();
    command
        .args([
            "metadata",
            "--no-deps",
            "--format-version=1",
            "--offline",
            "--manifest-path",
        ])
        .arg(manifest);
    let text = shell::query(&mut command)
        .with_context(|| format!("`cargo metadata` failed for `{}`", manifest.display()))?;
    let mut metadata: Value =
        serde_json::from_str(&text).context("`cargo metadata` wrote no JSON")?;
    match metadata["packages"].take() {
        Value::Array(packages) => Ok(packages),
        _ => anyhow::bail!("`cargo metadata` lists no packages"),
    }
}

/// The file that each target of the packages starts from.
pub(super) fn crate_roots(packages: &[Value]) -> Vec<PathBuf> {
    packages
        .iter()
        .filter_map(|package| package["targets"].as_array())
        .flatten()
        .filter_map(|target| target["src_path"].as_str())
        // A member outside its workspace's folder is named through that folder.
        .map(|path| fs::canonicalize(path).unwrap_or_else(|_| PathBuf::from(path)))
        .collect()
}
