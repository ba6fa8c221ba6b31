//! `wash start component`.

use lattice_control::types::ScaleComponentCommand;
use lattice_core::event::ComponentScaled;
use lattice_core::{ComponentId, HostId, StringMap};
use serde_json::Value;

use super::place::{Auction, component_host};
use crate::connection::{ConnectionArgs, Lattice};
use crate::error::{CliError, Code, Result};
use crate::events::{Asked, COMPONENT_WAIT, Watch, is_done};
use crate::output::{Output, Ui, fields};
use crate::resolve;

/// Start a component
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    auction: Auction,
    /// The component: a file or a reference
    component_ref: String,
    /// The id it gets
    component_id: String,
    /// How many instances may run at once
    #[arg(long = "max-instances", aliases = ["max", "count", "max-concurrent"],
        default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
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
    #[command(flatten)]
    connection: ConnectionArgs,
}

/// A component as it is wanted.
#[derive(Debug)]
pub(crate) struct Wanted<'a> {
    pub(crate) id: &'a ComponentId,
    pub(crate) image: &'a str,
    /// How many instances may run at once.
    pub(crate) count: u32,
    /// Named configs.
    pub(crate) config: Vec<String>,
    /// Whether another image that runs is replaced.
    pub(crate) allow_update: bool,
}

pub(crate) async fn run(args: Args, ui: &Ui) -> Result<Output> {
    let id = resolve::entity_id(&args.component_id)?;
    let image = resolve::image_ref(&args.component_ref)?;
    let spinner = ui.spinner(format!("Starting component {id}"));
    let lattice = Lattice::connect(&args.connection).await?;
    let wanted = Wanted {
        id: &id,
        image: &image,
        count: args.max_instances,
        config: args.config,
        allow_update: args.allow_update,
    };
    let (host, reply) = if args.skip_wait {
        let host = place(&lattice, &args.auction, &wanted).await?;
        let reply = ask(&lattice, &host, &wanted).await?;
        (host, reply)
    } else {
        start(&lattice, &args.auction, wanted).await?
    };
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

/// Starts a component and waits until it has; gives the host and what it has to say.
pub(crate) async fn start(
    lattice: &Lattice,
    auction: &Auction,
    wanted: Wanted<'_>,
) -> Result<(HostId, String)> {
    let host = place(lattice, auction, &wanted).await?;
    let mut watch = Watch::components(lattice, lattice.settings.wait(COMPONENT_WAIT)).await?;
    let reply = ask(lattice, &host, &wanted).await?;
    let update_to = wanted.allow_update.then_some(wanted.image);
    let is_started = |event: &ComponentScaled| is_done(event, wanted.count, update_to);
    let asked = Asked {
        image: wanted.image,
        count: Some(wanted.count),
    };
    let id = wanted.id.as_str();
    watch.scaled(&host, id, asked, is_started).await?;
    if !wanted.allow_update {
        // Two starts under one id at once both find nothing. The host keeps the image that
        // came first and accepts the other command all the same: what it runs is what counts.
        refuse_other_image(lattice, &host, wanted.id, wanted.image).await?;
    }
    Ok((host, reply))
}

/// The host that is to run a component.
async fn place(lattice: &Lattice, auction: &Auction, wanted: &Wanted<'_>) -> Result<HostId> {
    let host = component_host(lattice, auction, wanted.id, wanted.image).await?;
    if !wanted.allow_update {
        refuse_other_image(lattice, &host, wanted.id, wanted.image).await?;
    }
    Ok(host)
}

/// Has a host start a component; gives what it has to say.
async fn ask(lattice: &Lattice, host: &HostId, wanted: &Wanted<'_>) -> Result<String> {
    let id = wanted.id;
    let command = ScaleComponentCommand {
        component_ref: wanted.image.to_owned(),
        component_id: id.to_string(),
        annotations: StringMap::new(),
        count: wanted.count,
        config: wanted.config.clone(),
        allow_update: wanted.allow_update,
        ..ScaleComponentCommand::default()
    };
    let reply = lattice.client.scale_component(host, command).await;
    let what = format!("could not start component `{id}` on host `{host}`");
    reply.map_err(|error| lattice.explain(what, &error))
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
