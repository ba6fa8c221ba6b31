//! wasmtime's own server, of the version that the host is built with: what it is compared with.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result};

use super::{BUILD_LIMIT, cached, link, on_path, remove};
use crate::shell;
use crate::workspace::Workspace;

/// What serving HTTP needs; `serve` does not compile without `component-model-async`.
const FEATURES: &str = "serve,run,cranelift,pooling-allocator,parallel-compilation,cache,\
                        component-model,component-model-async,wasi-http,logging,compile";

/// Makes sure that there is a `wasmtime` and returns its path. Building it takes minutes.
pub(crate) fn ensure(workspace: &Workspace) -> Result<PathBuf> {
    let lock = workspace.root().join("Cargo.lock");
    let lock = fs::read_to_string(&lock)
        .with_context(|| format!("could not read `{}`", lock.display()))?;
    let version = locked(&lock, "wasmtime").context("Cargo.lock has no wasmtime")?;
    let tool = workspace.tools_bin().join("wasmtime");
    if runs(&tool, version) {
        return Ok(tool);
    }
    if let Some(program) = on_path("wasmtime").filter(|program| runs(program, version)) {
        link(&program, &tool)?;
        return Ok(tool);
    }
    shell::heading(&format!("wasmtime {version} (minutes)"));
    let name = format!("wasmtime-cli-{version}");
    let entry = cached(workspace, &name, "bin/wasmtime", |root| {
        let mut command = shell::cargo();
        command
            .args(["install", "wasmtime-cli", "--version", version, "--locked"])
            .args(["--no-default-features", "--features", FEATURES, "--root"])
            .arg(root)
            .env("CARGO_TARGET_DIR", root.join("build"));
        shell::quiet(&mut command, BUILD_LIMIT).with_context(|| {
            format!("could not build `wasmtime-cli` {version} from the crate registry")
        })?;
        remove(&root.join("build"))
    })?;
    link(&entry.join("bin/wasmtime"), &tool)?;
    shell::note(&format!("ready: {}", tool.display()));
    Ok(tool)
}

/// Whether `program` is wasmtime of this version.
fn runs(program: &std::path::Path, version: &str) -> bool {
    program.exists()
        && shell::query(Command::new(program).arg("--version"))
            .is_some_and(|text| text.split_whitespace().nth(1) == Some(version))
}

/// The version of a package in a lock file.
fn locked<'a>(lock: &'a str, package: &str) -> Option<&'a str> {
    let name = format!("name = \"{package}\"");
    let mut lines = lock.lines().skip_while(|line| *line != name);
    let version = lines.nth(1)?.strip_prefix("version = \"")?;
    version.strip_suffix('"')
}

#[cfg(test)]
mod tests {
    use super::locked;

    const LOCK: &str = "\
[[package]]
name = \"wasmtime-wasi\"
version = \"1.0.0\"

[[package]]
name = \"wasmtime\"
version = \"48.0.8\"
source = \"registry\"
";

    #[test]
    fn version_of_the_very_package_is_found() {
        assert_eq!(locked(LOCK, "wasmtime"), Some("48.0.8"));
        assert_eq!(locked(LOCK, "time"), None);
    }
}
