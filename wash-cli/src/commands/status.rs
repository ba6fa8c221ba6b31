//! `wash status`: what `wash up` runs on this machine.

use std::time::Duration;

use futures::future::join_all;
use lattice_core::HostId;
use lattice_nats::connection::options;
use serde_json::{Value, json};

use super::up::{Probe, probe};
use crate::connection::{Given, Lattice, Settings, is_local_server, lattice_name};
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
    let LocalAddress { host, port, .. } = &recorded;
    let nats = match (broker.is_some(), probe(host, *port).await) {
        (true, Probe::Nats) => State::Running,
        (true, _) => State::Silent,
        (false, Probe::Nats) => State::Elsewhere,
        (false, _) => State::Died,
    };
    let lattice = connect(&dir, &recorded).await;
    let states = hosts.iter().map(|entry| state(entry, lattice.as_ref()));
    let states = join_all(states).await;
    let address = format!("{host}:{port}");
    Some(Report {
        dir,
        address,
        nats,
        hosts: hosts.into_iter().zip(states).collect(),
    })
}

/// The way into the lattice, by what `wash up` keeps of it. Only a server that it did not start may want
/// what a context or a variable says.
async fn connect(dir: &LatticeDir, address: &LocalAddress) -> Option<Lattice> {
    if is_local_server(&address.host)
        && let Ok(settings) = Settings::of_local(dir.name(), address)
        && let Ok(lattice) = Lattice::new(settings).await
    {
        return Some(lattice);
    }
    let given = Given {
        nats: options::Given {
            host: Some(address.host.clone()),
            port: Some(address.port),
            ..options::Given::default()
        },
        lattice: Some(dir.name().to_owned()),
        ..Given::default()
    };
    // A lattice that cannot be reached shows as hosts that do not answer.
    Lattice::new(given.settle().ok()?).await.ok()
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
