//! Runs Cargo and finds what it made; reads what a manifest says.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::Value;
use tokio::process::Command;

use super::project::Project;
use crate::error::{CliError, Code, Result};

/// The target of components when the project names none.
pub(super) const COMPONENT_TARGET: &str = "wasm32-wasip2";

/// What one run of Cargo is asked for.
#[derive(Debug)]
pub(super) struct CargoBuild<'a> {
    pub(super) project: &'a Project,
    pub(super) target: Option<&'a str>,
    pub(super) bin: Option<&'a str>,
}

impl CargoBuild<'_> {
    /// Builds and returns the files Cargo reports for the project's own package.
    pub(super) async fn run(&self) -> Result<Vec<PathBuf>> {
        let cargo = self.cargo();
        let mut command = Command::new(&cargo);
        command.arg("build").current_dir(&self.project.folder);
        if !self.project.rust.debug {
            command.arg("--release");
        }
        if let Some(target) = self.target {
            command.args(["--target", target]);
        }
        if let Some(bin) = self.bin {
            command.args(["--bin", bin]);
        }
        if let Some(folder) = &self.project.rust.target_path {
            command.arg("--target-dir").arg(folder);
        }
        // Diagnostics stay on stderr as people know them; stdout tells us the artifacts.
        command.arg("--message-format=json-render-diagnostics");
        command
            .stdin(Stdio::null())
            .stderr(Stdio::inherit())
            .kill_on_drop(true);
        let output = command.output().await.map_err(|error| {
            CliError::new(
                Code::BuildFailed,
                format!("could not run `{}`", cargo.display()),
            )
            .caused_by(&error)
            .hint("install Rust from https://rustup.rs, or set `cargo_path` under `[rust]`")
        })?;
        if !output.status.success() {
            return Err(self.failed(output.status));
        }
        Ok(artifacts(&output.stdout, &self.project.folder))
    }

    fn cargo(&self) -> PathBuf {
        let configured = self.project.rust.cargo_path.clone();
        configured
            .or_else(|| std::env::var_os("CARGO").map(PathBuf::from))
            .unwrap_or_else(|| PathBuf::from("cargo"))
    }

    fn failed(&self, status: std::process::ExitStatus) -> CliError {
        let error = CliError::new(Code::BuildFailed, "the build failed")
            .cause(format!("cargo ended with {status}"));
        match self.target {
            Some(target) => error.hint(format!(
                "read the messages above; a missing target comes with `rustup target add {target}`"
            )),
            None => error.hint("read the messages above"),
        }
    }
}

/// What the manifest of a package says of it.
#[derive(Debug, Default)]
pub(super) struct Manifest {
    pub(super) name: Option<String>,
    pub(super) version: Option<String>,
    /// The name of its library, if it has one.
    pub(super) library: Option<String>,
    /// The names that programs of it have, if there are any.
    pub(super) programs: Vec<String>,
}

impl Manifest {
    /// That of the package in a folder. One that cannot be read says nothing: Cargo tells why.
    pub(super) fn of(folder: &Path) -> Self {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let manifest = manifest(folder);
        let package = &manifest["package"];
        let name = text(&package["name"]);
        let has_library = manifest["lib"].is_object() || folder.join("src/lib.rs").is_file();
        let usual = name.as_ref().map(|name| name.replace('-', "_"));
        let library = text(&manifest["lib"]["name"]).or(usual);
        let named = manifest["bin"].as_array().into_iter().flatten();
        let named = named.filter_map(|program| text(&program["name"]));
        let programs = named.chain(name.clone()).collect();
        let version = match package["version"].is_object() {
            true => inherited_version(folder),
            false => text(&package["version"]),
        };
        Self {
            name,
            version,
            library: library.filter(|_| has_library),
            programs,
        }
    }
}

fn manifest(folder: &Path) -> Value {
    let text = fs::read_to_string(folder.join("Cargo.toml")).unwrap_or_default();
    toml::from_str(&text).unwrap_or_default()
}

/// The version that the workspace around a package has for all of its own.
fn inherited_version(folder: &Path) -> Option<String> {
    let folder = folder.canonicalize().ok()?;
    folder.ancestors().find_map(|folder| {
        let version = &manifest(folder)["workspace"]["package"]["version"];
        version.as_str().map(str::to_owned)
    })
}

/// The files of `compiler-artifact` messages whose package lies in `folder`, in order.
fn artifacts(messages: &[u8], folder: &Path) -> Vec<PathBuf> {
    let folder = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
    let lines = messages.split(|byte| *byte == b'\n');
    lines
        .filter_map(|line| serde_json::from_slice::<Value>(line).ok())
        .filter(|message| message["reason"] == "compiler-artifact")
        .filter(|message| {
            message["manifest_path"]
                .as_str()
                .is_some_and(|path| Path::new(path).starts_with(&folder))
        })
        .filter_map(|message| message["filenames"].as_array().cloned())
        .flatten()
        .filter_map(|file| file.as_str().map(PathBuf::from))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_files_of_the_project_count() {
        let messages = br#"
{"reason":"compiler-artifact","manifest_path":"/registry/dep/Cargo.toml","filenames":["/t/dep.wasm"]}
{"reason":"compiler-artifact","manifest_path":"/p/Cargo.toml","filenames":["/t/p.d","/t/p.wasm"]}
not json
{"reason":"build-finished","success":true}"#;
        let found = artifacts(messages, Path::new("/p"));
        assert_eq!(found, [PathBuf::from("/t/p.d"), PathBuf::from("/t/p.wasm")]);
    }
}
