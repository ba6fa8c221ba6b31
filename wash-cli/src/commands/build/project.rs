//! What is to be built: `wasmcloud.toml`, or a plain Cargo project.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::error::{CliError, Code, Result};

pub(super) const PROJECT_FILE: &str = "wasmcloud.toml";

/// A project with every default filled in.
#[derive(Debug)]
pub(super) struct Project {
    /// Where builds run.
    pub(super) folder: PathBuf,
    /// Where results go; a plain Cargo project leaves them in its target folder.
    pub(super) build_folder: Option<PathBuf>,
    pub(super) name: Option<String>,
    pub(super) version: Option<String>,
    pub(super) revision: Option<i32>,
    pub(super) language: String,
    pub(super) kind: Kind,
    pub(super) component: ComponentSection,
    pub(super) provider: ProviderSection,
    pub(super) rust: RustSection,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Kind {
    #[serde(alias = "actor")]
    Component,
    Provider,
}

/// `[component]`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ComponentSection {
    pub(super) wasm_target: Option<String>,
    pub(super) wasip1_adapter_path: Option<PathBuf>,
    pub(super) build_artifact: Option<PathBuf>,
    pub(super) build_command: Option<String>,
    pub(super) destination: Option<PathBuf>,
    pub(super) key_directory: Option<PathBuf>,
    pub(super) tags: Option<Vec<String>>,
    pub(super) call_alias: Option<String>,
}

/// `[provider]`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ProviderSection {
    pub(super) rust_target: Option<String>,
    pub(super) bin_name: Option<String>,
}

/// `[rust]`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct RustSection {
    pub(super) cargo_path: Option<PathBuf>,
    pub(super) target_path: Option<PathBuf>,
    pub(super) debug: bool,
}

/// The file as written. Keys this version does not use are left alone.
#[derive(Debug, Deserialize)]
struct ProjectFile {
    language: String,
    #[serde(rename = "type")]
    kind: Kind,
    name: Option<String>,
    version: Option<String>,
    revision: Option<i32>,
    path: Option<PathBuf>,
    build: Option<PathBuf>,
    #[serde(default)]
    component: ComponentSection,
    #[serde(default)]
    provider: ProviderSection,
    #[serde(default)]
    rust: RustSection,
}

impl Project {
    /// Finds the project: the path given, else this folder, else the nearest folder above.
    pub(super) fn find(given: Option<&Path>) -> Result<Self> {
        if let Some(path) = given {
            return Self::at(path);
        }
        let here = std::env::current_dir()
            .map_err(|error| CliError::io("could not find the current folder", &error))?;
        let with_file = here
            .ancestors()
            .find(|folder| folder.join(PROJECT_FILE).is_file());
        let with_cargo = here
            .ancestors()
            .find(|folder| folder.join("Cargo.toml").is_file());
        // The nearer of the two is meant; on a tie the file made for this purpose.
        match (with_file, with_cargo) {
            (Some(file), Some(cargo)) if cargo.starts_with(file) && cargo != file => {
                Ok(Self::cargo(cargo))
            }
            (Some(file), _) => Self::read(&file.join(PROJECT_FILE)),
            (None, Some(cargo)) => Ok(Self::cargo(cargo)),
            (None, None) => Err(nothing_in(&here)),
        }
    }

    fn at(path: &Path) -> Result<Self> {
        if path.is_file() {
            return Self::read(path);
        }
        if path.join(PROJECT_FILE).is_file() {
            return Self::read(&path.join(PROJECT_FILE));
        }
        if path.join("Cargo.toml").is_file() {
            return Ok(Self::cargo(path));
        }
        if path.is_dir() {
            return Err(nothing_in(path));
        }
        Err(CliError::new(
            Code::FileNotFound,
            format!("there is no `{}`", path.display()),
        )
        .hint(format!(
            "name a folder, or a {PROJECT_FILE}, with `wash build -p PATH`"
        )))
    }

    fn cargo(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
            build_folder: None,
            name: None,
            version: None,
            revision: None,
            language: "rust".to_owned(),
            kind: Kind::Component,
            component: ComponentSection::default(),
            provider: ProviderSection::default(),
            rust: RustSection::default(),
        }
    }

    fn read(path: &Path) -> Result<Self> {
        let shown = path.display();
        let text = fs::read_to_string(path)
            .map_err(|error| CliError::io(format!("could not read `{shown}`"), &error))?;
        let file: ProjectFile = toml::from_str(&text).map_err(|error| {
            CliError::new(
                Code::InvalidInput,
                format!("`{shown}` is not a valid project file"),
            )
            .cause(error.to_string().trim_end())
        })?;
        let base = path.parent().filter(|base| !base.as_os_str().is_empty());
        let base = base.unwrap_or(Path::new("."));
        let folder = file
            .path
            .map_or_else(|| base.to_owned(), |path| base.join(path));
        let build = file.build.unwrap_or_else(|| PathBuf::from("build"));
        Ok(Self {
            build_folder: Some(base.join(build)),
            folder,
            name: file.name,
            version: file.version,
            revision: file.revision,
            language: file.language.to_lowercase(),
            kind: file.kind,
            component: file.component,
            provider: file.provider,
            rust: file.rust,
        })
    }
}

fn nothing_in(folder: &Path) -> CliError {
    let text = format!(
        "`{}` holds no {PROJECT_FILE} and no Cargo.toml",
        folder.display()
    );
    CliError::new(Code::FileNotFound, text).hint("name the project with `wash build -p PATH`")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn project(text: &str) -> Result<Project> {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(PROJECT_FILE), text).unwrap();
        Project::find(Some(folder.path()))
    }

    #[test]
    fn a_1_x_project_file_is_read() {
        let text = r#"
            name = "echo"
            language = "rust"
            type = "component"
            version = "0.1.0"
            [component]
            wit_world = "echo"
            wasm_target = "wasm32-wasip2"
            destination = "build/echo_s.wasm"
            [registry]
            url = "registry.test"
            [dev]
            manifests = []
        "#;
        let project = project(text).unwrap();
        assert_eq!(project.name.as_deref(), Some("echo"));
        assert_eq!(
            project.component.wasm_target.as_deref(),
            Some("wasm32-wasip2")
        );
        assert!(project.build_folder.unwrap().ends_with("build"));
    }

    #[test]
    fn a_broken_project_file_is_named() {
        let error = project("language = 1").unwrap_err();
        assert_eq!(error.code(), Code::InvalidInput);
        assert!(error.message().contains(PROJECT_FILE));
    }

    #[test]
    fn a_folder_without_a_project_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let error = Project::find(Some(folder.path())).unwrap_err();
        assert_eq!(error.code(), Code::FileNotFound);
    }
}
