//! `wash claims token`: a token by itself.

use clap::{Args, Subcommand};
use lattice_claims::{Claims, KeyKind, ProviderMetadata, SignerMetadata};
use lattice_core::reply::message_chain;
use serde::Serialize;
use serde_json::Value;

use super::sign::{About, of_project};
use super::{TimeArgs, project_here};
use crate::commands::build::{NO_VENDOR, Project};
use crate::error::{CliError, Code, Result};
use crate::keys::{self, SigningArgs};
use crate::output::{Output, Ui, fields};

/// Make a token
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// About a component; it holds no hash, so that hosts take it for no file
    #[command(visible_alias = "actor")]
    Component(ComponentArgs),
    /// By which an operator names the keys that sign accounts for it
    Operator(SignerArgs),
    /// By which an operator names an account and the keys that sign for it
    Account(SignerArgs),
    /// About a provider; it holds no hashes
    Provider(ProviderArgs),
}

#[derive(Debug, Args)]
pub(crate) struct ComponentArgs {
    #[command(flatten)]
    about: About,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Args)]
pub(crate) struct SignerArgs {
    /// Name
    #[arg(short = 'n', long)]
    name: String,
    /// Further key that signs: a public key, a seed, or a file with one; may be repeated
    #[arg(short = 'a', long = "additional-key", value_name = "KEY")]
    additional: Vec<String>,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Args)]
pub(crate) struct ProviderArgs {
    /// Name [default: that of the project here]
    #[arg(short = 'n', long)]
    name: Option<String>,
    /// Who made it [default: as the project here says]
    #[arg(short = 'v', long)]
    vendor: Option<String>,
    /// Revision, a number that grows
    #[arg(short = 'r', long, value_name = "NUMBER")]
    revision: Option<i32>,
    /// Version, for people
    #[arg(short = 'e', long = "version", value_name = "VERSION")]
    version: Option<String>,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Args)]
struct Common {
    #[command(flatten)]
    times: TimeArgs,
    #[command(flatten)]
    signing: SigningArgs,
}

pub(crate) fn run(command: Command, ui: &Ui) -> Result<Output> {
    match command {
        Command::Component(mut args) => {
            let project = project_here(ui);
            let about = args.about.within(project.as_ref());
            args.common.signing = of_project(&args.common.signing, project.as_ref());
            let name = about.name.clone().ok_or_else(|| missing("name"))?;
            let keys = (KeyKind::Account, KeyKind::Component);
            args.common.token(&name, keys, about.metadata(&name), ui)
        }
        Command::Provider(mut args) => {
            let project = project_here(ui);
            if let Some(project) = &project {
                let folder = project.provider.key_directory.as_deref();
                args.common.signing = project.keys(&args.common.signing, folder);
            }
            let (name, metadata) = about_provider(&args, project.as_ref())?;
            let keys = (KeyKind::Account, KeyKind::Provider);
            args.common.token(&name, keys, metadata, ui)
        }
        Command::Account(args) => {
            let metadata = signers(&args, KeyKind::Account)?;
            let keys = (KeyKind::Operator, KeyKind::Account);
            args.common.token(&args.name, keys, metadata, ui)
        }
        Command::Operator(args) => {
            let metadata = signers(&args, KeyKind::Operator)?;
            args.common.about_itself(&args.name, metadata, ui)
        }
    }
}

fn missing(what: &str) -> CliError {
    CliError::new(Code::Usage, format!("the token needs a {what}"))
        .hint(format!("give it with `--{what}`"))
}

/// The name of a provider, and what is said about it here or in the project.
fn about_provider(
    args: &ProviderArgs,
    project: Option<&Project>,
) -> Result<(String, ProviderMetadata)> {
    let name = args.name.clone().or_else(|| project?.name.clone());
    let name = name.ok_or_else(|| missing("name"))?;
    let vendor = || {
        let vendor = project?.provider.vendor.as_deref();
        Some(vendor.unwrap_or(NO_VENDOR).to_owned())
    };
    let vendor = args.vendor.clone().or_else(vendor);
    let version = args.version.clone();
    let metadata = ProviderMetadata {
        name: Some(name.clone()),
        vendor: vendor.ok_or_else(|| missing("vendor"))?,
        revision: args.revision.or_else(|| project?.revision),
        version: version.or_else(|| project?.version.clone()),
        ..ProviderMetadata::default()
    };
    Ok((name, metadata))
}

fn signers(args: &SignerArgs, kind: KeyKind) -> Result<SignerMetadata> {
    let keys = args.additional.iter().map(|given| {
        let key = keys::public_of(given)?;
        if key.starts_with(kind.letter()) {
            return Ok(key);
        }
        let text = format!("`{key}` is not the key of an {kind}");
        Err(CliError::new(Code::Usage, text).hint("`wash keys gen` makes keys of each kind"))
    });
    let keys = keys.collect::<Result<Vec<_>>>()?;
    Ok(SignerMetadata {
        name: Some(args.name.clone()),
        valid_signers: Some(keys).filter(|keys| !keys.is_empty()),
    })
}

impl Common {
    fn token<T: Serialize>(
        &self,
        name: &str,
        (issuer, subject): (KeyKind, KeyKind),
        metadata: T,
        ui: &Ui,
    ) -> Result<Output> {
        let issuer = self.signing.issuer(issuer, ui)?;
        let subject = self.signing.subject(name, subject, ui)?;
        self.sign(&issuer, subject.public_key(), metadata)
    }

    /// A token that an operator signs about itself.
    fn about_itself<T: Serialize>(&self, name: &str, metadata: T, ui: &Ui) -> Result<Output> {
        let key = match &self.signing.issuer {
            Some(_) => self.signing.issuer(KeyKind::Operator, ui)?,
            None => self.signing.subject(name, KeyKind::Operator, ui)?,
        };
        self.sign(&key, key.public_key(), metadata)
    }

    fn sign<T: Serialize>(
        &self,
        issuer: &lattice_claims::SigningKey,
        subject: String,
        metadata: T,
    ) -> Result<Output> {
        let times = self.times.times()?;
        let mut claims = Claims::new(subject, metadata, times.now);
        (claims.expires, claims.not_before) = (times.expires, times.not_before);
        let token = claims.sign(issuer).map_err(|error| {
            CliError::new(Code::Unexpected, "could not make the token").cause(message_chain(&error))
        })?;
        let data = fields([("token", Value::from(token.as_str()))]);
        Ok(Output::new(token, data))
    }
}
