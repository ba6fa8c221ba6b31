//! `wash build`: builds the project in this folder and checks that the result is a component.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::Value;
use tokio::process::Command;

use crate::error::{CliError, Code, Result};
use crate::output::{Output, Ui, fields};

mod cargo;
mod componentize;
mod project;

use cargo::{COMPONENT_TARGET, CargoBuild};
use project::{Kind, Project};

/// Build the component in this folder
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Project file or folder [default: wasmcloud.toml or Cargo.toml here or above]
    #[arg(short = 'p', long = "config-path")]
    config_path: Option<PathBuf>,
    /// Accepted for 1.x scripts: this version does not sign
    #[arg(long, hide = true)]
    build_only: bool,
    /// Accepted for 1.x scripts: nothing is fetched
    #[arg(long, hide = true)]
    skip_fetch: bool,
}

pub(crate) async fn run(args: Args, ui: &Ui) -> Result<Output> {
    let project = Project::find(args.config_path.as_deref())?;
    if args.config_path.is_none() && !is_current(&project.folder) {
        ui.notice(&format!(
            "building the project in {}",
            project.folder.display()
        ));
    }
    match project.kind {
        Kind::Component => build_component(&project).await,
        Kind::Provider => build_provider(&project).await,
    }
}

fn is_current(folder: &Path) -> bool {
    std::env::current_dir().is_ok_and(|here| here == folder || folder == Path::new("."))
}

async fn build_component(project: &Project) -> Result<Output> {
    let artifact = match &project.component.build_command {
        Some(command) => run_command(project, command).await?,
        None if project.language == "rust" => build_rust(project).await?,
        None => return Err(no_command(&project.language)),
    };
    let bytes = fs::read(&artifact).map_err(|error| {
        CliError::io(
            format!("could not read the built file `{}`", artifact.display()),
            &error,
        )
    })?;
    let component = componentize::component(&bytes, project, &artifact)?;
    let path = match destination(project, &artifact) {
        Some(path) => store(&path, &component)?,
        None if component != bytes => {
            store(&artifact.with_extension("component.wasm"), &component)?
        }
        None => artifact,
    };
    let shown = absolute(&path);
    let text = format!("Component built and can be found at {shown}");
    let data = fields([
        ("component_path", Value::from(shown)),
        ("built", Value::Bool(true)),
        ("signed", Value::Bool(false)),
    ]);
    Ok(Output::new(text, data))
}

async fn build_rust(project: &Project) -> Result<PathBuf> {
    let target = project
        .component
        .wasm_target
        .as_deref()
        .unwrap_or(COMPONENT_TARGET);
    let files = CargoBuild {
        project,
        target: Some(target),
        bin: None,
    }
    .run()
    .await?;
    let mut wasm: Vec<PathBuf> = files
        .into_iter()
        .filter(|file| file.extension().is_some_and(|end| end == "wasm"))
        .collect();
    match wasm.len() {
        0 => Err(
            CliError::new(Code::BuildFailed, "the build made no `.wasm` file")
                .hint("a component is a library with `crate-type = [\"cdylib\"]`, or a program"),
        ),
        1 => Ok(wasm.remove(0)),
        _ => {
            let names: Vec<String> = wasm.iter().map(|file| file.display().to_string()).collect();
            Err(
                CliError::new(Code::BuildFailed, "the build made several `.wasm` files")
                    .cause(names.join(", "))
                    .hint("name one package with `wash build -p PATH`"),
            )
        }
    }
}

/// Runs the project's own command; 1.x expects its result under `build/`.
async fn run_command(project: &Project, command: &str) -> Result<PathBuf> {
    let status = Command::new("sh")
        .args(["-c", command])
        .current_dir(&project.folder)
        .stdin(Stdio::null())
        // The command's own talk must not mix with our document.
        .stdout(std::io::stderr())
        .kill_on_drop(true)
        .status()
        .await
        .map_err(|error| CliError::io("could not run `sh`", &error))?;
    if !status.success() {
        return Err(CliError::new(Code::BuildFailed, "the build failed")
            .cause(format!("`{command}` ended with {status}"))
            .hint("read the messages above; the command is `build_command` of wasmcloud.toml"));
    }
    let artifact = match (&project.component.build_artifact, &project.name) {
        (Some(artifact), _) => project.folder.join(artifact),
        (None, Some(name)) => project.folder.join("build").join(format!("{name}.wasm")),
        (None, None) => {
            return Err(CliError::new(Code::InvalidInput, "the project has no name")
                .hint("set `name`, or `build_artifact` under `[component]`"));
        }
    };
    if artifact.is_file() {
        return Ok(artifact);
    }
    let text = format!("the build made no `{}`", artifact.display());
    Err(CliError::new(Code::BuildFailed, text)
        .hint("set `build_artifact` under `[component]` to the file the command makes"))
}

fn no_command(language: &str) -> CliError {
    let text = format!("there is no built-in way to build `{language}` components");
    CliError::new(Code::InvalidInput, text)
        .hint("set `build_command` and `build_artifact` under `[component]` in wasmcloud.toml")
}

fn destination(project: &Project, artifact: &Path) -> Option<PathBuf> {
    if let Some(destination) = &project.component.destination {
        return Some(project.folder.join(destination));
    }
    let folder = project.build_folder.as_ref()?;
    let name = project
        .name
        .as_ref()
        .map(|name| format!("{}.wasm", name.replace('-', "_")));
    let name = name
        .map(PathBuf::from)
        .or_else(|| artifact.file_name().map(PathBuf::from))?;
    Some(folder.join(name))
}

fn store(path: &Path, bytes: &[u8]) -> Result<PathBuf> {
    if let Some(folder) = path.parent() {
        crate::lattice_dir::create_folder(folder)?;
    }
    fs::write(path, bytes)
        .map_err(|error| CliError::io(format!("could not write `{}`", path.display()), &error))?;
    Ok(path.to_owned())
}

async fn build_provider(project: &Project) -> Result<Output> {
    if project.language != "rust" {
        let text = format!(
            "there is no built-in way to build `{}` providers",
            project.language
        );
        return Err(CliError::new(Code::InvalidInput, text));
    }
    let bin = project.provider.bin_name.as_deref();
    let target = project.provider.rust_target.as_deref();
    let files = CargoBuild {
        project,
        target,
        bin,
    }
    .run()
    .await?;
    let program = files
        .into_iter()
        .rfind(|file| file.extension().is_none())
        .ok_or_else(|| {
            CliError::new(Code::BuildFailed, "the build made no program")
                .hint("a provider is a binary crate; name it with `bin_name` under `[provider]`")
        })?;
    let shown = absolute(&program);
    let text = format!("Provider built and can be found at {shown}");
    let data = fields([
        ("path", Value::from(shown)),
        ("built", Value::Bool(true)),
        ("signed", Value::Bool(false)),
    ]);
    Ok(Output::new(text, data))
}

fn absolute(path: &Path) -> String {
    let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    path.display().to_string()
}
