//! Where the programs of services are.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

/// Finds a program: in the tools of this repository, among the folders given, or in the search path.
pub(crate) fn find(name: &str, folders: &[&str]) -> Result<PathBuf> {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/tools/bin");
    let path = std::env::var_os("PATH").unwrap_or_default();
    let known = folders.iter().map(PathBuf::from);
    [own]
        .into_iter()
        .chain(known)
        .chain(std::env::split_paths(&path))
        .map(|folder| folder.join(name))
        .find(|program| program.is_file())
        .with_context(|| format!("there is no `{name}`; run `cargo xtask services install`"))
}

/// The newest folder below `parent` whose name begins with `prefix`.
pub(crate) fn newest(parent: &str, prefix: &str) -> Option<PathBuf> {
    let entries = std::fs::read_dir(parent).ok()?.flatten();
    let mut folders: Vec<PathBuf> = entries
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix))
        .map(|entry| entry.path())
        .collect();
    folders.sort();
    folders.pop()
}
