//! `wash status`: what `wash up` runs on this machine.

use std::time::Duration;

use futures::StreamExt as _;
use futures::future::join_all;
use futures::stream::FuturesUnordered;
use lattice_core::HostId;
use lattice_nats::connection::options;
use serde_json::{Value, json};

use super::up::{Probe, probe};
use crate::connection::{Given, Lattice, Settings, lattice_name};
use crate::error::{Exit, Result};
use crate::lattice_dir::{HostEntry, LatticeDir, LocalAddress};
use crate::output::{Cell, Output, Table, Tone, Ui, fields};

/// How long a host may take to show that it is well.
const QUESTION: Duration = Duration::from_millis(1500);

/// Show what `wash up` runs on this machine
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only this lattice
    #[arg(short = 'x', long, env = "WASMCLOUD_LATTICE")]
    lattice: Option<String>,
}

/// How well one part does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Running,
    /// The process runs but does not answer.
    Silent,
    /// The process is gone without having been stopped.
    Died,
    /// It was never ours to look after.
    Elsewhere,
}

impl State {
    fn word(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Silent => "not answering",
            Self::Died => "died",
            Self::Elsewhere => "not started by wash",
        }
    }

    fn tone(self) -> Tone {
        match self {
            Self::Running => Tone::Good,
            Self::Silent => Tone::Warn,
            Self::Died => Tone::Bad,
            Self::Elsewhere => Tone::Dim,
        }
    }
}

/// One lattice as this machine sees it.
struct Report {
    dir: LatticeDir,
    address: String,
    nats: State,
    hosts: Vec<(HostEntry, State)>,
}

impl Report {
    fn healthy(&self) -> bool {
        matches!(self.nats, State::Running | State::Elsewhere)
            && self.hosts.iter().all(|(_, state)| *state == State::Running)
    }
}

pub(crate) async fn run(args: Args, ui: &Ui) -> Result<Output> {
    let dirs = match args.lattice {
        Some(name) => vec![LatticeDir::open(&lattice_name(Some(name))?)?],
        None => LatticeDir::all()?,
    };
    let spinner = ui.spinner("Asking the hosts");
    let reports: Vec<Report> = join_all(dirs.into_iter().map(report))
        .await
        .into_iter()
        .flatten()
        .collect();
    drop(spinner);
    let data = fields([
        ("running", Value::Bool(!reports.is_empty())),
        ("lattices", reports.iter().map(document).collect()),
    ]);
    if reports.is_empty() {
        let text = "Nothing started by `wash up` runs here; start a lattice with `wash up -d`";
        return Ok(Output::new(text, data).exit_with(Exit::NotFound as u8));
    }
    let text: Vec<String> = reports.iter().map(|report| text(report, ui)).collect();
    let exit = if reports.iter().all(Report::healthy) {
        0
    } else {
        Exit::Partial as u8
    };
    Ok(Output::new(text.join("\n\n"), data).exit_with(exit))
}

/// Looks at one lattice; nothing when no part of it is left.
async fn report(dir: LatticeDir) -> Option<Report> {
    let hosts = dir.hosts();
    let broker = dir.broker();
    if hosts.is_empty() && broker.is_none() {
        return None;
    }
    let recorded = dir.recorded_address()?;
    let nats = match (broker.is_some(), probe(&recorded.server).await) {
        (true, Probe::Nats) => State::Running,
        (true, _) => State::Silent,
        (false, Probe::Nats) => State::Elsewhere,
        (false, _) => State::Died,
    };
    let lattice = connect(&dir, &hosts, &recorded).await;
    let states = hosts.iter().map(|entry| state(entry, lattice.as_ref()));
    let states = join_all(states).await;
    let address = recorded.server.to_string();
    Some(Report {
        dir,
        address,
        nats,
        hosts: hosts.into_iter().zip(states).collect(),
    })
}

/// The way into the lattice on which a host is seen, else the first that leads to the server: that may
/// take in who has no login, or another one, but not to where the hosts are.
async fn connect(dir: &LatticeDir, hosts: &[HostEntry], address: &LocalAddress) -> Option<Lattice> {
    let mut first = None;
    for settings in ways(dir, address) {
        let Ok(lattice) = Lattice::new(settings).await else {
            continue;
        };
        if sees_any(&lattice, hosts).await {
            return Some(lattice);
        }
        first = first.or(Some(lattice));
    }
    // A lattice that cannot be reached shows as hosts that do not answer.
    first
}

/// Whether one of the hosts that run answers, or there is none that could.
async fn sees_any(lattice: &Lattice, hosts: &[HostEntry]) -> bool {
    let live = hosts.iter().filter(|host| host.process.is_alive());
    let ids: Vec<HostId> = live.filter_map(|host| HostId::new(&host.id).ok()).collect();
    let asked = ids.iter().map(|id| lattice.host_answers(id, QUESTION));
    let mut answers: FuturesUnordered<_> = asked.collect();
    while let Some(answered) = answers.next().await {
        if answered {
            return true;
        }
    }
    ids.is_empty()
}

/// What to try: what `wash up` keeps of the lattice, and what a context or a variable says; first the one
/// that is more likely.
fn ways(dir: &LatticeDir, address: &LocalAddress) -> impl Iterator<Item = Settings> + use<> {
    let kept = Settings::of_local(dir.name(), address);
    let given = Given {
        nats: options::Given {
            host: Some(address.server.host_text()),
            port: Some(address.server.port()),
            ..options::Given::default()
        },
        lattice: Some(dir.name().to_owned()),
        ..Given::default()
    };
    let is_ours = dir.broker().is_some() || address.own == Some(true) || address.access.is_some();
    let ways = match is_ours {
        true => [kept, given.settle()],
        false => [given.settle(), kept],
    };
    ways.into_iter().flatten()
}

async fn state(entry: &HostEntry, lattice: Option<&Lattice>) -> State {
    if !entry.process.is_alive() {
        return State::Died;
    }
    let (Some(lattice), Ok(id)) = (lattice, HostId::new(&entry.id)) else {
        return State::Silent;
    };
    if lattice.host_answers(&id, QUESTION).await {
        State::Running
    } else {
        State::Silent
    }
}

fn text(report: &Report, ui: &Ui) -> String {
    let style = ui.style();
    let mut table = Table::new(["Part", "State", "Pid", "Log"]);
    let broker = report.dir.broker();
    table.row([
        format!("nats {}", report.address).into(),
        Cell::state(report.nats.tone(), report.nats.word()),
        broker
            .map_or_else(String::new, |broker| broker.pid.to_string())
            .into(),
        if report.nats == State::Elsewhere {
            "".into()
        } else {
            report.dir.nats_log().display().to_string().into()
        },
    ]);
    for (entry, state) in &report.hosts {
        table.row([
            format!("host {}", entry.id).into(),
            Cell::state(state.tone(), state.word()),
            entry.process.pid.to_string().into(),
            entry.log().display().to_string().into(),
        ]);
    }
    let head = style.bold(&format!("Lattice `{}`", report.dir.name()));
    format!("{head}\n{}", table.render(style))
}

fn document(report: &Report) -> Value {
    let hosts: Vec<Value> = report
        .hosts
        .iter()
        .map(|(entry, state)| {
            json!({
                "id": entry.id, "pid": entry.process.pid, "state": state.word(), "log": entry.log(),
            })
        })
        .collect();
    json!({
        "lattice": report.dir.name(),
        "nats_url": report.address,
        "nats": { "state": report.nats.word(), "pid": report.dir.broker().map(|broker| broker.pid) },
        "hosts": hosts,
        "healthy": report.healthy(),
    })
}
