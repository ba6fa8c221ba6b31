//! `wash start component`.

use lattice_control::types::ScaleComponentCommand;
use lattice_core::{ComponentId, HostId, StringMap};
use serde_json::Value;

use super::place::{Auction, component_host};
use crate::connection::{ConnectionArgs, Lattice};
use crate::error::{CliError, Code, Result};
use crate::events::{COMPONENT_WAIT, Watch, is_done};
use crate::output::{Output, Ui, fields};
use crate::resolve;

/// Start a component
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    connection: ConnectionArgs,
    #[command(flatten)]
    auction: Auction,
    /// The component: a file or a reference
    component_ref: String,
    /// The id it gets
    component_id: String,
    /// How many instances may run at once
    #[arg(long = "max-instances", aliases = ["max", "count", "max-concurrent"],
        default_value_t = 1)]
    max_instances: u32,
    /// Do not wait until it has started
    #[arg(long = "skip-wait", visible_alias = "no-wait")]
    skip_wait: bool,
    /// Named config; may be repeated
    #[arg(long = "config")]
    config: Vec<String>,
    /// Replace the image if the component runs with another one
    #[arg(long = "allow-update")]
    allow_update: bool,
}

pub(crate) async fn run(args: Args, ui: &Ui) -> Result<Output> {
    let id = resolve::entity_id(&args.component_id)?;
    let image = resolve::image_ref(&args.component_ref)?;
    let spinner = ui.spinner(format!("Starting component {id}"));
    let lattice = Lattice::connect(&args.connection).await?;
    let host = component_host(&lattice, &args.auction, &id, &image).await?;
    if !args.allow_update {
        refuse_other_image(&lattice, &host, &id, &image).await?;
    }
    let mut watch = Watch::components(&lattice, COMPONENT_WAIT).await?;
    let command = ScaleComponentCommand {
        component_ref: image.clone(),
        component_id: id.to_string(),
        annotations: StringMap::new(),
        count: args.max_instances,
        config: args.config,
        allow_update: args.allow_update,
        ..ScaleComponentCommand::default()
    };
    let reply = lattice.client.scale_component(&host, command).await;
    let what = format!("could not start component `{id}` on host `{host}`");
    let reply = reply.map_err(|error| lattice.explain(what, &error))?;
    if !args.skip_wait {
        let (count, update_to) = (args.max_instances, args.allow_update.then_some(&*image));
        watch
            .scaled(&host, id.as_str(), |event| is_done(event, count, update_to))
            .await?;
        if !args.allow_update {
            // Two starts under one id at once both find nothing. The host keeps the image that
            // came first and accepts the other command all the same: what it runs is what counts.
            refuse_other_image(&lattice, &host, &id, &image).await?;
        }
    }
    drop(spinner);
    if !reply.is_empty() {
        ui.notice(&reply);
    }
    let text = if args.skip_wait {
        format!("Start component [{image}] request received on host [{host}]")
    } else {
        format!("Component [{id}] (ref: [{image}]) started on host [{host}]")
    };
    let data = fields([
        ("result", Value::from(text.as_str())),
        ("component_ref", image.into()),
        ("component_id", id.as_str().into()),
        ("host_id", host.as_str().into()),
    ]);
    Ok(Output::new(text, data))
}

/// A host would keep the image that runs and only say so: the user asked for another one.
async fn refuse_other_image(
    lattice: &Lattice,
    host: &HostId,
    id: &ComponentId,
    image: &str,
) -> Result<()> {
    let inventory = lattice.client.inventory(host).await;
    let what = format!("could not read the inventory of host `{host}`");
    let inventory = inventory.map_err(|error| lattice.explain(what, &error))?;
    let mut components = inventory.components.iter();
    let Some(running) = components.find(|it| it.id == id.as_str() && it.image_ref != image) else {
        return Ok(());
    };
    let text = format!("component `{id}` already runs with another image on host `{host}`");
    Err(CliError::new(Code::Refused, text)
        .cause(format!("it runs `{}`, not `{image}`", running.image_ref))
        .hint(format!(
            "replace its image with `wash update component {id} {image}`, or add `--allow-update`"
        )))
}
