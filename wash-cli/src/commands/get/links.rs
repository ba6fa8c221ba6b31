//! `wash get links`, also known as `wash link query`.

use lattice_core::Link;
use lattice_core::link::{LinkState, LinkStatus};

use super::json;
use crate::connection::{ConnectionArgs, Lattice};
use crate::error::Result;
use crate::output::{Cell, Output, Style, Table, Tone, Ui, fields};

/// Show the links of the lattice
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    connection: ConnectionArgs,
}

pub(crate) async fn run(args: Args, ui: &Ui) -> Result<Output> {
    let spinner = ui.spinner("Asking for links");
    let lattice = Lattice::connect(&args.connection).await?;
    let links = lattice.client.links().await;
    let links = links.map_err(|error| lattice.explain("could not read the links", &error))?;
    drop(spinner);
    let data = fields([("links", json(&links)?)]);
    if links.is_empty() {
        return Ok(Output::new("No links are stored in the lattice", data));
    }
    Ok(Output::new(text(&links, ui.style()), data))
}

fn text(links: &[Link], style: Style) -> String {
    let reported = links.iter().any(|link| !link.status.is_empty());
    let mut headers = vec!["Source ID", "Target", "Interface(s)", "Name"];
    if reported {
        headers.push("State");
    }
    let mut table = Table::new(headers);
    for link in links {
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
fn trouble(links: &[Link]) -> impl Iterator<Item = (&Link, &LinkStatus)> {
    links
        .iter()
        .flat_map(|link| link.status.iter().map(move |status| (link, status)))
        .filter(|(_, status)| {
            status.state == LinkState::Failed
                || (status.state == LinkState::Pending && status.reason.is_some())
        })
}

#[cfg(test)]
mod tests {
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
            locality: lattice_core::Locality::default(),
            status,
        }
    }

    #[test]
    fn links_of_old_hosts_have_no_state_column() {
        let expected = "Source ID  Target  Interface(s)                 Name\n\
                        counter    kv      wasi:keyvalue/store,atomics  default";
        assert_eq!(text(&[link(vec![])], Style::default()), expected);
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
        assert_eq!(text(&[link(vec![status])], Style::default()), expected);
    }
}
