//! `wash claims sign`: a component with a token in it.

use std::path::{Path, PathBuf};

use lattice_claims::{ComponentMetadata, KeyKind, sign_component};
use lattice_core::reply::message_chain;
use serde_json::Value;

use super::TimeArgs;
use crate::error::{CliError, Code, Result};
use crate::keys::SigningArgs;
use crate::output::{Output, Ui, fields};

/// Sign a component
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Component to sign
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// File to write [default: the name of the component with `_s` added]
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
#[derive(Debug, clap::Args)]
pub(crate) struct About {
    /// Name of the component [default: the name of the file]
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

pub(crate) fn run(args: &Args, ui: &Ui) -> Result<Output> {
    let file = path_of(&args.file);
    let wasm = std::fs::read(file).map_err(|error| {
        CliError::unread(format!("could not read `{}`", file.display()), &error)
            .hint("check the path; `wash build` makes a component")
    })?;
    if !wasm.starts_with(b"\0asm") {
        let text = format!("`{}` is not WebAssembly", file.display());
        return Err(CliError::new(Code::NotAnArtifact, text)
            .hint("providers are signed by `wash par create`"));
    }
    let times = args.times.times()?;
    let stem = file.file_stem().unwrap_or_default().to_string_lossy();
    let name = args.about.name.as_deref().unwrap_or(&stem);
    let issuer = args.signing.issuer(KeyKind::Account, ui)?;
    let subject = args.signing.subject(&stem, KeyKind::Component, ui)?;
    let metadata = args.about.metadata(name);
    let signed = sign_component(&wasm, metadata, &issuer, &subject, times).map_err(|error| {
        CliError::new(
            Code::NotAnArtifact,
            format!("could not sign `{}`", file.display()),
        )
        .cause(message_chain(&error))
    })?;
    let destination = match &args.destination {
        Some(path) => path.clone(),
        None => file.with_file_name(format!("{stem}_s.wasm")),
    };
    std::fs::write(&destination, signed).map_err(|error| {
        CliError::io(
            format!("could not write `{}`", destination.display()),
            &error,
        )
    })?;
    let shown = destination.display().to_string();
    let data = fields([
        ("destination", Value::from(shown.as_str())),
        ("issuer", issuer.public_key().into()),
        ("subject", subject.public_key().into()),
    ]);
    Ok(Output::new(format!("Successfully signed {shown}"), data))
}

/// The path of a file, which may be given as a reference.
fn path_of(given: &Path) -> &Path {
    given
        .to_str()
        .and_then(|text| text.strip_prefix("file://"))
        .map_or(given, Path::new)
}
