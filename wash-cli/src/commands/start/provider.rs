//! `wash start provider`.

use lattice_control::types::StartProviderCommand;
use lattice_core::{ComponentId, HostId};
use serde_json::Value;

use super::place::{Auction, provider_host};
use crate::connection::{ConnectionArgs, Lattice};
use crate::error::Result;
use crate::events::{PROVIDER_WAIT, Watch};
use crate::output::{Output, Ui, fields};
use crate::resolve;

/// Start a provider
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    auction: Auction,
    /// The provider: a file or a reference
    provider_ref: String,
    /// The id it gets
    provider_id: String,
    /// Accepted for 1.x scripts; links have names, providers have none
    #[arg(
        short = 'l',
        long = "link-name",
        default_value = "default",
        hide = true
    )]
    link_name: String,
    /// Named config; may be repeated
    #[arg(long = "config")]
    config: Vec<String>,
    /// Do not wait until it has started
    #[arg(long = "skip-wait", visible_alias = "no-wait")]
    skip_wait: bool,
    #[command(flatten)]
    connection: ConnectionArgs,
}

pub(crate) async fn run(args: Args, ui: &Ui) -> Result<Output> {
    let id = resolve::entity_id(&args.provider_id)?;
    let image = resolve::image_ref(&args.provider_ref)?;
    let spinner = ui.spinner(format!("Starting provider {id}"));
    let lattice = Lattice::connect(&args.connection).await?;
    let (host, mut watch) = ask(&lattice, &args.auction, &id, &image, args.config).await?;
    if !args.skip_wait {
        started(&lattice, &mut watch, &host, &id).await?;
    }
    drop(spinner);
    let text = if args.skip_wait {
        format!("Start provider [{image}] request received on host [{host}]")
    } else {
        format!("Provider [{id}] (ref: [{image}]) started on host [{host}]")
    };
    let mut data = fields([
        ("result", Value::from(text.as_str())),
        ("provider_ref", image.into()),
        ("provider_id", id.as_str().into()),
        ("host_id", host.as_str().into()),
    ]);
    if args.skip_wait {
        data.insert("link_name".to_owned(), args.link_name.into());
    }
    Ok(Output::new(text, data))
}

/// Starts a provider and waits until it has.
pub(crate) async fn start(
    lattice: &Lattice,
    auction: &Auction,
    id: &ComponentId,
    image: &str,
    config: Vec<String>,
) -> Result<HostId> {
    let (host, mut watch) = ask(lattice, auction, id, image, config).await?;
    started(lattice, &mut watch, &host, id).await?;
    Ok(host)
}

/// Waits until a provider has started. A host may go on with one that has not, which is told.
async fn started(
    lattice: &Lattice,
    watch: &mut Watch,
    host: &HostId,
    id: &ComponentId,
) -> Result<()> {
    let Err(error) = watch.provider_started(host, id.as_str()).await else {
        return Ok(());
    };
    let inventory = lattice.client.inventory(host).await;
    let is_kept = inventory.is_ok_and(|it| it.providers.iter().any(|it| it.id == id.as_str()));
    if !is_kept {
        return Err(error);
    }
    let more = format!("the host goes on trying, until `wash stop provider {id}`");
    let hint = error.hint_text().map(|hint| format!("{hint}; {more}"));
    Err(error.hint(hint.unwrap_or(more)))
}

/// Has a host start a provider; gives the host, and what hears whether it did.
async fn ask(
    lattice: &Lattice,
    auction: &Auction,
    id: &ComponentId,
    image: &str,
    config: Vec<String>,
) -> Result<(HostId, Watch)> {
    let host = provider_host(lattice, auction, id, image).await?;
    let watch = Watch::providers(lattice, lattice.settings.wait(PROVIDER_WAIT)).await?;
    let command = StartProviderCommand {
        provider_id: id.to_string(),
        provider_ref: image.to_owned(),
        config,
        ..StartProviderCommand::default()
    };
    let reply = lattice.client.start_provider(&host, command).await;
    let what = format!("could not start provider `{id}` on host `{host}`");
    reply.map_err(|error| lattice.explain(what, &error))?;
    Ok((host, watch))
}
