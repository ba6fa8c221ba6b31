//! `cargo xtask guests`: compiles every guest into `target/components`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result, ensure};
use lexopt::Parser;
use serde_json::Value;

use crate::install::guest::GuestToolchain;
use crate::shell;
use crate::versions::GUEST_TARGET;
use crate::workspace::Workspace;

/// First bytes of a component; a core module has other ones after the magic number.
const COMPONENT_PREAMBLE: [u8; 8] = [0x00, b'a', b's', b'm', 0x0d, 0x00, 0x01, 0x00];

/// Parses the arguments and compiles.
pub(crate) fn run(workspace: &Workspace, mut arguments: Parser) -> Result<ExitCode> {
    if let Some(argument) = arguments.next()? {
        return Err(argument.unexpected().into());
    }
    let components = compile(workspace)?;
    shell::heading(&format!(
        "{} components in {}",
        components.len(),
        workspace.components().display()
    ));
    Ok(ExitCode::SUCCESS)
}

/// Compiles what has changed and returns the paths of all components.
pub(crate) fn compile(workspace: &Workspace) -> Result<Vec<PathBuf>> {
    let toolchain = GuestToolchain::ensure(workspace)?;
    shell::heading("guest components");
    let mut build = cargo(workspace);
    build.args(["build", "--release", "--workspace"]);
    toolchain.apply(&mut build)?;
    shell::stream(&mut build).context("the guests do not compile")?;
    let artifacts = workspace.guests_target().join(GUEST_TARGET).join("release");
    let names = component_names(workspace)?;
    let mut components = Vec::with_capacity(names.len());
    for name in &names {
        let built = artifacts.join(format!("{}.wasm", name.replace('-', "_")));
        let wanted = workspace.components().join(format!("{name}.wasm"));
        take(&built, &wanted)?;
        components.push(wanted);
    }
    remove_strangers(&workspace.components(), &components)?;
    Ok(components)
}

/// Cargo in the guest workspace.
fn cargo(workspace: &Workspace) -> Command {
    let mut command = shell::cargo();
    command
        .current_dir(workspace.examples())
        .env("CARGO_TARGET_DIR", workspace.guests_target());
    command
}

/// Names of the packages that become components.
fn component_names(workspace: &Workspace) -> Result<Vec<String>> {
    let mut command = cargo(workspace);
    command.args(["metadata", "--no-deps", "--format-version=1"]);
    let text = shell::query(&mut command).context("`cargo metadata` failed in examples/")?;
    let metadata: Value = serde_json::from_str(&text).context("`cargo metadata` wrote no JSON")?;
    let packages = metadata["packages"]
        .as_array()
        .context("`cargo metadata` lists no packages")?;
    Ok(packages
        .iter()
        .filter(|package| is_cdylib(package))
        .filter_map(|package| package["name"].as_str().map(str::to_owned))
        .collect())
}

fn is_cdylib(package: &Value) -> bool {
    let targets = package["targets"].as_array().map_or(&[][..], Vec::as_slice);
    targets.iter().any(|target| {
        target["crate_types"]
            .as_array()
            .is_some_and(|types| types.contains(&Value::from("cdylib")))
    })
}

/// Puts a built component in its place if it is new, so that watchers see only real changes.
fn take(built: &Path, wanted: &Path) -> Result<()> {
    let bytes = fs::read(built).with_context(|| format!("could not read `{}`", built.display()))?;
    ensure!(
        bytes.starts_with(&COMPONENT_PREAMBLE),
        "`{}` is not a component; is the linker of {GUEST_TARGET} in use?",
        built.display()
    );
    if fs::read(wanted).is_ok_and(|old| old == bytes) {
        return Ok(());
    }
    let context = || format!("could not write `{}`", wanted.display());
    fs::create_dir_all(wanted.parent().with_context(context)?).with_context(context)?;
    // A host may be reading the old file at this moment.
    let fresh = wanted.with_extension("wasm.new");
    fs::write(&fresh, bytes).with_context(context)?;
    fs::rename(&fresh, wanted).with_context(context)
}

/// Removes components whose guest is gone.
fn remove_strangers(folder: &Path, known: &[PathBuf]) -> Result<()> {
    for entry in fs::read_dir(folder)?.flatten() {
        let path = entry.path();
        let is_component = path
            .extension()
            .is_some_and(|extension| extension == "wasm");
        if is_component && !known.contains(&path) {
            fs::remove_file(&path)
                .with_context(|| format!("could not remove `{}`", path.display()))?;
        }
    }
    Ok(())
}
