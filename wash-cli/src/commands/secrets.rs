//! `wash secrets`: references to secrets. A value never passes here.

use clap::{Args, Subcommand};
use lattice_core::config::{SECRET_PREFIX, SecretReference};
use lattice_core::{BackendName, ConfigName};
use serde_json::{Map, Value};

use crate::connection::{ConnectionArgs, Lattice};
use crate::error::{CliError, Code, Result};
use crate::output::{Output, Ui, fields};
use crate::resolve;

/// Manage references to secrets
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Store a reference to a secret in a backend, in place of the one that was there
    #[command(alias = "create")]
    Put(PutArgs),
    /// Show a reference; the value stays in its backend
    Get(NameArgs),
    /// Delete a reference
    #[command(alias = "delete")]
    Del(NameArgs),
}

#[derive(Debug, Args)]
pub(crate) struct PutArgs {
    /// Name of the reference, by which components and links name it
    name: String,
    /// Backend that has the secret
    backend: String,
    /// Key of the secret in the backend
    key: String,
    /// Field of a structured secret
    #[arg(long)]
    field: Option<String>,
    /// Version of the secret; the latest when there is none
    #[arg(
        short = 'v',
        long = "version",
        id = "secret_version",
        value_name = "VERSION"
    )]
    version: Option<String>,
    /// Property for the backend's policy; may be repeated
    #[arg(long = "property", value_name = "KEY=VALUE")]
    properties: Vec<String>,
    #[command(flatten)]
    connection: ConnectionArgs,
}

#[derive(Debug, Args)]
pub(crate) struct NameArgs {
    /// Name of the reference
    name: String,
    #[command(flatten)]
    connection: ConnectionArgs,
}

pub(crate) async fn run(command: Command, ui: &Ui) -> Result<Output> {
    match command {
        Command::Put(args) => put(args, ui).await,
        Command::Get(args) => get(args, ui).await,
        Command::Del(args) => del(args, ui).await,
    }
}

async fn put(args: PutArgs, ui: &Ui) -> Result<Output> {
    let stored_as = stored_name(&args.name)?;
    let name = own_name(&stored_as);
    let backend = BackendName::new(args.backend.trim())
        .map_err(|error| CliError::new(Code::Usage, error.to_string()).hint(error.hint()))?;
    let properties = resolve::pairs(&args.properties)?;
    let mut reference = SecretReference::new(name, backend.as_str(), &args.key, &properties);
    reference.field = args.field;
    reference.version = args.version;
    let spinner = ui.spinner("Storing the reference");
    let lattice = Lattice::connect(&args.connection).await?;
    let values = reference.to_map();
    let stored = lattice.client.put_config(&stored_as, &values).await;
    stored.map_err(|error| lattice.explain(format!("could not store secret `{name}`"), &error))?;
    drop(spinner);
    Ok(message(format!("Secret '{name}' put successfully.")))
}

/// In JSON the fields stand beside the common ones, as in 1.x; only that of a config stands alone.
async fn get(args: NameArgs, ui: &Ui) -> Result<Output> {
    let stored_as = stored_name(&args.name)?;
    let name = own_name(&stored_as);
    let spinner = ui.spinner("Reading the reference");
    let lattice = Lattice::connect(&args.connection).await?;
    let reference = lattice.client.config(&stored_as).await;
    let reference = reference
        .map_err(|error| lattice.explain(format!("could not read secret `{name}`"), &error))?;
    drop(spinner);
    let Some(reference) = reference else {
        let text = format!("there is no reference to a secret `{name}`");
        return Err(CliError::new(Code::ConfigNotFound, text).hint(format!(
            "store it with `wash secrets put {name} BACKEND KEY`"
        )));
    };
    let lines: Vec<String> = reference
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    let data: Map<String, Value> = reference
        .into_iter()
        .map(|(key, value)| (key, Value::from(value)))
        .collect();
    Ok(Output::new(lines.join("\n"), data))
}

async fn del(args: NameArgs, ui: &Ui) -> Result<Output> {
    let stored_as = stored_name(&args.name)?;
    let name = own_name(&stored_as);
    let spinner = ui.spinner("Deleting the reference");
    let lattice = Lattice::connect(&args.connection).await?;
    let read = lattice.client.config(&stored_as).await;
    let existed = super::config::existed(read)
        .map_err(|error| lattice.explain(format!("could not read secret `{name}`"), &error))?;
    let deleted = lattice.client.delete_config(&stored_as).await;
    deleted
        .map_err(|error| lattice.explain(format!("could not delete secret `{name}`"), &error))?;
    drop(spinner);
    let text = match existed {
        true => format!("Secret reference '{name}' deleted successfully."),
        false => format!("There was no secret reference '{name}'; nothing was deleted"),
    };
    Ok(super::config::deletion(text, existed))
}

fn message(text: String) -> Output {
    let data = fields([("message", Value::from(text.as_str()))]);
    Output::new(text, data)
}

/// The name under which a reference is stored; it may be given with its prefix.
fn stored_name(text: &str) -> Result<ConfigName> {
    let text = text.trim();
    let own = text.strip_prefix(SECRET_PREFIX).unwrap_or(text);
    // Said of the name itself, which the prefix would make good.
    ConfigName::new(own)
        .and_then(|own| ConfigName::new(format!("{SECRET_PREFIX}{own}")))
        .map_err(|error| {
            CliError::new(Code::Usage, error.to_string()).hint("use letters, digits, `-` and `_`")
        })
}

fn own_name(stored_as: &ConfigName) -> &str {
    let text = stored_as.as_str();
    text.strip_prefix(SECRET_PREFIX).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_is_stored_under_its_prefix_however_it_is_named() {
        for text in ["db", "SECRET_db", " db "] {
            let name = stored_name(text).unwrap();
            assert_eq!(name.as_str(), "SECRET_db");
            assert_eq!(own_name(&name), "db");
        }
        for text in ["", "a.b", "SECRET_"] {
            assert_eq!(stored_name(text).unwrap_err().code(), Code::Usage, "{text}");
        }
    }
}
