//! `wash secrets-backend`: the reference backend, which keeps sealed values in NATS.
//!
//! Names and flags are those of `secrets-nats-kv` of 1.x.

mod keys;
mod serve;
mod value;

use std::time::Duration;

use clap::{Args, Subcommand};
use lattice_claims::builtin_entity;
use lattice_core::reference::Reference;
use lattice_core::subject::TopicPrefix;
use lattice_core::subject::secrets::DEFAULT_SECRETS_TOPIC;
use lattice_core::{BackendName, ImageRef};
use lattice_secrets::{AskError, SecretsClient};
use serde_json::Value;

use crate::connection::{ConnectionArgs, connect};
use crate::error::{CliError, Code, Result};
use crate::output::{Output, Ui, eprint_line, fields};

/// Run or fill the secrets backend that keeps sealed values in NATS
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Answer requests for secrets, until stopped
    #[command(alias = "run")]
    Serve(Box<serve::Args>),
    /// Give the backend a value to keep, as a new version
    Put(PutArgs),
    /// Let a component or provider have secrets
    AddMapping(AddMappingArgs),
    /// Let a component or provider no longer have secrets
    RemoveMapping(MappingArgs),
}

/// Which backend is meant.
#[derive(Debug, Args)]
pub(crate) struct BackendArgs {
    /// Name of the backend, as references have it
    #[arg(long = "name", default_value = "nats-kv", env = "SECRETS_BACKEND_NAME")]
    name: BackendName,
    /// What the subjects of backends start with
    #[arg(long, default_value = DEFAULT_SECRETS_TOPIC, env = "SUBJECT_BASE", alias = "secrets-topic")]
    subject_base: TopicPrefix,
    #[command(flatten)]
    connection: ConnectionArgs,
}

#[derive(Debug, Args)]
pub(crate) struct PutArgs {
    /// Key of the secret in the backend
    key: String,
    #[command(flatten)]
    value: value::ValueArgs,
    #[command(flatten)]
    backend: BackendArgs,
}

#[derive(Debug, Args)]
pub(crate) struct AddMappingArgs {
    #[command(flatten)]
    mapping: MappingArgs,
    /// Public key of the account (`A…`) that signs the component or provider, so that no token counts
    /// that somebody else has signed; the first one who is given a secret when left out
    #[arg(long, value_name = "A…")]
    issuer: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct MappingArgs {
    /// Public key of the component (`M…`) or provider (`V…`), which `wash inspect FILE` shows; or
    /// `builtin://NAME` for a provider that is part of the hosts
    entity: String,
    /// Keys of the secrets in the backend
    #[arg(required_unless_present = "secret")]
    keys: Vec<String>,
    /// Key of a secret in the backend; may be repeated
    #[arg(long)]
    secret: Vec<String>,
    #[command(flatten)]
    backend: BackendArgs,
}

pub(crate) async fn run(command: Command, ui: &Ui) -> Result<Output> {
    match command {
        Command::Serve(args) => serve::run(*args).await,
        Command::Put(args) => put(args, ui).await,
        Command::AddMapping(args) => {
            let change = Change::Add {
                issuer: args.issuer,
            };
            map(args.mapping, ui, change).await
        }
        Command::RemoveMapping(args) => map(args, ui, Change::Remove).await,
    }
}

async fn put(args: PutArgs, ui: &Ui) -> Result<Output> {
    if let Some(warning) = value::warn_of_argument(std::env::args_os()) {
        ui.notice(warning);
    }
    let value = args.value.read()?;
    let spinner = ui.spinner("Storing the value");
    let (client, backend) = client(args.backend).await?;
    let revision = client.put(&backend, &args.key, value).await;
    let what = || format!("could not store `{}` in backend `{backend}`", args.key);
    let revision = revision.map_err(|error| explain(what(), &error))?;
    drop(spinner);
    let text = format!("Secret '{}' stored as version {revision}.", args.key);
    let data = fields([
        ("key", Value::from(args.key)),
        ("version", Value::from(revision.to_string())),
    ]);
    Ok(Output::new(text, data))
}

/// The public key of who is named.
fn entity(text: &str) -> Result<String> {
    let text = text.trim();
    if !text.contains("://") {
        return Ok(text.to_owned());
    }
    let image = ImageRef::new(text);
    match image.map(|image| Reference::parse(&image)) {
        Ok(Ok(Reference::Builtin(name))) => builtin_entity(&name).map_err(|error| {
            CliError::new(Code::Unexpected, format!("`{text}` has no key")).caused_by(&error)
        }),
        _ => Err(CliError::new(
            Code::Usage,
            format!("`{text}` is no provider that is part of hosts, nor a public key"),
        )
        .hint("`builtin://keyvalue-redis` is one; for a file give the key that `wash inspect FILE` shows")),
    }
}

/// What becomes of a mapping.
enum Change {
    Add { issuer: Option<String> },
    Remove,
}

impl Change {
    async fn ask(
        &self,
        client: &SecretsClient,
        backend: &BackendName,
        entity: &str,
        keys: &[String],
    ) -> Result<(), AskError> {
        match self {
            Self::Add { issuer: None } => client.add_mapping(backend, entity, keys).await,
            Self::Add {
                issuer: Some(issuer),
            } => {
                let issuer = issuer.trim();
                let added = client.add_mapping_of(backend, entity, issuer, keys);
                added.await
            }
            Self::Remove => client.remove_mapping(backend, entity, keys).await,
        }
    }
}

/// What is to be said of a mapping that has not become what was asked for.
fn failed(error: &AskError, backend: &BackendName, entity: &str) -> String {
    match error {
        AskError::IssuerIgnored { issuer, .. } => {
            format!("could not bind the secrets of `{entity}` in backend `{backend}` to `{issuer}`")
        }
        _ => format!("could not change the secrets of `{entity}` in backend `{backend}`"),
    }
}

async fn map(args: MappingArgs, ui: &Ui, change: Change) -> Result<Output> {
    let entity = entity(&args.entity)?;
    if entity != args.entity.trim() && matches!(change, Change::Add { issuer: None }) {
        return Err(CliError::new(
            Code::Usage,
            "a mapping for a provider that is part of hosts needs `--issuer A…`",
        )
        .hint(
            "anybody can sign a token about such a provider, whose key is no secret; the hosts say in their log \
             as they start who signs for theirs (`issuer`)",
        ));
    }
    let keys: Vec<String> = args.keys.into_iter().chain(args.secret).collect();
    let spinner = ui.spinner("Changing who may have which secrets");
    let (client, backend) = client(args.backend).await?;
    let changed = change.ask(&client, &backend, &entity, &keys).await;
    changed.map_err(|error| explain(failed(&error, &backend, &entity), &error))?;
    drop(spinner);
    if let Change::Add { issuer: None } = change {
        eprint_line(
            "warning: nobody is named who signs for it: unless the backend was told so before, or has \
             `--trusted-issuer`, the first issuer that asks counts; `--issuer A…` names one",
        );
    }
    let verb = match change {
        Change::Add { .. } => "may",
        Change::Remove => "may no longer",
    };
    let text = format!("{entity} {verb} have {}.", keys.join(", "));
    let data = fields([("entity", Value::from(entity)), ("keys", Value::from(keys))]);
    Ok(Output::new(text, data))
}

async fn client(args: BackendArgs) -> Result<(SecretsClient, BackendName)> {
    let settings = args.connection.given().settle()?;
    let nats = connect(&settings).await?;
    let within = settings.timeout.max(Duration::from_secs(1));
    let client = SecretsClient::new(nats, args.subject_base, within);
    Ok((client, args.name))
}

fn explain(what: String, error: &AskError) -> CliError {
    let code = match error {
        AskError::NoBackend { .. } => Code::NoResponders,
        AskError::Timeout { .. } => Code::Timeout,
        AskError::Transport { .. } => Code::NatsUnreachable,
        _ => Code::Refused,
    };
    CliError::new(code, what)
        .caused_by(error)
        .hint(error.hint())
}
