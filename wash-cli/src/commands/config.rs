//! `wash config`: named configs of the lattice.

use clap::{Args, Subcommand};
use lattice_control::ClientError;
use lattice_core::config::is_secret_name;
use lattice_core::{ConfigName, StringMap};
use serde_json::{Map, Value};

use crate::connection::{ConnectionArgs, Lattice};
use crate::error::{CliError, Code, Result};
use crate::output::{Output, Ui, fields};
use crate::resolve;

/// Manage named configs
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Store a config in place of the one that was there
    #[command(alias = "create")]
    Put(PutArgs),
    /// Show a config
    Get(NameArgs),
    /// Delete a config
    #[command(alias = "delete")]
    Del(NameArgs),
}

#[derive(Debug, Args)]
pub(crate) struct PutArgs {
    /// Name of the config
    name: String,
    /// Values
    #[arg(required = true, value_name = "KEY=VALUE")]
    values: Vec<String>,
    #[command(flatten)]
    connection: ConnectionArgs,
}

#[derive(Debug, Args)]
pub(crate) struct NameArgs {
    /// Name of the config
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
    let name = config_name(&args.name)?;
    let values = resolve::pairs(&args.values)?;
    let spinner = ui.spinner("Storing the config");
    let lattice = Lattice::connect(&args.connection).await?;
    let stored = lattice.client.put_config(&name, &values).await;
    stored.map_err(|error| lattice.explain(format!("could not store config `{name}`"), &error))?;
    drop(spinner);
    Ok(message(format!("Configuration '{name}' put successfully.")))
}

/// In JSON the map stands alone, as scripts of 1.x expect it.
async fn get(args: NameArgs, ui: &Ui) -> Result<Output> {
    let name = config_name(&args.name)?;
    let spinner = ui.spinner("Reading the config");
    let lattice = Lattice::connect(&args.connection).await?;
    let config = lattice.client.config(&name).await;
    let config = config
        .map_err(|error| lattice.explain(format!("could not read config `{name}`"), &error))?;
    drop(spinner);
    let Some(config) = config else {
        let text = format!("there is no config `{name}`");
        return Err(CliError::new(Code::ConfigNotFound, text)
            .hint(format!("store it with `wash config put {name} key=value`")));
    };
    let lines: Vec<String> = config
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    let data: Map<String, Value> = config
        .into_iter()
        .map(|(key, value)| (key, Value::from(value)))
        .collect();
    Ok(Output::new(lines.join("\n"), data).bare())
}

async fn del(args: NameArgs, ui: &Ui) -> Result<Output> {
    let name = config_name(&args.name)?;
    let spinner = ui.spinner("Deleting the config");
    let lattice = Lattice::connect(&args.connection).await?;
    let read = lattice.client.config(&name).await;
    let existed = existed(read)
        .map_err(|error| lattice.explain(format!("could not read config `{name}`"), &error))?;
    let deleted = lattice.client.delete_config(&name).await;
    deleted
        .map_err(|error| lattice.explain(format!("could not delete config `{name}`"), &error))?;
    drop(spinner);
    let text = match existed {
        true => format!("Configuration '{name}' deleted successfully."),
        false => format!("There was no configuration '{name}'; nothing was deleted"),
    };
    Ok(deletion(text, existed))
}

/// Whether there is what was read before it is deleted. What is there but no config is refused, and is
/// to go all the same.
pub(super) fn existed(read: Result<Option<StringMap>, ClientError>) -> Result<bool, ClientError> {
    match read {
        Ok(config) => Ok(config.is_some()),
        Err(ClientError::Refused { .. }) => Ok(true),
        Err(error) => Err(error),
    }
}

/// That something was deleted, or was not there.
pub(super) fn deletion(text: String, existed: bool) -> Output {
    let data = fields([
        ("message", Value::from(text.as_str())),
        ("existed", existed.into()),
    ]);
    Output::new(text, data)
}

fn message(text: String) -> Output {
    let data = fields([("message", Value::from(text.as_str()))]);
    Output::new(text, data)
}

/// Names of secrets are kept apart: a config of that name would be taken for a reference.
fn config_name(text: &str) -> Result<ConfigName> {
    let name = ConfigName::new(text.trim()).map_err(|error| {
        CliError::new(Code::Usage, error.to_string()).hint("use letters, digits, `-` and `_`")
    })?;
    if is_secret_name(name.as_str()) {
        let text = format!("`{name}` cannot name a config: such names are for secrets");
        return Err(
            CliError::new(Code::Usage, text).hint("choose a name without `SECRET` in front")
        );
    }
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_secrets_and_broken_names_are_refused() {
        assert_eq!(config_name("SECRET_db").unwrap_err().code(), Code::Usage);
        assert_eq!(config_name("a.b").unwrap_err().code(), Code::Usage);
        assert!(config_name("redis").is_ok());
    }
}
