//! `wash update component`: another image for a running component, without a stop.

use clap::{Args, Subcommand};
use futures::future::join_all;
use lattice_control::types::{UpdateComponentCommand, already_updated};
use lattice_core::event::ComponentScaled;
use lattice_core::host::ComponentDescription;
use lattice_core::{ComponentId, HostId};
use serde_json::Value;

use super::several::all_done;
use crate::connection::{ConnectionArgs, Lattice};
use crate::error::Result;
use crate::events::{Asked, PROVIDER_WAIT, Watch};
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
    let change = Change {
        lattice: &lattice,
        id: &id,
        new_ref: &new_ref,
        wait: !args.skip_wait,
    };
    let all = running.iter().map(|(host, component)| async move {
        let updated = change.on(host, component).await;
        (host.clone(), updated)
    });
    let outcomes = join_all(all).await;
    drop(spinner);
    let done = all_done(&format!("component `{id}` was not updated"), outcomes)?;
    let mut messages: Vec<String> = done.into_iter().map(|(_, message)| message).collect();
    messages.dedup();
    let text = messages.join("\n");
    Ok(Output::new(
        text.clone(),
        fields([("result", Value::from(text))]),
    ))
}

/// Another image for a component.
#[derive(Clone, Copy)]
struct Change<'a> {
    lattice: &'a Lattice,
    id: &'a ComponentId,
    new_ref: &'a str,
    /// Whether to wait until it runs.
    wait: bool,
}

impl Change<'_> {
    /// Makes the change on one host; gives what that has to say.
    async fn on(self, host: &HostId, component: &ComponentDescription) -> Result<String> {
        let Self {
            lattice,
            id,
            new_ref,
            wait,
        } = self;
        let mut watch = Watch::components(lattice, lattice.settings.wait(PROVIDER_WAIT)).await?;
        let command = UpdateComponentCommand {
            component_id: id.to_string(),
            annotations: component.annotations.clone().unwrap_or_default(),
            new_component_ref: new_ref.to_owned(),
            ..UpdateComponentCommand::default()
        };
        let reply = lattice.client.update_component(host, command).await;
        let what = format!("could not update component `{id}` on host `{host}`");
        let message = reply.map_err(|error| lattice.explain(what, &error))?;
        // What ran when it was asked is not enough: it may be about to run another image, and then changes
        // back. The host knows.
        if wait && message != already_updated(id.as_str(), new_ref) {
            // The old version announces its end with the new reference and 0 instances.
            let runs =
                |event: &ComponentScaled| event.image_ref == new_ref && event.max_instances > 0;
            // The host fills in the count that the component has.
            let asked = Asked {
                image: new_ref,
                count: None,
            };
            watch.scaled(host, id.as_str(), asked, runs).await?;
        }
        Ok(message)
    }
}
