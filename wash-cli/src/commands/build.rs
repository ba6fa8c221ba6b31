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
mod provider;
mod rust;
mod signed;

use project::Kind;
pub(crate) use project::Project;
pub(crate) use provider::NO_VENDOR;

/// Build the component or the provider in this folder
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
    packages: PackageArgs,
    #[command(flatten)]
    signing: SigningArgs,
}

/// Where 1.x fetches WIT packages from. Taken for its scripts.
#[derive(Debug, clap::Args)]
struct PackageArgs {
    #[arg(long, hide = true, value_name = "FILE")]
    pkg_config: Option<PathBuf>,
    #[arg(long, hide = true, value_name = "FOLDER")]
    pkg_cache: Option<PathBuf>,
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
    if args.packages.pkg_config.is_some() || args.packages.pkg_cache.is_some() {
        ui.notice(
            "`--pkg-config` and `--pkg-cache` change nothing: no WIT is fetched; `wkg wit fetch` \
             fetches it",
        );
    }
    let built = match project.kind {
        Kind::Component => component(&args, &project, ui).await,
        Kind::Provider if args.sign_only => return Err(no_provider()),
        Kind::Provider => provider::run(&project, args.signs(&project), &args.signing, ui).await,
    };
    built.map_err(|error| match error.code() {
        Code::BuildFailed if lacks_wit(&project.wit) => error.hint(
            "fetch what the WIT of the project depends on with `wkg wit fetch`, and build again",
        ),
        _ => error,
    })
}

/// Whether the WIT in a folder depends on some that was never fetched.
fn lacks_wit(folder: &Path) -> bool {
    let read = || wit_parser::Resolve::default().push_dir(folder);
    folder.is_dir()
        && !folder.join("deps").exists()
        && read().is_err_and(|error| format!("{error:#}").contains("not found"))
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
        false => built.component,
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

/// What was built.
#[derive(Debug)]
struct Built {
    /// The file of the component.
    component: PathBuf,
    /// The file that it was made of, which may be the same: the signed one lies beside it.
    artifact: PathBuf,
}

/// The component that an earlier build has left.
fn built_before(project: &Project) -> Result<Built> {
    let artifact = project.component.build_artifact.as_ref();
    let named = artifact.map(|artifact| project.folder.join(artifact));
    let Some(path) = named.or_else(|| usual_place(project)) else {
        return Err(
            CliError::new(Code::Usage, "the project does not say what it builds")
                .hint("set `name` in wasmcloud.toml, or sign the file with `wash claims sign`"),
        );
    };
    if path.is_file() {
        return made_into_component(project, path);
    }
    let text = format!("there is no `{}` to sign", path.display());
    Err(CliError::new(Code::FileNotFound, text).hint("run `wash build` without `--sign-only`"))
}

/// Builds, and gives the file that is to be signed, which lies where 1.x has it.
async fn build_component(project: &Project) -> Result<Built> {
    if let Some(command) = &project.component.build_command {
        let made = run_command(project, command).await?;
        return made_into_component(project, made);
    }
    if project.language != "rust" {
        return Err(no_command(&project.language));
    }
    let made = rust::build(project).await?;
    let folder = project.build_folder.as_ref().zip(made.file_name());
    let Some(place) = folder.map(|(folder, name)| folder.join(name)) else {
        return made_into_component(project, made);
    };
    let component = componentize::component(&read_built(&made)?, project, &made)?;
    let place = store(&place, &component)?;
    Ok(Built {
        component: place.clone(),
        artifact: place,
    })
}

/// A file that a build has left. It stays as it is: the component that a core module is made into
/// lies beside it.
fn made_into_component(project: &Project, made: PathBuf) -> Result<Built> {
    let bytes = read_built(&made)?;
    let component = componentize::component(&bytes, project, &made)?;
    let place = match component == bytes {
        true => made.clone(),
        false => store(&made.with_extension("component.wasm"), &component)?,
    };
    Ok(Built {
        component: place,
        artifact: made,
    })
}

fn read_built(made: &Path) -> Result<Vec<u8>> {
    fs::read(made).map_err(|error| {
        CliError::io(
            format!("could not read the built file `{}`", made.display()),
            &error,
        )
    })
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
    let named = project.component.build_artifact.as_ref();
    let named = named.map(|artifact| project.folder.join(artifact));
    let artifact = named.or_else(|| usual_place(project)).ok_or_else(|| {
        CliError::new(Code::InvalidInput, "the project has no name")
            .hint("set `name`, or `build_artifact` under `[component]`")
    })?;
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

/// Where a component lies that is not signed yet, where the project does not say so. Cargo calls
/// that of a program otherwise than that of a library.
fn usual_place(project: &Project) -> Option<PathBuf> {
    let folder = project.build_folder.as_ref()?;
    let place = |name: &String| folder.join(format!("{name}.wasm"));
    let usual = place(project.wasm_name.as_ref()?);
    let mut programs = project.programs.iter().map(place);
    match usual.is_file() {
        true => Some(usual),
        false => programs.find(|place| place.is_file()).or(Some(usual)),
    }
}

fn store(path: &Path, bytes: &[u8]) -> Result<PathBuf> {
    if let Some(folder) = path.parent() {
        crate::lattice_dir::create_folder(folder)?;
    }
    fs::write(path, bytes)
        .map_err(|error| CliError::io(format!("could not write `{}`", path.display()), &error))?;
    Ok(path.to_owned())
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

    /// An empty component.
    const EMPTY: &[u8] = b"\0asm\x0d\0\x01\0";

    #[tokio::test]
    async fn a_project_of_1x_is_built_and_signed() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| folder.path().join(name);
        fs::write(file("made.wasm"), EMPTY).unwrap();
        fs::write(
            file("wasmcloud.toml"),
            "name = 'my-demo'\nlanguage = 'other'\ntype = 'component'\nversion = '0.2.0'\n\
             [component]\nbuild_command = 'true'\nbuild_artifact = 'made.wasm'\n\
             key_directory = 'keys'\n",
        )
        .unwrap();
        let without = build(folder.path(), &["--build-only"]).await.unwrap();
        assert_eq!(without.data()["signed"], false);
        assert!(!file("keys").exists());
        let refused = build(folder.path(), &["--disable-keygen"]).await;
        assert_eq!(refused.unwrap_err().code(), Code::FileNotFound);
        let signed = build(folder.path(), &[]).await.unwrap();
        assert_eq!(signed.data()["signed"], true);
        assert!(file("keys/made_module.nk").is_file());
        assert!(!file("build").exists());
        let bytes = fs::read(file("made_s.wasm")).unwrap();
        let claims = lattice_claims::verify_component(&bytes, lattice_claims::epoch_seconds());
        let metadata = claims.unwrap().unwrap().claims.metadata.unwrap();
        assert_eq!(metadata.name.as_deref(), Some("my-demo"));
        assert_eq!(metadata.version.as_deref(), Some("0.2.0"));
        // What stands there now is signed, and no copy of before.
        fs::write(file("made.wasm"), [EMPTY, &b"\0\x02\x01x"[..]].concat()).unwrap();
        let again = build(folder.path(), &["--sign-only", "--disable-keygen"]).await;
        assert_eq!(again.unwrap().data()["built"], false);
        assert!(fs::read(file("made_s.wasm")).unwrap().len() > bytes.len());
    }

    #[tokio::test]
    async fn what_a_command_makes_lies_in_the_build_folder_under_the_name_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| folder.path().join(name);
        fs::create_dir(file("out")).unwrap();
        fs::write(file("out/my-demo.wasm"), EMPTY).unwrap();
        let text = "name = 'my-demo'\nlanguage = 'other'\ntype = 'component'\nbuild = 'out'\n\
                    [component]\nbuild_command = 'true'\nkey_directory = 'keys'\n";
        fs::write(file("wasmcloud.toml"), text).unwrap();
        for line in ["", "--sign-only"] {
            let more: Vec<&str> = line.split_whitespace().collect();
            build(folder.path(), &more).await.unwrap();
            fs::remove_file(file("out/my-demo_s.wasm")).unwrap();
        }
        let named = format!("{text}destination = 'signed/demo.wasm'\n");
        fs::write(file("wasmcloud.toml"), named).unwrap();
        build(folder.path(), &[]).await.unwrap();
        assert!(file("signed/demo.wasm").is_file());
        fs::rename(file("out/my-demo.wasm"), file("out/made.wasm")).unwrap();
        let named = format!("wasm_bin_name = 'made'\n{text}");
        fs::write(file("wasmcloud.toml"), named).unwrap();
        build(folder.path(), &[]).await.unwrap();
        assert!(file("out/made_s.wasm").is_file());
    }

    #[tokio::test]
    async fn a_core_module_that_a_command_makes_stays_as_it_is() {
        const MODULE: &[u8] = b"\0asm\x01\0\0\0";
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| folder.path().join(name);
        fs::write(file("made.wasm"), MODULE).unwrap();
        let text = "name = 'my-demo'\nlanguage = 'other'\ntype = 'component'\n[component]\n\
                    build_command = 'true'\nbuild_artifact = 'made.wasm'\nkey_directory = 'keys'\n";
        fs::write(file("wasmcloud.toml"), text).unwrap();
        let is_component = |name: &str| {
            let bytes = fs::read(file(name)).unwrap();
            wasmparser::Parser::is_component(&bytes)
        };
        build(folder.path(), &["--build-only"]).await.unwrap();
        assert!(is_component("made.component.wasm"));
        for line in ["", "--sign-only"] {
            let more: Vec<&str> = line.split_whitespace().collect();
            build(folder.path(), &more).await.unwrap();
            assert!(is_component("made_s.wasm"), "{line}");
            fs::remove_file(file("made_s.wasm")).unwrap();
        }
        assert!(file("keys/made_module.nk").is_file());
        assert_eq!(fs::read(file("made.wasm")).unwrap(), MODULE);
    }

    #[tokio::test]
    async fn the_component_of_a_rust_program_is_found_to_be_signed() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| folder.path().canonicalize().unwrap().join(name);
        fs::create_dir(file("src")).unwrap();
        fs::write(file("src/main.rs"), "").unwrap();
        fs::write(file("made-by-cargo.wasm"), EMPTY).unwrap();
        // In the place of Cargo a shell runs the script `build`, which says the same.
        let message = serde_json::json!({
            "reason": "compiler-artifact",
            "manifest_path": file("Cargo.toml"),
            "filenames": [file("made-by-cargo.wasm")],
        });
        fs::write(file("build"), format!("echo '{message}'\n")).unwrap();
        fs::write(
            file("wasmcloud.toml"),
            "name = 'shop'\nlanguage = 'rust'\ntype = 'component'\nbuild = 'out'\n\
             [component]\nkey_directory = 'keys'\n[rust]\ncargo_path = '/bin/sh'\n",
        )
        .unwrap();
        for manifest in [
            "[package]\nname = 'made-by-cargo'\n",
            "[package]\nname = 'x'\n[[bin]]\nname = 'made-by-cargo'\n",
        ] {
            fs::write(file("Cargo.toml"), manifest).unwrap();
            build(folder.path(), &["--build-only"]).await.unwrap();
            build(folder.path(), &["--sign-only"]).await.unwrap();
            fs::remove_file(file("out/made-by-cargo_s.wasm")).unwrap();
        }
    }

    #[tokio::test]
    async fn a_build_that_fails_for_want_of_wit_says_how_to_fetch_it() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| folder.path().join(name);
        let text = "name = 'x'\nlanguage = 'other'\ntype = 'component'\n\
                    [component]\nbuild_command = 'false'\n";
        fs::write(file("wasmcloud.toml"), text).unwrap();
        fs::create_dir(file("wit")).unwrap();
        let hint = async |wit: &str| {
            fs::write(file("wit/x.wit"), wit).unwrap();
            let error = build(folder.path(), &[]).await.unwrap_err();
            error.hint_text().unwrap().contains("`wkg wit fetch`")
        };
        assert!(!hint("package a:b; world w {}").await);
        let needs = "package a:b; world w { import wasi:http/types@0.2.0; }";
        assert!(hint(needs).await);
        fs::create_dir(file("wit/deps")).unwrap();
        assert!(!hint(needs).await);
    }

    #[test]
    fn flags_of_1x_for_packages_are_taken() {
        let line = ["--pkg-config", "a.toml", "--pkg-cache", "b", "--skip-fetch"];
        assert!(parsed::<Args>(&line).unwrap().packages.pkg_cache.is_some());
    }
}
