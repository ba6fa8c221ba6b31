//! Where the programs and components under test are.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};

/// Names another folder of programs, such as that of a release build.
const PROGRAMS: &str = "LATTICE_BIN_DIR";

/// The folder of the repository.
#[must_use]
pub fn workspace() -> &'static Path {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.parent().unwrap_or(own)
}

/// The path of a program of this workspace, such as `lattice-host`.
///
/// # Errors
///
/// Fails, with the command that mends it, when the program has not been built.
pub fn program(name: &str) -> Result<PathBuf> {
    let folder =
        std::env::var_os(PROGRAMS).map_or_else(|| workspace().join("target/debug"), PathBuf::from);
    let path = folder.join(name);
    ensure!(
        path.is_file(),
        "{} is missing; run `cargo xtask build`",
        path.display()
    );
    Ok(path)
}

/// The reference of a component built from `examples/` or the test guests, by file stem.
///
/// # Errors
///
/// Fails, with the command that mends it, when the component has not been built.
pub fn component(name: &str) -> Result<String> {
    let path = workspace()
        .join("target/components")
        .join(format!("{name}.wasm"));
    ensure!(
        path.is_file(),
        "{} is missing; run `cargo xtask guests`",
        path.display()
    );
    let path = path
        .canonicalize()
        .with_context(|| path.display().to_string())?;
    Ok(format!("file://{}", path.display()))
}
