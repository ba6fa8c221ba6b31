//! `wash scale component`.

use std::time::Duration;

use lattice_control::types::ScaleComponentCommand;
use lattice_core::{ComponentId, HostId};
use serde_json::{Map, Value, json};

use crate::commands::start::{Auction, component_host};
use crate::connection::{ConnectionArgs, Lattice};
use crate::error::{CliError, Code, Result};
use crate::events::{COMPONENT_WAIT, Watch, is_done};
use crate::output::{Output, Ui, fields};
use crate::resolve;

/// Set how many instances of a component may run at once
///
/// Without a host, every host that runs the component is told; if none does, one that bids in an
/// auction starts it.
#[derive(Debug, clap::Args)]
#[command(override_usage = "wash scale component [OPTIONS] [HOST] <COMPONENT_REF> <COMPONENT_ID>")]
pub(crate) struct Args {
    /// Host (optional): its id, the start of its id, or a part of its name; the component: a file
    /// or a reference; its id
    #[arg(required = true, num_args = 2..=3, value_name = "[HOST] REF ID")]
    target: Vec<String>,
    /// How many instances may run at once, 0 to stop it [default: unbounded]
    #[arg(short = 'c', long = "max-instances", aliases = ["max", "count", "max-concurrent"],
        default_value_t = u32::MAX, hide_default_value = true)]
    max_instances: u32,
    /// Annotation; may be repeated. `lattice/reuse-instances=100` lets an instance serve so many
    /// calls, one after the other (`true`: as many as the host finds good, `false`: one)
    #[arg(short = 'a', long = "annotations", value_name = "KEY=VALUE")]
    annotations: Vec<String>,
    /// Named config; may be repeated
    #[arg(long = "config")]
    config: Vec<String>,
    /// Do not wait until it is done
    #[arg(long = "skip-wait", visible_alias = "no-wait")]
    skip_wait: bool,
    /// How long to wait until it is done, in milliseconds [default: 10000]
    #[arg(long = "wait-timeout-ms")]
    wait_timeout_ms: Option<u64>,
    /// Replace the image if the component runs with another one
    #[arg(long = "allow-update")]
    allow_update: bool,
    #[command(flatten)]
    connection: ConnectionArgs,
}

pub(crate) async fn run(args: Args, ui: &Ui) -> Result<Output> {
    let (host, image, id) = match args.target.as_slice() {
        [image, id] => (None, image, id),
        [host, image, id] => (Some(host.as_str()), image, id),
        _ => return Err(CliError::new(Code::Usage, "give a reference and an id")),
    };
    let id = resolve::entity_id(id)?;
    let image = resolve::image_ref(image)?;
    let annotations = resolve::pairs(&args.annotations)?;
    let spinner = ui.spinner(format!("Scaling component {id}"));
    let lattice = Lattice::connect(&args.connection).await?;
    let hosts = hosts(&lattice, host, &id, &image, args.max_instances).await?;
    let wait = args
        .wait_timeout_ms
        .map_or(COMPONENT_WAIT, Duration::from_millis);
    let mut watch = Watch::components(&lattice, wait).await?;
    let mut replies = Vec::new();
    for host in &hosts {
        let command = ScaleComponentCommand {
            component_ref: image.clone(),
            component_id: id.to_string(),
            annotations: annotations.clone(),
            count: args.max_instances,
            config: args.config.clone(),
            allow_update: args.allow_update,
            ..ScaleComponentCommand::default()
        };
        let reply = lattice.client.scale_component(host, command).await;
        let what = format!("could not scale component `{id}` on host `{host}`");
        replies.push(reply.map_err(|error| lattice.explain(what, &error))?);
        if !args.skip_wait {
            let (count, update_to) = (args.max_instances, args.allow_update.then_some(&*image));
            watch
                .scaled(host, id.as_str(), |event| is_done(event, count, update_to))
                .await?;
        }
    }
    drop(spinner);
    replies.dedup();
    replies
        .iter()
        .filter(|reply| !reply.is_empty())
        .for_each(|reply| ui.notice(reply));
    Ok(output(&args, &hosts, &image, &id))
}

/// The named host, else those that run it, else one that bids.
async fn hosts(
    lattice: &Lattice,
    named: Option<&str>,
    id: &ComponentId,
    image: &str,
    count: u32,
) -> Result<Vec<HostId>> {
    if let Some(host) = lattice.find_host_if(named).await? {
        return Ok(vec![host]);
    }
    let runs = |inventory: &lattice_core::host::HostInventory| {
        inventory
            .components
            .iter()
            .any(|it| it.id == id.as_str())
            .then_some(())
    };
    let running = lattice.running(None, runs).await?;
    if !running.is_empty() {
        return Ok(running.into_iter().map(|(host, ())| host).collect());
    }
    if count == 0 {
        return Err(CliError::new(
            Code::EntityNotFound,
            format!("no host runs component `{id}`"),
        )
        .hint("`wash get inventory` shows what runs where"));
    }
    Ok(vec![
        component_host(lattice, &Auction::any(), id, image).await?,
    ])
}

fn output(args: &Args, hosts: &[HostId], image: &str, id: &ComponentId) -> Output {
    let wanted = match args.max_instances {
        u32::MAX => "unbounded concurrency".to_owned(),
        max => format!("{max} max concurrent instances"),
    };
    let names: Vec<&str> = hosts.iter().map(HostId::as_str).collect();
    let lines: Vec<String> = names
        .iter()
        .map(|host| {
            if args.skip_wait {
                format!("Scale component [{image}] request received on host [{host}]")
            } else {
                format!("Component [{id}] (ref: [{image}]) scaled on host [{host}] to {wanted}")
            }
        })
        .collect();
    let text = lines.join("\n");
    let mut data: Map<String, Value> = fields([
        ("result", Value::from(text.as_str())),
        ("component_ref", image.into()),
        ("component_id", id.as_str().into()),
        ("host_id", names.first().copied().into()),
    ]);
    data.insert("hosts".to_owned(), json!(names));
    Output::new(text, data)
}
