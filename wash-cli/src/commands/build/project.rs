//! What is to be built: `wasmcloud.toml`, or a plain Cargo project.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::cargo::Manifest;
use crate::error::{CliError, Code, Result};
use crate::keys::SigningArgs;

pub(crate) const PROJECT_FILE: &str = "wasmcloud.toml";

/// A project with every default filled in.
#[derive(Debug)]
pub(crate) struct Project {
    /// Where builds run.
    pub(crate) folder: PathBuf,
    /// Where results go; a plain Cargo project leaves them in its target folder.
    pub(crate) build_folder: Option<PathBuf>,
    /// Where its WIT lies, if it has any.
    pub(crate) wit: PathBuf,
    pub(crate) name: Option<String>,
    /// What the file of a component is called without its end.
    pub(crate) wasm_name: Option<String>,
    /// What it may be called besides, where it is made of a program of Rust.
    pub(crate) programs: Vec<String>,
    pub(crate) version: Option<String>,
    pub(crate) revision: Option<i32>,
    pub(crate) language: String,
    pub(crate) kind: Kind,
    pub(crate) component: ComponentSection,
    pub(crate) provider: ProviderSection,
    pub(crate) rust: RustSection,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    #[serde(alias = "actor")]
    Component,
    Provider,
}

/// `[component]`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct ComponentSection {
    pub(crate) wasm_target: Option<String>,
    pub(crate) wasip1_adapter_path: Option<PathBuf>,
    pub(crate) build_artifact: Option<PathBuf>,
    pub(crate) build_command: Option<String>,
    pub(crate) destination: Option<PathBuf>,
    pub(crate) key_directory: Option<PathBuf>,
    pub(crate) tags: Option<Vec<String>>,
    pub(crate) call_alias: Option<String>,
}

/// `[provider]`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct ProviderSection {
    pub(crate) vendor: Option<String>,
    pub(crate) key_directory: Option<PathBuf>,
    pub(crate) rust_target: Option<String>,
    pub(crate) bin_name: Option<String>,
}

/// `[rust]`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct RustSection {
    pub(crate) cargo_path: Option<PathBuf>,
    pub(crate) target_path: Option<PathBuf>,
    pub(crate) debug: bool,
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
    wit: Option<PathBuf>,
    build: Option<PathBuf>,
    wasm_bin_name: Option<String>,
    #[serde(default)]
    component: ComponentSection,
    #[serde(default)]
    provider: ProviderSection,
    #[serde(default)]
    rust: RustSection,
}

impl Project {
    /// Finds the project: the path given, else this folder, else the nearest folder above.
    pub(crate) fn find(given: Option<&Path>) -> Result<Self> {
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

    /// The keys to sign with, where the project file names this folder of keys.
    pub(crate) fn keys(&self, given: &SigningArgs, folder: Option<&Path>) -> SigningArgs {
        match (&given.keys.directory, folder) {
            (None, Some(folder)) => given.in_folder(Some(&self.folder.join(folder))),
            _ => given.for_project(),
        }
    }

    /// That of the project file in this very folder, if there is one.
    pub(crate) fn here() -> Result<Option<Self>> {
        let file = Path::new(PROJECT_FILE);
        file.is_file().then(|| Self::read(file)).transpose()
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
        let manifest = Manifest::of(folder);
        Self {
            folder: folder.to_owned(),
            build_folder: None,
            wit: folder.join("wit"),
            name: None,
            wasm_name: manifest.library.or(manifest.name),
            programs: manifest.programs,
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
        // What is named is so from here, and lies in the folder of the project otherwise.
        let within = |given: Option<PathBuf>, usual: &str| {
            given.map_or_else(|| folder.join(usual), |path| base.join(path))
        };
        let language = file.language.trim().to_lowercase();
        let manifest = match language.as_str() {
            "rust" => Manifest::of(&folder),
            _ => Manifest::default(),
        };
        let programs = manifest.programs;
        let name = file.name.or(manifest.name);
        Ok(Self {
            build_folder: Some(within(file.build, "build")),
            wit: within(file.wit, "wit"),
            folder,
            wasm_name: file
                .wasm_bin_name
                .or(manifest.library)
                .or_else(|| name.clone()),
            programs,
            name,
            version: file.version.or(manifest.version),
            revision: file.revision,
            language,
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
    fn a_rust_project_has_its_name_and_version_from_cargo() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        file("Cargo.toml", "[workspace.package]\nversion = '0.3.0'\n");
        file("app/src/lib.rs", "");
        file(
            "app/Cargo.toml",
            "[package]\nname = 'my-app'\nversion.workspace = true\n",
        );
        file(
            "app/wasmcloud.toml",
            "language = 'rust'\ntype = 'component'\n",
        );
        let app = || Project::find(Some(&folder.path().join("app"))).unwrap();
        let project = app();
        assert_eq!(project.name.as_deref(), Some("my-app"));
        assert_eq!(project.version.as_deref(), Some("0.3.0"));
        assert_eq!(project.wasm_name.as_deref(), Some("my_app"));
        file(
            "app/Cargo.toml",
            "[package]\nname = 'my-app'\nversion = '1.0.0'\n[lib]\nname = 'core'\n",
        );
        file(
            "app/wasmcloud.toml",
            "language = 'rust'\ntype = 'component'\nname = 'shop'\n",
        );
        let project = app();
        assert_eq!(project.name.as_deref(), Some("shop"));
        assert_eq!(project.version.as_deref(), Some("1.0.0"));
        assert_eq!(project.wasm_name.as_deref(), Some("core"));
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
