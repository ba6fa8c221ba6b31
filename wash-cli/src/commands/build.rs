//! `wash build`: builds the project in this folder and checks that the result is a component.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::Value;
use tokio::process::Command;

use crate::error::{CliError, Code, Result};
use crate::keys::SigningArgs;
use crate::output::{Output, Ui, fields};

mod cargo;
mod componentize;
mod project;
mod signed;

use cargo::{COMPONENT_TARGET, CargoBuild};
use project::{Kind, Project};

/// Build the component in this folder
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Project file or folder [default: wasmcloud.toml or Cargo.toml here or above]
    #[arg(short = 'p', long = "config-path")]
    config_path: Option<PathBuf>,
    /// Build, and do not sign
    #[arg(long, conflicts_with = "sign_only")]
    build_only: bool,
    /// Sign what was built before
    #[arg(long)]
    sign_only: bool,
    /// Accepted for 1.x scripts: nothing is fetched
    #[arg(long, hide = true)]
    skip_fetch: bool,
    #[command(flatten)]
    signing: SigningArgs,
}

impl Args {
    /// Projects of 1.x are signed, as it does. Others have nobody who expects it, unless keys are
    /// named.
    fn signs(&self, project: &Project) -> bool {
        let named = self.signing.issuer.is_some() || self.signing.subject.is_some();
        !self.build_only && (project.build_folder.is_some() || named)
    }
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
        Kind::Component => component(&args, &project, ui).await,
        Kind::Provider if args.sign_only => Err(no_provider()),
        Kind::Provider => build_provider(&project).await,
    }
}

fn is_current(folder: &Path) -> bool {
    std::env::current_dir().is_ok_and(|here| here == folder || folder == Path::new("."))
}

fn no_provider() -> CliError {
    CliError::new(Code::NotSupported, "`--sign-only` signs components")
        .hint("`wash par create` makes a signed archive of the program of a provider")
}

async fn component(args: &Args, project: &Project, ui: &Ui) -> Result<Output> {
    let built = match args.sign_only {
        true => built_before(project)?,
        false => build_component(project).await?,
    };
    let signs = args.signs(project);
    let path = match signs {
        true => signed::sign(project, &built, &args.signing, ui)?,
        false => built,
    };
    let done = match (args.sign_only, signs) {
        (true, _) => "signed",
        (false, true) => "built and signed",
        (false, false) => "built",
    };
    let shown = absolute(&path);
    let text = format!("Component {done} and can be found at {shown}");
    let data = fields([
        ("component_path", Value::from(shown)),
        ("built", (!args.sign_only).into()),
        ("signed", signs.into()),
    ]);
    Ok(Output::new(text, data))
}

/// The component that an earlier build has left.
fn built_before(project: &Project) -> Result<PathBuf> {
    let Some(path) = destination(project, Path::new("")) else {
        return Err(
            CliError::new(Code::Usage, "the project does not say what it builds")
                .hint("set `name` in wasmcloud.toml, or sign the file with `wash claims sign`"),
        );
    };
    if path.is_file() {
        return Ok(path);
    }
    let text = format!("there is no `{}` to sign", path.display());
    Err(CliError::new(Code::FileNotFound, text).hint("run `wash build` without `--sign-only`"))
}

/// Builds, and gives the file that was made.
async fn build_component(project: &Project) -> Result<PathBuf> {
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
    match destination(project, &artifact) {
        Some(path) => store(&path, &component),
        None if component != bytes => store(&artifact.with_extension("component.wasm"), &component),
        None => Ok(artifact),
    }
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

/// Where the component goes that is not signed yet: `destination` is that of the signed one.
fn destination(project: &Project, artifact: &Path) -> Option<PathBuf> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::parsed;
    use crate::output::{Format, Surroundings};

    async fn build(folder: &Path, more: &[&str]) -> Result<Output> {
        let ui = Ui::new(Format::Text, false, String::new(), Surroundings::detect());
        let folder = folder.to_str().unwrap();
        let line = [&["-p", folder], more].concat();
        run(parsed(&line).unwrap(), &ui).await
    }

    #[tokio::test]
    async fn a_project_of_1x_is_built_and_signed() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| folder.path().join(name);
        // An empty component.
        fs::write(file("made.wasm"), b"\0asm\x0d\0\x01\0").unwrap();
        fs::write(
            file("wasmcloud.toml"),
            "name = 'my-demo'\nlanguage = 'other'\ntype = 'component'\nversion = '0.2.0'\n\
             [component]\nbuild_command = 'true'\nbuild_artifact = 'made.wasm'\n\
             key_directory = 'keys'\n",
        )
        .unwrap();
        let without = build(folder.path(), &["--build-only"]).await.unwrap();
        assert_eq!(without.data()["signed"], false);
        assert!(file("build/my_demo.wasm").is_file() && !file("keys").exists());
        let refused = build(folder.path(), &["--disable-keygen"]).await;
        assert_eq!(refused.unwrap_err().code(), Code::FileNotFound);
        let signed = build(folder.path(), &[]).await.unwrap();
        assert_eq!(signed.data()["signed"], true);
        assert!(file("keys/my_demo_module.nk").is_file());
        let bytes = fs::read(file("build/my_demo_s.wasm")).unwrap();
        let claims = lattice_claims::verify_component(&bytes, lattice_claims::epoch_seconds());
        let metadata = claims.unwrap().unwrap().claims.metadata.unwrap();
        assert_eq!(metadata.name.as_deref(), Some("my-demo"));
        assert_eq!(metadata.version.as_deref(), Some("0.2.0"));
        let again = build(folder.path(), &["--sign-only", "--disable-keygen"]).await;
        assert_eq!(again.unwrap().data()["built"], false);
    }
}
