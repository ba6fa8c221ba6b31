//! `wash stop`: components, providers and hosts.

use std::time::Duration;

use clap::Subcommand;
use futures::future::join_all;
use lattice_control::types::ScaleComponentCommand;
use lattice_core::event::ComponentScaled;
use lattice_core::host::ComponentDescription;
use lattice_core::{ComponentId, HostId};
use serde_json::{Map, Value, json};

use super::several::all_done;
use crate::connection::{ConnectionArgs, Lattice};
use crate::error::{CliError, Code, Result};
use crate::events::{Asked, COMPONENT_WAIT, PROVIDER_WAIT, Watch};
use crate::local;
use crate::output::{Output, Ui, fields};
use crate::resolve;

/// How long a host may take to say goodbye, and to drain where it decides how long that takes.
const HOST_WAIT: Duration = Duration::from_secs(20);

/// Stop a component, a provider or a host
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Stop a component
    Component(EntityArgs),
    /// Stop a provider
    Provider(EntityArgs),
    /// Stop a host with all it runs
    Host(HostArgs),
}

#[derive(Debug, clap::Args)]
pub(crate) struct EntityArgs {
    /// Id of the component or provider
    id: String,
    /// Host: its id, the start of its id, or a part of its name [default: the one that runs it]
    #[arg(long = "host-id")]
    host_id: Option<String>,
    /// Stop it on every host that runs it
    #[arg(long, conflicts_with = "host_id")]
    all: bool,
    /// Do not wait until it has stopped
    #[arg(long = "skip-wait", visible_alias = "no-wait")]
    skip_wait: bool,
    #[command(flatten)]
    connection: ConnectionArgs,
}

#[derive(Debug, clap::Args)]
pub(crate) struct HostArgs {
    /// Host: its id, the start of its id, or a part of its name
    host: String,
    /// How long the host may take to drain, in milliseconds [default: the host decides]
    #[arg(long = "host-timeout")]
    host_timeout: Option<u64>,
    /// Do not wait until it has stopped
    #[arg(long = "skip-wait", visible_alias = "no-wait")]
    skip_wait: bool,
    #[command(flatten)]
    connection: ConnectionArgs,
}

pub(crate) async fn run(command: Command, ui: &Ui) -> Result<Output> {
    match command {
        Command::Component(args) => component(args, ui).await,
        Command::Provider(args) => provider(args, ui).await,
        Command::Host(args) => host(args, ui).await,
    }
}

/// The hosts that run a component; an error when none does.
pub(crate) async fn component_hosts(
    lattice: &Lattice,
    id: &ComponentId,
    host: Option<&HostId>,
) -> Result<Vec<(HostId, ComponentDescription)>> {
    let runs = |inventory: &lattice_core::host::HostInventory| {
        inventory
            .components
            .iter()
            .find(|it| it.id == id.as_str())
            .cloned()
    };
    let found = lattice.running(host, runs).await?;
    if found.is_empty() {
        Err(not_running("component", id, host))
    } else {
        Ok(found)
    }
}

fn not_running(kind: &str, id: &ComponentId, host: Option<&HostId>) -> CliError {
    let text = match host {
        Some(host) => format!("host `{host}` runs no {kind} `{id}`"),
        None => format!("no host runs {kind} `{id}`"),
    };
    CliError::new(Code::EntityNotFound, text).hint("`wash get inventory` shows what runs where")
}

/// Several hosts are fine only with `--all`.
fn check_one<T>(kind: &str, id: &ComponentId, all: bool, found: &[(HostId, T)]) -> Result<()> {
    if all || found.len() == 1 {
        return Ok(());
    }
    let text = format!("{kind} `{id}` runs on {} hosts", found.len());
    let mut error = CliError::new(Code::EntityAmbiguous, text);
    for (host, _) in found {
        error = error.cause(host.as_str());
    }
    Err(error.hint("choose one with `--host-id`, or stop it everywhere with `--all`"))
}

async fn component(args: EntityArgs, ui: &Ui) -> Result<Output> {
    let id = resolve::entity_id(&args.id)?;
    let spinner = ui.spinner(format!("Stopping component {id}"));
    let lattice = Lattice::connect(&args.connection).await?;
    let host = lattice.find_host_if(args.host_id.as_deref()).await?;
    let found = component_hosts(&lattice, &id, host.as_ref()).await?;
    check_one("component", &id, args.all, &found)?;
    let (to, of) = (&lattice, &id);
    let all = found.iter().map(|(host, component)| async move {
        let stopped = stop_component(to, host, of, component, !args.skip_wait).await;
        (host.clone(), stopped)
    });
    let outcomes = join_all(all).await;
    drop(spinner);
    let done = all_done(&format!("component `{id}` was not stopped"), outcomes)?;
    let hosts: Vec<&HostId> = done.iter().map(|(host, ())| host).collect();
    Ok(stopped(
        "Component",
        "component_id",
        &id,
        &hosts,
        args.skip_wait,
    ))
}

/// Stops a component on one host.
async fn stop_component(
    lattice: &Lattice,
    host: &HostId,
    id: &ComponentId,
    component: &ComponentDescription,
    wait: bool,
) -> Result<()> {
    let mut watch = Watch::components(lattice, lattice.settings.wait(COMPONENT_WAIT)).await?;
    let command = ScaleComponentCommand {
        component_ref: component.image_ref.clone(),
        component_id: id.to_string(),
        annotations: component.annotations.clone().unwrap_or_default(),
        count: 0,
        ..ScaleComponentCommand::default()
    };
    let reply = lattice.client.scale_component(host, command).await;
    let what = format!("could not stop component `{id}` on host `{host}`");
    reply.map_err(|error| lattice.explain(what, &error))?;
    if !wait {
        return Ok(());
    }
    let is_stopped = |event: &ComponentScaled| event.max_instances == 0;
    let asked = Asked {
        image: &component.image_ref,
        count: Some(0),
    };
    watch.scaled(host, id.as_str(), asked, is_stopped).await
}

async fn provider(args: EntityArgs, ui: &Ui) -> Result<Output> {
    let id = resolve::entity_id(&args.id)?;
    let spinner = ui.spinner(format!("Stopping provider {id}"));
    let lattice = Lattice::connect(&args.connection).await?;
    let host = lattice.find_host_if(args.host_id.as_deref()).await?;
    let runs = |inventory: &lattice_core::host::HostInventory| {
        inventory
            .providers
            .iter()
            .any(|it| it.id == id.as_str())
            .then_some(())
    };
    let found = lattice.running(host.as_ref(), runs).await?;
    if found.is_empty() {
        return Err(not_running("provider", &id, host.as_ref()));
    }
    check_one("provider", &id, args.all, &found)?;
    let (from, of) = (&lattice, &id);
    let all = found.iter().map(|(host, ())| async move {
        let stopped = stop_provider(from, host, of, !args.skip_wait).await;
        (host.clone(), stopped)
    });
    let outcomes = join_all(all).await;
    drop(spinner);
    let done = all_done(&format!("provider `{id}` was not stopped"), outcomes)?;
    let hosts: Vec<&HostId> = done.iter().map(|(host, ())| host).collect();
    Ok(stopped(
        "Provider",
        "provider_id",
        &id,
        &hosts,
        args.skip_wait,
    ))
}

/// Stops one copy of a provider. The host answers when the process has ended.
pub(crate) async fn stop_provider(
    lattice: &Lattice,
    host: &HostId,
    id: &ComponentId,
    wait: bool,
) -> Result<()> {
    let mut watch = Watch::providers(lattice, lattice.settings.wait(PROVIDER_WAIT)).await?;
    let client = lattice.patient(PROVIDER_WAIT)?;
    let reply = client.stop_provider(host, id.as_str()).await;
    let what = format!("could not stop provider `{id}` on host `{host}`");
    reply.map_err(|error| lattice.explain(what, &error))?;
    if wait {
        watch.provider_stopped(host, id.as_str()).await
    } else {
        Ok(())
    }
}

fn stopped(kind: &str, key: &str, id: &ComponentId, hosts: &[&HostId], asked: bool) -> Output {
    let names: Vec<&str> = hosts.iter().map(|host| host.as_str()).collect();
    // What scripts of 1.x look for.
    let done = match kind {
        "Provider" => "stopped successfully",
        _ => "stopped",
    };
    let text = match (names.as_slice(), asked) {
        ([one], true) => format!("{kind} [{id}] stop request received on host [{one}]"),
        ([one], false) => format!("{kind} [{id}] {done} on host [{one}]"),
        (several, _) => {
            let end = if asked { "stop request received" } else { done };
            format!(
                "{kind} [{id}] {end} on {} hosts:\n{}",
                several.len(),
                several.join("\n")
            )
        }
    };
    let mut data: Map<String, Value> = fields([
        ("result", Value::from(text.as_str())),
        (key, id.as_str().into()),
    ]);
    data.insert("host_id".to_owned(), names.first().copied().into());
    data.insert("hosts".to_owned(), json!(names));
    Output::new(text, data)
}

async fn host(args: HostArgs, ui: &Ui) -> Result<Output> {
    let spinner = ui.spinner(format!("Stopping host {}", args.host));
    let lattice = Lattice::connect(&args.connection).await?;
    let host = lattice.find_host_to_stop(&args.host).await?;
    let within = args.host_timeout.map(Duration::from_millis);
    // A timeout for answers does not shorten that: the host drains as long as it does.
    let wait = (HOST_WAIT + within.unwrap_or_default()).max(lattice.settings.timeout);
    let mut watch = Watch::hosts(&lattice, wait).await?;
    let reply = lattice.client.stop_host(&host, within).await;
    let what = format!("could not stop host `{host}`");
    reply.map_err(|error| lattice.explain(what, &error))?;
    if !args.skip_wait {
        watch.host_stopped(&host).await?;
        local::forget_stopped(&lattice.settings.lattice, &host).await?;
    }
    drop(spinner);
    let text = if args.skip_wait {
        format!("Host {host} acknowledged stop request")
    } else {
        // The first half is what scripts of 1.x look for.
        format!("Host {host} acknowledged stop request and stopped")
    };
    let data = fields([
        ("result", Value::from(text.as_str())),
        ("host_id", host.as_str().into()),
    ]);
    Ok(Output::new(text, data))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(letter: char) -> HostId {
        let id: String = std::iter::once('N')
            .chain(std::iter::repeat_n(letter, 55))
            .collect();
        HostId::new(id).unwrap()
    }

    #[test]
    fn several_hosts_are_listed_unless_all_are_meant() {
        let id = ComponentId::new("kv").unwrap();
        let found = [(host('A'), ()), (host('B'), ())];
        let error = check_one("provider", &id, false, &found).unwrap_err();
        assert_eq!((error.code(), error.exit()), (Code::EntityAmbiguous, 3));
        assert_eq!(error.causes().len(), 2);
        assert!(check_one("provider", &id, true, &found).is_ok());
        assert!(check_one("provider", &id, false, &found[..1]).is_ok());
    }
}
