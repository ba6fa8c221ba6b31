//! `wash scale component`.

use std::time::Duration;

use futures::future::join_all;
use lattice_control::types::ScaleComponentCommand;
use lattice_core::event::ComponentScaled;
use lattice_core::host::HostInventory;
use lattice_core::{ComponentId, HostId, StringMap};
use serde_json::{Map, Value, json};

use crate::commands::several::all_done;
use crate::commands::start::{Auction, component_host};
use crate::connection::{ConnectionArgs, Lattice};
use crate::error::{CliError, Code, Result};
use crate::events::{Asked, COMPONENT_WAIT, Watch, is_done};
use crate::output::{Output, Ui, fields};
use crate::resolve;

/// Set how many instances of a component may run at once
///
/// Without a host, every host that runs the component is told; if none does, one that bids in an
/// auction starts it. A component that runs keeps its named configs, unless others are given.
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
    /// Named config, in place of those that it has; may be repeated
    #[arg(long = "config")]
    config: Vec<String>,
    /// Take away the named configs that it has
    #[arg(long = "no-config", conflicts_with = "config")]
    no_config: bool,
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
    let wanted = Wanted {
        args: &args,
        id: &id,
        image: &image,
        annotations: &annotations,
    };
    let places = wanted.places(&lattice, host).await?;
    let (to, wanted) = (&lattice, &wanted);
    let all = places.iter().map(|place| async move {
        let scaled = wanted.scale(to, place).await;
        (place.host.clone(), scaled)
    });
    let outcomes = join_all(all).await;
    drop(spinner);
    let done = all_done(&format!("component `{id}` was not scaled"), outcomes)?;
    let (hosts, mut replies): (Vec<HostId>, Vec<String>) = done.into_iter().unzip();
    replies.dedup();
    replies
        .iter()
        .filter(|reply| !reply.is_empty())
        .for_each(|reply| ui.notice(reply));
    Ok(output(&args, &hosts, &image, &id))
}

/// A host that is to run the component.
struct Place {
    host: HostId,
    /// The named configs that the component has there. Hosts of 1.9 do not tell.
    config: Vec<String>,
}

/// The component as it is wanted.
struct Wanted<'a> {
    args: &'a Args,
    id: &'a ComponentId,
    image: &'a str,
    annotations: &'a StringMap,
}

impl Wanted<'_> {
    /// Whether it keeps the named configs that it has. A command without any takes them away.
    fn keeps_config(&self) -> bool {
        let args = self.args;
        args.config.is_empty() && !args.no_config && args.max_instances > 0
    }

    /// The named host, else those that run it, else one that bids.
    async fn places(&self, lattice: &Lattice, named: Option<&str>) -> Result<Vec<Place>> {
        let named = lattice.find_host_if(named).await?;
        if let Some(host) = &named
            && !self.keeps_config()
        {
            return Ok(vec![Place::without(host.clone())]);
        }
        let id = self.id.as_str();
        let config = |inventory: &HostInventory| {
            let mut components = inventory.components.iter();
            let running = components.find(|it| it.id == id)?;
            Some(running.config.clone())
        };
        let running = lattice.running(named.as_ref(), config).await?;
        if !running.is_empty() {
            let places = running.into_iter();
            return Ok(places
                .map(|(host, config)| Place { host, config })
                .collect());
        }
        if let Some(host) = named {
            return Ok(vec![Place::without(host)]);
        }
        if self.args.max_instances == 0 {
            return Err(CliError::new(
                Code::EntityNotFound,
                format!("no host runs component `{id}`"),
            )
            .hint("`wash get inventory` shows what runs where"));
        }
        let host = component_host(lattice, &Auction::any(), self.id, self.image).await?;
        Ok(vec![Place::without(host)])
    }

    /// Scales it on one host; gives what that has to say.
    async fn scale(&self, lattice: &Lattice, place: &Place) -> Result<String> {
        let (id, args, host) = (self.id, self.args, &place.host);
        let wait = args.wait_timeout_ms.map(Duration::from_millis);
        let wait = wait.unwrap_or_else(|| lattice.settings.wait(COMPONENT_WAIT));
        let watch = Watch::components(lattice, wait).await?;
        let mut watch = watch.longer_with("--wait-timeout-ms");
        let config = if self.keeps_config() {
            &place.config
        } else {
            &args.config
        };
        let command = ScaleComponentCommand {
            component_ref: self.image.to_owned(),
            component_id: id.to_string(),
            annotations: self.annotations.clone(),
            count: args.max_instances,
            config: config.clone(),
            allow_update: args.allow_update,
            ..ScaleComponentCommand::default()
        };
        let reply = lattice.client.scale_component(host, command).await;
        let what = format!("could not scale component `{id}` on host `{host}`");
        let reply = reply.map_err(|error| lattice.explain(what, &error))?;
        if !args.skip_wait {
            let (count, update_to) = (args.max_instances, args.allow_update.then_some(self.image));
            let asked = Asked {
                image: self.image,
                count: Some(count),
            };
            let is_scaled = |event: &ComponentScaled| is_done(event, count, update_to);
            watch.scaled(host, id.as_str(), asked, is_scaled).await?;
        }
        Ok(reply)
    }
}

impl Place {
    /// One where the component has no configs that are known.
    fn without(host: HostId) -> Self {
        let config = Vec::new();
        Self { host, config }
    }
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
