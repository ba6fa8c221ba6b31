//! `wash claims sign`: a component with a token in it.

use std::path::{Path, PathBuf};

use lattice_claims::component::ValidTimes;
use lattice_claims::{ComponentMetadata, KeyKind, sign_component};
use lattice_core::reply::message_chain;
use serde_json::Value;

use super::{TimeArgs, project_here};
use crate::commands::build::Project;
use crate::error::{CliError, Code, Result};
use crate::keys::SigningArgs;
use crate::output::{Output, Ui, fields};

/// Sign a component
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Component to sign
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// File to write [default: that of the project here, or the name of the file with `_s` added]
    #[arg(short = 'd', long)]
    destination: Option<PathBuf>,
    #[command(flatten)]
    about: About,
    #[command(flatten)]
    times: TimeArgs,
    #[command(flatten)]
    signing: SigningArgs,
}

/// What is said about a component.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct About {
    /// Name of the component [default: that of the project here, or of the file]
    #[arg(short = 'n', long)]
    pub(super) name: Option<String>,
    /// Tag; may be repeated
    #[arg(short = 't', long = "tag", value_name = "TAG")]
    pub(super) tags: Vec<String>,
    /// Revision, a number that grows
    #[arg(short = 'r', long = "rev", value_name = "NUMBER")]
    pub(super) revision: Option<i32>,
    /// Version, for people
    #[arg(short = 'v', long = "ver", value_name = "VERSION")]
    pub(super) version: Option<String>,
    /// Short name to call it by
    #[arg(short = 'a', long)]
    pub(super) call_alias: Option<String>,
}

impl About {
    /// What is not said is as the project has it; tags are added up.
    pub(super) fn within(&self, project: Option<&Project>) -> Self {
        let mut about = self.clone();
        let Some(project) = project else {
            return about;
        };
        let tags = project.component.tags.iter().flatten();
        let further = tags.filter(|tag| !self.tags.contains(tag)).cloned();
        about.tags.extend(further);
        about.name = about.name.or_else(|| project.name.clone());
        about.revision = about.revision.or(project.revision);
        about.version = about.version.or_else(|| project.version.clone());
        let alias = || project.component.call_alias.clone();
        about.call_alias = about.call_alias.or_else(alias);
        about
    }

    pub(super) fn metadata(&self, name: &str) -> ComponentMetadata {
        ComponentMetadata {
            name: Some(name.to_owned()),
            tags: Some(self.tags.clone()).filter(|tags| !tags.is_empty()),
            revision: self.revision,
            version: self.version.clone(),
            call_alias: self.call_alias.clone(),
            ..ComponentMetadata::default()
        }
    }
}

/// A component that is to be signed.
#[derive(Debug)]
pub(crate) struct Signing<'a> {
    pub(crate) file: &'a Path,
    /// The file after which the key of the component and the signed file are called.
    pub(crate) named: &'a Path,
    /// The file to write, if not that name with `_s` added.
    pub(crate) destination: Option<PathBuf>,
    pub(crate) metadata: ComponentMetadata,
    pub(crate) times: ValidTimes,
    pub(crate) keys: &'a SigningArgs,
}

/// A component that was signed.
#[derive(Debug)]
pub(crate) struct Signed {
    pub(crate) destination: PathBuf,
    issuer: String,
    subject: String,
}

pub(crate) fn run(args: &Args, ui: &Ui) -> Result<Output> {
    let file = path_of(&args.file);
    let times = args.times.times()?;
    let project = project_here(ui);
    let about = args.about.within(project.as_ref());
    let name = about.name.clone().unwrap_or_else(|| stem(file));
    let keys = of_project(&args.signing, project.as_ref());
    let usual = || {
        let project = project.as_ref()?;
        let destination = project.component.destination.as_ref()?;
        Some(project.folder.join(destination))
    };
    let signing = Signing {
        file,
        named: file,
        destination: args.destination.clone().or_else(usual),
        metadata: about.metadata(&name),
        times,
        keys: &keys,
    };
    let signed = signing.sign(ui)?;
    let shown = signed.destination.display().to_string();
    let data = fields([
        ("destination", Value::from(shown.as_str())),
        ("issuer", signed.issuer.into()),
        ("subject", signed.subject.into()),
    ]);
    Ok(Output::new(format!("Successfully signed {shown}"), data))
}

/// The keys to sign a component with, in the folder of the project unless another is named.
pub(super) fn of_project(given: &SigningArgs, project: Option<&Project>) -> SigningArgs {
    project.map_or_else(
        || given.clone(),
        |project| project.keys(given, project.component.key_directory.as_deref()),
    )
}

impl Signing<'_> {
    pub(crate) fn sign(self, ui: &Ui) -> Result<Signed> {
        let file = self.file;
        let wasm = std::fs::read(file).map_err(|error| {
            CliError::unread(format!("could not read `{}`", file.display()), &error)
                .hint("check the path; `wash build` makes a component")
        })?;
        if !wasm.starts_with(b"\0asm") {
            let text = format!("`{}` is not WebAssembly", file.display());
            return Err(CliError::new(Code::NotAnArtifact, text)
                .hint("providers are signed by `wash par create`"));
        }
        let stem = stem(self.named);
        let issuer = self.keys.issuer(KeyKind::Account, ui)?;
        let subject = self.keys.subject(&stem, KeyKind::Component, ui)?;
        let signed = sign_component(&wasm, self.metadata, &issuer, &subject, self.times);
        let signed = signed.map_err(|error| {
            let text = format!("could not sign `{}`", file.display());
            CliError::new(Code::NotAnArtifact, text).cause(message_chain(&error))
        })?;
        let usual = || self.named.with_file_name(format!("{stem}_s.wasm"));
        let destination = self.destination.unwrap_or_else(usual);
        let folder = destination.parent().unwrap_or(Path::new(""));
        let written = std::fs::create_dir_all(folder);
        let written = written.and_then(|()| std::fs::write(&destination, signed));
        written.map_err(|error| {
            let text = format!("could not write `{}`", destination.display());
            CliError::io(text, &error)
        })?;
        Ok(Signed {
            destination,
            issuer: issuer.public_key(),
            subject: subject.public_key(),
        })
    }
}

fn stem(file: &Path) -> String {
    let stem = file.file_stem().unwrap_or_default();
    stem.to_string_lossy().into_owned()
}

/// The path of a file, which may be given as a reference.
fn path_of(given: &Path) -> &Path {
    given
        .to_str()
        .and_then(|text| text.strip_prefix("file://"))
        .map_or(given, Path::new)
}
