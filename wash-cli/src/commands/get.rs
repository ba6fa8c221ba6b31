//! `wash get`: what is in the lattice.

use std::time::Duration;

use clap::{Args, Subcommand};
use lattice_claims::epoch_seconds;
use lattice_core::host::{ComponentDescription, Host, HostInventory, ProviderDescription};
use serde_json::Value;

use super::inspect::date;
use crate::connection::{ConnectionArgs, Lattice, Search};
use crate::error::{CliError, Code, Result};
use crate::output::{Cell, Output, Style, Table, Ui, fields};

pub(crate) mod links;
mod watch;

/// Show what is in the lattice
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Hosts
    #[command(alias = "host")]
    Hosts(HostsArgs),
    /// What hosts run
    #[command(visible_alias = "inventories")]
    Inventory(InventoryArgs),
    /// Links, with the state of each end
    #[command(alias = "link")]
    Links(links::Args),
    /// Claims of components and providers
    #[command(alias = "claim")]
    Claims(ClaimsArgs),
}

#[derive(Debug, Args)]
pub(crate) struct HostsArgs {
    /// Show ids in full on a terminal, too
    #[arg(long)]
    wide: bool,
    #[command(flatten)]
    connection: ConnectionArgs,
}

#[derive(Debug, Args)]
pub(crate) struct InventoryArgs {
    /// A host: its id, the start of its id, or a part of its name [default: all]
    host: Option<String>,
    /// Show it again and again, until Ctrl-C, with this pause, such as `5s` or `500ms`
    #[arg(short = 'w', long, num_args = 0..=1, default_missing_value = "5s", value_name = "PAUSE",
        value_parser = watch::pause)]
    watch: Option<Duration>,
    #[command(flatten)]
    connection: ConnectionArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ClaimsArgs {
    #[command(flatten)]
    connection: ConnectionArgs,
}

pub(crate) async fn run(command: Command, ui: &Ui) -> Result<Output> {
    match command {
        Command::Hosts(args) => hosts(args, ui).await,
        Command::Inventory(args) => inventory(args, ui).await,
        Command::Links(args) => links::run(args, ui).await,
        Command::Claims(args) => claims(args, ui).await,
    }
}

async fn hosts(args: HostsArgs, ui: &Ui) -> Result<Output> {
    let spinner = ui.spinner("Asking for hosts");
    let lattice = Lattice::connect(&args.connection).await?;
    let hosts = lattice.hosts(Search::list(ui)).await?;
    drop(spinner);
    let data = fields([("hosts", json(&hosts)?)]);
    if hosts.is_empty() {
        let name = &lattice.settings.lattice;
        let text = format!("No hosts answered on lattice '{name}'; start one with `wash up -d`");
        return Ok(Output::new(text, data));
    }
    let shorten = ui.stdout_terminal() && !args.wide;
    Ok(Output::new(host_table(&hosts, ui.style(), shorten), data))
}

fn host_table(hosts: &[Host], style: Style, shorten: bool) -> String {
    // One that lets in legacy peers beside others that do not lacks a flag.
    let some_strict = hosts.iter().any(|host| host.strict);
    let mut headers = vec!["Host ID", "Friendly name", "Uptime (seconds)"];
    headers.extend(some_strict.then_some("Strict"));
    let mut table = Table::new(headers);
    for host in hosts {
        let mut cells: Vec<Cell> = vec![
            shown_id(&host.id, shorten).into(),
            host.friendly_name.clone().into(),
            host.uptime_seconds.to_string().into(),
        ];
        if some_strict {
            let strict = if host.strict { "yes" } else { "no" };
            cells.push(strict.into());
        }
        table.row(cells);
    }
    table.render(style)
}

/// The start of an id is enough to name the host in other commands.
fn shown_id(id: &str, shorten: bool) -> String {
    const SHOWN: usize = 12;
    match id.get(..SHOWN) {
        Some(start) if shorten => format!("{start}…"),
        _ => id.to_owned(),
    }
}

async fn inventory(args: InventoryArgs, ui: &Ui) -> Result<Output> {
    let lattice = Lattice::connect(&args.connection).await?;
    let host = args.host.as_deref();
    match args.watch {
        None => {
            let _spinner = ui.spinner("Reading inventories");
            read_inventory(&lattice, host, ui).await
        }
        Some(pause) => watch::repeat(pause, ui, || read_inventory(&lattice, host, ui)).await,
    }
}

async fn read_inventory(lattice: &Lattice, host: Option<&str>, ui: &Ui) -> Result<Output> {
    let host = lattice.find_host_if(host).await?;
    let inventories = lattice.look_at(host.as_ref(), Search::list(ui)).await?;
    if inventories.is_empty() {
        return Err(lattice.no_hosts());
    }
    let data = fields([("inventories", json(&inventories)?)]);
    let parts: Vec<String> = inventories
        .iter()
        .map(|inventory| inventory_text(inventory, ui.style()))
        .collect();
    Ok(Output::new(parts.join("\n\n"), data))
}

fn inventory_text(inventory: &HostInventory, style: Style) -> String {
    let head = format!("Host {} ({})", inventory.host_id, inventory.friendly_name);
    let mut text = style.bold(&head);
    let mut labels: Vec<String> = inventory
        .labels
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    labels.sort();
    text.push_str(&format!("\nLabels: {}", or_none(&labels.join(", "))));
    if inventory.strict {
        text.push_str("\nStrict: yes");
    }
    text.push_str(&components_text(&inventory.components, style));
    text.push_str(&providers_text(&inventory.providers, style));
    text
}

fn components_text(components: &[ComponentDescription], style: Style) -> String {
    let signed = components
        .iter()
        .any(|c| claimed(&c.version, c.revision, c.expires));
    let mut table = Table::new(headers(&["Component ID", "Name", "Max count"], signed));
    for component in components {
        let mut cells: Vec<Cell> = vec![
            component.id.clone().into(),
            component.name.clone().unwrap_or_default().into(),
            instances(component.max_instances).into(),
        ];
        if signed {
            let (version, revision) = (&component.version, component.revision);
            cells.extend(claim_cells(version, revision, component.expires));
        }
        cells.push(component.image_ref.clone().into());
        table.row(cells);
    }
    section("components", components.len(), &table, style)
}

fn providers_text(providers: &[ProviderDescription], style: Style) -> String {
    let signed = providers
        .iter()
        .any(|p| claimed(&p.version, p.revision, p.expires));
    let failing = providers.iter().any(|p| p.problem.is_some());
    let mut columns = headers(&["Provider ID", "Name"], signed);
    columns.extend(failing.then_some("Problem"));
    let mut table = Table::new(columns);
    for provider in providers {
        let mut cells: Vec<Cell> = vec![
            provider.id.clone().into(),
            provider.name.clone().unwrap_or_default().into(),
        ];
        if signed {
            let (version, revision) = (&provider.version, provider.revision);
            cells.extend(claim_cells(version, revision, provider.expires));
        }
        cells.push(provider.image_ref.clone().unwrap_or_default().into());
        if failing {
            cells.push(provider.problem.clone().unwrap_or_default().into());
        }
        table.row(cells);
    }
    section("providers", providers.len(), &table, style)
}

/// Whether claims say something that has columns of its own.
fn claimed(version: &Option<String>, revision: i32, expires: Option<u64>) -> bool {
    version.is_some() || revision != 0 || expires.is_some()
}

/// The columns of what runs; those of claims only where there are some.
fn headers(first: &[&'static str], signed: bool) -> Vec<&'static str> {
    let claims: &[&str] = if signed { &["Version", "Expires"] } else { &[] };
    [first, claims, &["Image"]].concat()
}

fn claim_cells(version: &Option<String>, revision: i32, expires: Option<u64>) -> [Cell; 2] {
    let version = match version {
        Some(version) => format!("{version} ({revision})"),
        None if revision != 0 => format!("({revision})"),
        None => String::new(),
    };
    [
        version.into(),
        expires.map(expiry).unwrap_or_default().into(),
    ]
}

/// A date, or that it has passed.
fn expiry(at: u64) -> String {
    match at < epoch_seconds() {
        true => format!("{} (expired)", date(at)),
        false => date(at),
    }
}

fn section(what: &str, count: usize, table: &Table, style: Style) -> String {
    if count == 0 {
        format!("\nNo {what}")
    } else {
        format!("\n{}", table.render(style))
    }
}

fn or_none(text: &str) -> &str {
    if text.is_empty() { "none" } else { text }
}

/// The largest number stands for no limit.
fn instances(max: u32) -> String {
    if max == u32::MAX {
        "unbounded".to_owned()
    } else {
        max.to_string()
    }
}

async fn claims(args: ClaimsArgs, ui: &Ui) -> Result<Output> {
    let spinner = ui.spinner("Asking for claims");
    let lattice = Lattice::connect(&args.connection).await?;
    let claims = lattice.client.claims().await;
    let claims = claims.map_err(|error| lattice.explain("could not read the claims", &error))?;
    drop(spinner);
    let data = fields([("claims", json(&claims)?)]);
    if claims.is_empty() {
        return Ok(Output::new("No claims are stored in the lattice", data));
    }
    let expire = claims.iter().any(|claim| claim.contains_key("expires"));
    let mut headers = vec!["Name", "Subject", "Issuer", "Version", "Revision", "Tags"];
    headers.extend(expire.then_some("Expires"));
    let mut table = Table::new(headers);
    for claim in &claims {
        let field = |name: &str| claim.get(name).cloned().unwrap_or_default();
        let columns = ["name", "subject", "issuer", "version", "revision", "tags"];
        let mut cells: Vec<Cell> = columns.map(|name| field(name).into()).into();
        if expire {
            let at = field("expires").parse().ok();
            cells.push(at.map_or_else(|| "never".to_owned(), expiry).into());
        }
        table.row(cells);
    }
    Ok(Output::new(table.render(ui.style()), data))
}

pub(crate) fn json(value: &impl serde::Serialize) -> Result<Value> {
    serde_json::to_value(value).map_err(|error| {
        CliError::new(Code::Unexpected, "could not turn the result into JSON").caused_by(&error)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_inventory_names_what_runs() {
        let inventory = HostInventory {
            host_id: "NA".into(),
            friendly_name: "icy-hill-1".into(),
            labels: [
                ("b".to_owned(), "2".to_owned()),
                ("a".to_owned(), "1".to_owned()),
            ]
            .into(),
            components: vec![ComponentDescription {
                id: "counter".into(),
                image_ref: "file:///c.wasm".into(),
                max_instances: u32::MAX,
                ..Default::default()
            }],
            ..HostInventory::default()
        };
        let expected = "Host NA (icy-hill-1)\nLabels: a=1, b=2\n\
            Component ID  Name  Max count  Image\n\
            counter             unbounded  file:///c.wasm\n\
            No providers";
        assert_eq!(inventory_text(&inventory, Style::default()), expected);
    }

    #[test]
    fn a_host_that_is_not_strict_beside_others_that_are_is_seen() {
        let host = |id: &str, strict| Host {
            id: id.into(),
            friendly_name: "icy-hill-1".into(),
            strict,
            ..Host::default()
        };
        let shown = |hosts: &[Host]| host_table(hosts, Style::default(), false);
        let mixed = shown(&[host("NA", true), host("NB", false)]);
        let expected = "Host ID  Friendly name  Uptime (seconds)  Strict\n\
            NA       icy-hill-1     0                 yes\n\
            NB       icy-hill-1     0                 no";
        assert_eq!(mixed, expected);
        assert!(!shown(&[host("NB", false)]).contains("Strict"));
        let mut inventory = HostInventory::default();
        let says = |inventory: &HostInventory| {
            inventory_text(inventory, Style::default()).contains("Strict: yes")
        };
        assert!(!says(&inventory));
        inventory.strict = true;
        assert!(says(&inventory));
    }

    #[test]
    fn an_inventory_says_what_keeps_a_provider_from_its_work() {
        let inventory = HostInventory {
            providers: vec![ProviderDescription {
                id: "kv3".into(),
                problem: Some("it ends again and again".into()),
                ..Default::default()
            }],
            ..HostInventory::default()
        };
        let text = inventory_text(&inventory, Style::default());
        assert!(text.contains("Image  Problem"), "{text}");
        assert!(text.contains("it ends again and again"), "{text}");
    }

    #[test]
    fn ids_are_shortened_only_where_asked() {
        assert_eq!(shown_id("NABCDEFGHIJKLMNOP", true), "NABCDEFGHIJK…");
        assert_eq!(shown_id("NABCDEFGHIJKLMNOP", false), "NABCDEFGHIJKLMNOP");
    }
}
