//! `wash up`: a NATS server and hosts on this machine, from one program.

use std::fs::File;
use std::time::Duration;

use lattice_core::LatticeName;
use serde_json::{Value, json};

use crate::connection::{Lattice, Settings};
use crate::error::{CliError, Code, Result};
use crate::lattice_dir::{HostEntry, LatticeDir, LocalAddress, create_folder};
use crate::local;
use crate::output::{Output, Style, Ui, eprint_line, fields};
use crate::signals::{Signals, Stop};

mod apps;
mod args;
mod broker;
mod connections;
mod defaults;
mod deploy;
mod hosts;
mod interactive;
mod leaf;
mod legacy;
mod secure;
mod server;

use apps::App;
pub(crate) use args::Args;
pub(crate) use broker::{Probe, probe};
use secure::Secure;
pub(crate) use server::find_any as find_server;

/// How long another command that starts or stops this lattice is waited for: it may have to wait itself.
const OTHERS: Duration = Duration::from_secs(90);
/// How long started hosts may take until they answer.
const READY: Duration = Duration::from_secs(60);
/// How many logs of ended hosts are kept.
const KEPT_LOGS: usize = 10;

/// What runs after the start.
#[derive(Debug)]
struct Running {
    dir: LatticeDir,
    address: LocalAddress,
    /// Hosts that ran before, then those of this run.
    hosts: Vec<HostEntry>,
    fresh: hosts::Hosts,
    broker_started: bool,
    /// The components that were named.
    apps: Vec<apps::Running>,
}

/// Collects what was started, so that a failed or interrupted start can be undone.
#[derive(Debug, Default)]
struct Started {
    hosts: Vec<HostEntry>,
    broker: Option<LatticeDir>,
    /// Where the lattice was before: a start that failed has not moved it.
    address: Option<(LatticeDir, LocalAddress)>,
    /// Keeps others from the lattice until it is started or undone.
    alone: Option<File>,
}

impl Started {
    async fn undo(&self) {
        local::stop_hosts(&self.hosts).await;
        if let Some(dir) = self.broker.as_ref().filter(|dir| dir.broker().is_some()) {
            // The error that led here is the one to report.
            let _ = local::stop_broker(dir).await;
        }
        self.put_back();
    }

    /// Notes where the lattice was before. A server that stays, since others use it or it does not
    /// end, is to be found where it is.
    fn put_back(&self) {
        let stays = |dir: &LatticeDir| dir.broker().is_some();
        if let Some((dir, address)) = &self.address
            && !self.broker.as_ref().is_some_and(stays)
        {
            let _ = dir.record_address(address);
        }
    }
}

pub(crate) async fn run(args: Args, ui: &Ui) -> Result<Output> {
    let mut signals = Signals::listen()?;
    let mut started = Started::default();
    let outcome = tokio::select! {
        outcome = start(&args, ui, &mut started) => outcome,
        stop = signals.recv() => Err(stop.into_error()),
    };
    let mut running = match outcome {
        Ok(running) => running,
        Err(error) => {
            started.undo().await;
            return Err(error);
        }
    };
    drop(started);
    if args.detached || running.fresh.is_empty() {
        return Ok(running.output(ui.style()));
    }
    if let Err(error) = ui.success(&running.output(ui.style())) {
        ui.notice(&error.to_string());
    }
    let stop = interactive::follow(&mut running, &mut signals, ui).await;
    finish(running, stop, &mut signals, ui).await
}

async fn start(args: &Args, ui: &Ui, started: &mut Started) -> Result<Running> {
    let apps = apps::read(&args.components)?;
    tell_of_arguments(args, &apps, ui)?;
    args.check()?;
    let settings = args.given().settle()?;
    let dir = LatticeDir::open(&settings.lattice)?;
    create_folder(dir.root())?;
    // Two starts at once would make two NATS servers, and keys that do not belong together.
    started.alone = Some(dir.lock(OTHERS).await?);
    started.address = dir.recorded_address().map(|before| (dir.clone(), before));
    let secure = secure(args, &dir, &settings, ui)?;
    let before = dir.live_hosts();
    let count = missing_hosts(args, before.len());
    let labels = args.labels(count)?;
    if count == 0 {
        tell_of_unused(args, &dir, ui);
    }
    let spinner = ui.spinner("Starting NATS");
    started.broker = dir.broker().is_none().then(|| dir.clone());
    let nats = start_nats(args, &dir, settings, secure.as_ref(), ui).await?;
    let lattice = nats.lattice;
    let sides = args.sides(&lattice.settings)?;
    let sides = match &secure {
        Some(secure) => sides.without(&secure.access()),
        None => sides,
    };
    drop(spinner);
    dir.prune_ended_hosts(KEPT_LOGS);
    let fresh = {
        let _spinner = ui.spinner(format!("Starting {count} host(s)"));
        let start = hosts::Start {
            args,
            settings: &lattice.settings,
            local_port: lattice.settings.local_port().await,
            sides: &sides,
            dir: &dir,
            secure: secure.as_ref(),
        };
        let mut fresh = start.spawn(labels, &mut started.hosts)?;
        fresh.until_ready(&lattice, READY).await?;
        fresh
    };
    let apps = deploy::start(&apps, &lattice, &dir, secure.as_ref(), ui).await?;
    let mut hosts = before;
    hosts.extend(fresh.entries());
    Ok(Running {
        dir,
        address: nats.address,
        hosts,
        fresh,
        broker_started: nats.started,
        apps,
    })
}

/// Says what is odd about what was asked for.
fn tell_of_arguments(args: &Args, apps: &[App], ui: &Ui) -> Result<()> {
    args.legacy.notes()?.iter().for_each(|note| ui.notice(note));
    if let Some(warning) = lattice_host::cli::warn_of_secrets(std::env::args_os()) {
        ui.notice(warning);
    }
    if args.host.runs_unsigned() && apps.iter().any(|app| !app.signed) {
        ui.notice(
            "runs what nobody has signed; `--require-signed` or `--trusted-issuer KEY` refuses it",
        );
    }
    Ok(())
}

/// Says what of the arguments is for hosts that are started, where none is.
fn tell_of_unused(args: &Args, dir: &LatticeDir, ui: &Ui) {
    let unused = args.for_new_hosts();
    if !unused.is_empty() {
        ui.notice(&format!(
            "the hosts run already, so that {} was not applied; stop them with `{}` first, or set \
             labels with `wash label`",
            unused.join(", "),
            down_command(dir.name())
        ));
    }
}

/// NATS, and how it is reached.
struct Nats {
    address: LocalAddress,
    /// Whether it runs since now.
    started: bool,
    /// The connection to it.
    lattice: Lattice,
}

/// Has NATS run, connects to it, and notes where the lattice is.
async fn start_nats(
    args: &Args,
    dir: &LatticeDir,
    settings: Settings,
    secure: Option<&Secure>,
    ui: &Ui,
) -> Result<Nats> {
    let wanted = broker::Wanted {
        args: &args.nats,
        settings: &settings,
        fixed: args.address_given(),
        secure,
    };
    let broker = wanted.ensure(dir, ui).await?;
    // One that runs takes the new certificate over, and those who are connected stay so.
    if let Some(server) = dir.broker().filter(|_| secure.is_some() && !broker.started) {
        server.reload();
    }
    // A lattice that moved to another port before is still the one that was wanted at the first.
    let at_port = |before: &LocalAddress| before.server.port() == broker.port;
    let moved = dir.address().filter(at_port);
    let wanted_port = settings.server.port();
    let mut settings = Settings {
        server: settings.server.with_port(broker.port),
        ..settings
    };
    let address = LocalAddress {
        server: settings.first_server(),
        wanted_port: moved.map_or(wanted_port, |before| before.wanted_port),
        access: secure.map(Secure::access),
        own: Some(dir.broker().is_some()),
    };
    if let Some(secure) = secure {
        secure.settle(&mut settings);
        secure.save_context(&settings)?;
    }
    // Other commands follow the note: what cannot be reached is not where the lattice is.
    let lattice = Lattice::new(settings).await?;
    dir.record_address(&address)?;
    Ok(Nats {
        address,
        started: broker.started,
        lattice,
    })
}

/// The keys of a lattice that is to be secure, or is already.
fn secure(args: &Args, dir: &LatticeDir, settings: &Settings, ui: &Ui) -> Result<Option<Secure>> {
    let is_open = dir.address().map(|running| running.access.is_none());
    match (args.secure, is_open) {
        (true, Some(true)) => {
            let text = format!("lattice `{}` runs without `--secure`", dir.name());
            return Err(CliError::new(Code::Usage, text)
                .hint(format!("stop it with `wash down -x {}` first", dir.name())));
        }
        (true, _) | (false, Some(false)) => {}
        (false, _) => {
            if is_open.is_none() && dir.keys().exists() {
                ui.notice(&format!(
                    "lattice `{}` was secure and lets in everybody now; `wash up --secure` has it as it was",
                    dir.name()
                ));
            }
            return Ok(None);
        }
    }
    let given = args.host.cluster_seed.as_deref();
    let cluster = given.map(crate::keys::read_given).transpose()?;
    let cluster = cluster.map(|key| key.seed());
    Secure::prepare(dir, settings.server.host(), cluster.as_ref()).map(Some)
}

/// `up` wants at least one host; `--hosts` names the number; `--multi-local` adds to those there.
fn missing_hosts(args: &Args, running: usize) -> usize {
    let wanted = usize::from(args.hosts.unwrap_or(1));
    if args.multi_local {
        wanted
    } else {
        wanted.saturating_sub(running)
    }
}

/// The command that stops a lattice.
fn down_command(lattice: &str) -> String {
    if lattice == LatticeName::default().as_str() {
        "wash down".to_owned()
    } else {
        format!("wash down -x {lattice}")
    }
}

impl Running {
    fn nats_url(&self) -> String {
        self.address.server.to_string()
    }

    fn down(&self) -> String {
        down_command(self.dir.name())
    }

    fn output(&self, style: Style) -> Output {
        let already = self.fresh.is_empty();
        let head = if already {
            "is already running"
        } else {
            "is up"
        };
        let mut text = format!(
            "{}\n",
            style.bold(&format!("Lattice `{}` {head}", self.dir.name()))
        );
        let nats = if self.broker_started || self.dir.broker().is_some() {
            format!(" (log {})", self.dir.nats_log().display())
        } else {
            " (was running)".to_owned()
        };
        text.push_str(&format!("  NATS  {}{nats}\n", self.nats_url()));
        for host in &self.hosts {
            text.push_str(&format!(
                "  Host  {} (log {})\n",
                host.id,
                host.log().display()
            ));
        }
        text.push_str(&format!("  Stop  {}", self.down()));
        for app in &self.apps {
            text.push_str(&format!("\n{}", app.text(style).trim_end()));
        }
        Output::new(text, self.document(already))
    }

    fn document(&self, already: bool) -> serde_json::Map<String, Value> {
        let hosts: Vec<Value> = self
            .hosts
            .iter()
            .map(|host| json!({ "id": host.id, "pid": host.process.pid, "log": host.log() }))
            .collect();
        let log = self
            .hosts
            .first()
            .map(|host| host.log().display().to_string());
        let mut document = fields([
            ("lattice", self.dir.name().into()),
            ("nats_url", self.nats_url().into()),
            ("nats_started", self.broker_started.into()),
            ("hosts", hosts.into()),
            ("wasmcloud_log", log.into()),
            ("kill_cmd", self.down().into()),
            ("already_running", already.into()),
        ]);
        if !self.apps.is_empty() {
            let apps: Vec<Value> = self.apps.iter().map(apps::Running::document).collect();
            document.insert("components".to_owned(), apps.into());
        }
        document
    }
}

/// Stops what this run started; a second signal ends it at once.
async fn finish(
    running: Running,
    ended: Result<Stop>,
    signals: &mut Signals,
    ui: &Ui,
) -> Result<Output> {
    let entries = running.fresh.entries();
    let own_broker = running.broker_started.then_some(&running.dir);
    ui.notice("stopping; press Ctrl-C again to stop at once");
    let orderly = async {
        let stopped = local::stop_hosts(&entries).await;
        // Somebody else may have stopped it all and be starting it anew, with a server that has no hosts yet. One
        // who takes too long has no claim to it.
        let _alone = running.dir.lock(OTHERS).await;
        if let Some(dir) = own_broker
            && let (local::BrokerStop::InUse(users), _) = local::stop_broker(dir).await?
        {
            ui.notice(&format!(
                "NATS keeps running for lattice {}",
                users.join(", ")
            ));
        }
        Ok(stopped)
    };
    tokio::select! {
        stopped = orderly => {
            let stopped: Vec<local::Stopped> = stopped?;
            if let Some(host) = stopped.iter().find(|host| !host.gone) {
                return Err(stuck(&host.id));
            }
        }
        () = signals.again() => local::kill_all(&entries, own_broker),
    }
    let stop = ended?;
    if !ui.is_json() {
        eprint_line(&format!("Stopped lattice `{}`", running.dir.name()));
    }
    Ok(Output::silent().exit_with(stop.exit()))
}

pub(crate) fn stuck(id: &str) -> CliError {
    CliError::new(Code::Timeout, format!("host `{id}` does not stop"))
        .hint("look at its log, shown by `wash status`")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::ProcessRecord;
    use lattice_nats::connection::ServerAddress;

    #[test]
    fn a_failed_start_moves_the_lattice_back_unless_its_server_stays() {
        let folder = tempfile::tempdir().unwrap();
        let dir = LatticeDir::at("x", folder.path());
        let at = |port| LocalAddress {
            server: ServerAddress::of("127.0.0.1").with_port(port),
            wanted_port: port,
            access: None,
            own: Some(true),
        };
        create_folder(&dir.nats()).unwrap();
        let server = ProcessRecord::of(std::process::id(), 41333).unwrap();
        dir.record_broker(&server).unwrap();
        dir.record_address(&at(41333)).unwrap();
        let started = Started {
            broker: Some(dir.clone()),
            address: Some((dir.clone(), at(41222))),
            ..Started::default()
        };
        started.put_back();
        assert_eq!(dir.recorded_address(), Some(at(41333)));
        dir.forget_broker();
        started.put_back();
        assert_eq!(dir.recorded_address(), Some(at(41222)));
    }
}
