//! `wash get links`, also known as `wash link query`.

use lattice_core::Link;
use lattice_core::host::HostInventory;
use lattice_core::link::{LinkState, LinkStatus};
use lattice_core::road::RoadTally;
use serde::Serialize;

use super::json;
use crate::connection::{ConnectionArgs, Gone, Lattice, Search};
use crate::error::Result;
use crate::output::{Cell, Output, Style, Table, Tone, Ui, fields};

/// Show the links of the lattice
///
/// `-o wide` also shows how near the calls of each link may stay, and which roads they took since
/// the link was put as it is: within the process of the caller, over a socket to another process of
/// its machine, or over NATS, the bus; and why, where it is not the nearest. It shows the rules of
/// links that have some.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    connection: ConnectionArgs,
}

pub(crate) async fn run(args: Args, ui: &Ui) -> Result<Output> {
    let spinner = ui.spinner("Asking for links");
    let lattice = Lattice::connect(&args.connection).await?;
    let links = lattice.client.links().await;
    let mut links = links.map_err(|error| lattice.explain("could not read the links", &error))?;
    let counted = ui.is_wide() || (ui.is_json() && !ui.is_compat());
    let inventories = if counted && !links.is_empty() {
        // The links are what was asked for; they are shown also where hosts do not tell the rest.
        let found = lattice.look_at(None, Search::Quick).await;
        found.unwrap_or_default()
    } else {
        Vec::new()
    };
    // Also where only hosts have reported that are gone, there is something to be known.
    let reported = links.iter().any(|link| !link.status.is_empty());
    let there = inventories.iter().map(|host| host.host_id.as_str());
    Gone::knowing(there).leave_out(&lattice, &mut links).await;
    drop(spinner);
    let shown = with_roads(links, &inventories);
    let data = fields([("links", json(&shown)?)]);
    if shown.is_empty() {
        return Ok(Output::new("No links are stored in the lattice", data));
    }
    let text = text(&shown, reported, ui.is_wide(), ui.style());
    Ok(Output::new(text, data))
}

/// A link with what all hosts together counted for it.
#[derive(Debug, Serialize)]
struct Shown {
    #[serde(flatten)]
    link: Link,
    #[serde(skip_serializing_if = "RoadTally::is_empty")]
    roads: RoadTally,
}

fn with_roads(links: Vec<Link>, inventories: &[HostInventory]) -> Vec<Shown> {
    let reports = || inventories.iter().flat_map(|host| &host.roads);
    let shown = links.into_iter().map(|link| {
        let mut roads = RoadTally::default();
        for report in reports().filter(|report| report.is_about(&link)) {
            roads.add(&report.roads);
        }
        Shown { link, roads }
    });
    shown.collect()
}

fn text(links: &[Shown], reported: bool, wide: bool, style: Style) -> String {
    let ruled = links.iter().any(|shown| !shown.link.rules.is_empty());
    let mut headers = vec!["Source ID", "Target", "Interface(s)", "Name"];
    if reported {
        headers.push("State");
    }
    if wide {
        headers.extend(["Locality", "Roads"]);
        if ruled {
            headers.push("Rules");
        }
    }
    let mut table = Table::new(headers);
    for Shown { link, roads } in links {
        let interfaces = format!(
            "{}:{}/{}",
            link.wit_namespace,
            link.wit_package,
            link.interfaces.join(",")
        );
        let mut row: Vec<Cell> = vec![
            link.source_id.clone().into(),
            link.target.clone().into(),
            interfaces.into(),
            link.name.clone().into(),
        ];
        if reported {
            row.push(overall(&link.status));
        }
        if wide {
            row.push(link.locality.as_str().into());
            row.push(taken(roads));
            if ruled {
                row.push(link.rules.to_string().into());
            }
        }
        table.row(row);
    }
    let mut text = table.render(style);
    for (link, status) in trouble(links) {
        let reason = status.reason.as_deref().unwrap_or("no reason given");
        text.push_str(&format!(
            "\n{} -> {}: {} {} on host {}: {reason}",
            link.source_id, link.target, status.endpoint, status.state, status.host_id
        ));
    }
    text
}

fn taken(roads: &RoadTally) -> Cell {
    if roads.is_empty() {
        Cell::state(Tone::Dim, "no calls")
    } else {
        roads.to_string().into()
    }
}

/// The worst state of any end stands for the link.
fn overall(status: &[LinkStatus]) -> Cell {
    let any = |state| status.iter().any(|status| status.state == state);
    if status.is_empty() {
        Cell::state(Tone::Dim, "unknown")
    } else if any(LinkState::Failed) {
        Cell::state(Tone::Bad, LinkState::Failed.to_string())
    } else if any(LinkState::Pending) {
        Cell::state(Tone::Warn, LinkState::Pending.to_string())
    } else {
        Cell::state(Tone::Good, LinkState::Ready.to_string())
    }
}

/// Ends that are not ready and say why, or that failed.
fn trouble(links: &[Shown]) -> impl Iterator<Item = (&Link, &LinkStatus)> {
    links
        .iter()
        .map(|shown| &shown.link)
        .flat_map(|link| link.status.iter().map(move |status| (link, status)))
        .filter(|(_, status)| {
            status.state == LinkState::Failed
                || (status.state == LinkState::Pending && status.reason.is_some())
        })
}

#[cfg(test)]
mod tests {
    use lattice_core::road::RoadReport;
    use lattice_core::{Locality, Road, RoadCounts, Why};

    use super::*;

    fn link(status: Vec<LinkStatus>) -> Link {
        Link {
            source_id: "counter".into(),
            target: "kv".into(),
            name: "default".into(),
            wit_namespace: "wasi".into(),
            wit_package: "keyvalue".into(),
            interfaces: vec!["store".into(), "atomics".into()],
            source_config: vec![],
            target_config: vec![],
            locality: Locality::default(),
            rules: lattice_core::LinkRules::default(),
            status,
        }
    }

    fn shown(status: Vec<LinkStatus>) -> Vec<Shown> {
        with_roads(vec![link(status)], &[])
    }

    #[test]
    fn wide_shows_the_roads_of_all_hosts() {
        let report = |target: &str, road: Road, why: Why| {
            let counts = RoadCounts::default();
            counts.count(road, why);
            RoadReport {
                source_id: "counter".into(),
                target: target.into(),
                wit_namespace: "wasi".into(),
                wit_package: "keyvalue".into(),
                name: "default".into(),
                roads: counts.report(),
            }
        };
        let host = |roads| HostInventory {
            roads,
            ..HostInventory::default()
        };
        let hosts = [
            host(vec![report("kv", Road::Process, Why::Nearest)]),
            host(vec![
                report("kv", Road::Bus, Why::NoRoomHere),
                report("other", Road::Bus, Why::Spread),
            ]),
            HostInventory::default(),
        ];
        let links = vec![
            link(vec![]),
            Link {
                name: "second".into(),
                locality: Locality::Spread,
                ..link(vec![])
            },
        ];
        let links = with_roads(links, &hosts);
        let expected = "\
Source ID  Target  Interface(s)                 Name     Locality      Roads
counter    kv      wasi:keyvalue/store,atomics  default  prefer-local  process 1, bus 1 (no-room-here)
counter    kv      wasi:keyvalue/store,atomics  second   spread        no calls";
        assert_eq!(text(&links, false, true, Style::default()), expected);
        let json = serde_json::to_value(&links).unwrap();
        let counted = serde_json::json!({
            "process": 1, "socket": 0, "bus": 1,
            "why": {"process": "nearest", "bus": "no-room-here"},
        });
        assert_eq!(json[0]["roads"], counted);
        assert_eq!(json[0].get("locality"), None);
        assert_eq!(json[1]["locality"], "spread");
        assert_eq!(json[1].get("roads"), None);
    }

    #[test]
    fn links_of_old_hosts_have_no_state_column() {
        let expected = "Source ID  Target  Interface(s)                 Name\n\
                        counter    kv      wasi:keyvalue/store,atomics  default";
        assert_eq!(
            text(&shown(vec![]), false, false, Style::default()),
            expected
        );
    }

    #[test]
    fn a_refused_link_shows_where_and_why() {
        let status = LinkStatus {
            endpoint: "kv".into(),
            host_id: "NA".into(),
            state: LinkState::Failed,
            reason: Some("no such bucket".into()),
        };
        let expected = "Source ID  Target  Interface(s)                 Name     State\n\
                        counter    kv      wasi:keyvalue/store,atomics  default  failed\n\
                        counter -> kv: kv failed on host NA: no such bucket";
        assert_eq!(
            text(&shown(vec![status]), true, false, Style::default()),
            expected
        );
    }
}
