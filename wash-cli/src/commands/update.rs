//! `wash update component`: another image for a running component, without a stop.

use clap::{Args, Subcommand};
use lattice_control::types::UpdateComponentCommand;
use lattice_core::HostId;
use lattice_core::event::ComponentScaled;
use serde_json::Value;

use crate::connection::{ConnectionArgs, Lattice};
use crate::error::{CliError, Code, Result};
use crate::events::{PROVIDER_WAIT, Watch};
use crate::output::{Output, Ui, fields};
use crate::resolve;

/// Replace the image of a running component
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Replace the image of a running component, on every host that runs it
    Component(ComponentArgs),
}

#[derive(Debug, Args)]
pub(crate) struct ComponentArgs {
    /// Id of the component
    id: String,
    /// The new image: a file or a reference
    new_ref: String,
    /// Only on this host: its id, the start of its id, or a part of its name
    #[arg(long = "host-id")]
    host_id: Option<String>,
    /// Do not wait until the new image runs
    #[arg(long = "skip-wait", visible_alias = "no-wait")]
    skip_wait: bool,
    #[command(flatten)]
    connection: ConnectionArgs,
}

pub(crate) async fn run(command: Command, ui: &Ui) -> Result<Output> {
    let Command::Component(args) = command;
    let id = resolve::entity_id(&args.id)?;
    let new_ref = resolve::image_ref(&args.new_ref)?;
    let spinner = ui.spinner(format!("Updating component {id}"));
    let lattice = Lattice::connect(&args.connection).await?;
    let host = lattice.find_host_if(args.host_id.as_deref()).await?;
    let running = super::stop::component_hosts(&lattice, &id, host.as_ref()).await?;
    let mut watch = Watch::components(&lattice, PROVIDER_WAIT).await?;
    let mut messages = Vec::new();
    let mut changing: Vec<HostId> = Vec::new();
    for (host, component) in running {
        let command = UpdateComponentCommand {
            component_id: id.to_string(),
            annotations: component.annotations.clone().unwrap_or_default(),
            new_component_ref: new_ref.clone(),
            ..UpdateComponentCommand::default()
        };
        let reply = lattice.client.update_component(&host, command).await;
        let what = format!("could not update component `{id}` on host `{host}`");
        messages.push(reply.map_err(|error| lattice.explain(what, &error))?);
        if component.image_ref != new_ref {
            changing.push(host);
        }
    }
    if !args.skip_wait {
        wait(&mut watch, &changing, id.as_str(), &new_ref).await?;
    }
    drop(spinner);
    messages.dedup();
    let text = messages.join("\n");
    Ok(Output::new(
        text.clone(),
        fields([("result", Value::from(text))]),
    ))
}

async fn wait(watch: &mut Watch, hosts: &[HostId], id: &str, new_ref: &str) -> Result<()> {
    // The old version announces its end with the new reference and 0 instances.
    let runs = |event: &ComponentScaled| event.image_ref == new_ref && event.max_instances > 0;
    let mut failures = watch.scaled_on(hosts, id, runs).await;
    match failures.len() {
        0 => Ok(()),
        1 if hosts.len() == 1 => Err(failures.remove(0)),
        failed => {
            let text = format!(
                "component `{id}` was not updated on {failed} of {} hosts",
                hosts.len()
            );
            let code = if failed == hosts.len() {
                Code::StartFailed
            } else {
                Code::Partial
            };
            let error = CliError::new(code, text);
            Err(failures
                .iter()
                .fold(error, |error, failure| error.cause(failure.to_string())))
        }
    }
}
