//! `wash down`: stops what `wash up` started on this machine, and nothing else.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::ValueEnum;
use lattice_core::subject::store;
use lattice_nats::connection::ServerAddress;
use lattice_nats::connection::options::Given;
use serde_json::{Map, Value};

use super::up::stuck;
use crate::connection::{ConnectionArgs, is_here, said};
use crate::error::{CliError, Code, Result};
use crate::lattice_dir::{HostEntry, LatticeDir, LocalAddress};
use crate::local::{self, BrokerStop, Stopped};
use crate::output::{Output, Ui, fields};

/// Stop what `wash up` started on this machine
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Stop only this host: its id, a part of it in front
    #[arg(long = "host-id")]
    host_id: Option<String>,
    /// Accepted for 1.x scripts: all hosts of the lattice on this machine stop anyway
    #[arg(long, hide = true)]
    all: bool,
    /// Delete stored data of the lattice after NATS has stopped
    #[arg(long = "purge-jetstream", value_enum, default_value = "none")]
    purge: Purge,
    /// The same under the name that 1.x takes as well; without a value it changes nothing
    #[arg(long = "flush-jetstream", value_enum, hide = true, value_name = "PURGE",
        num_args = 0..=1, default_missing_value = "none")]
    flush: Option<Purge>,
    #[command(flatten)]
    connection: ConnectionArgs,
}

impl Args {
    /// What to delete, by either name of the option.
    fn purge(&self) -> Purge {
        match self.purge {
            Purge::None => self.flush.unwrap_or(Purge::None),
            named => named,
        }
    }
}

/// How long another command that starts or stops this lattice is waited for.
const OTHERS: Duration = Duration::from_secs(5);

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Purge {
    /// Keep everything
    None,
    /// Delete what `wasmcloud` and `wadm` delete; data of components stays
    All,
    /// Delete everything this lattice's NATS server stores, also data of components
    Everything,
    /// Delete what application servers of 1.x store
    Wadm,
    /// Delete links, configs and claims of this lattice
    Wasmcloud,
}

pub(crate) async fn run(args: Args, ui: &Ui) -> Result<Output> {
    let lattice = args.connection.given().settle()?.lattice;
    let dir = LatticeDir::open(&lattice)?;
    let given = args.connection.nats.given();
    if let Some(running) = dir.address() {
        refuse_elsewhere(dir.name(), &given, &running)?;
    }
    tell_of_arguments(&args, given.names_login(), ui);
    // A start that hangs has to end as well, so it is not waited for long.
    let alone = dir.lock(OTHERS).await;
    let purge = args.purge();
    let live = dir.live_hosts();
    let chosen = choose(&live, args.host_id.as_deref())?;
    if live.is_empty() && dir.broker().is_none() {
        return nothing(&dir, purge, alone);
    }
    if purge != Purge::None {
        refuse_configured(&dir).await?;
    }
    let stopped = {
        let _spinner = ui.spinner(format!("Stopping {} host(s)", chosen.len()));
        local::stop_hosts(&chosen).await
    };
    dir.hosts()
        .iter()
        .filter(|host| !host.process.is_alive())
        .for_each(HostEntry::forget);
    // Nobody starts the server anew before its data is deleted.
    let (broker, _owner_alone) = if dir.live_hosts().is_empty() {
        let _spinner = ui.spinner("Stopping NATS");
        local::stop_broker(&dir).await?
    } else {
        (BrokerStop::InUse(vec![dir.name().to_owned()]), None)
    };
    report(&dir, purge, &stopped, &broker, ui)
}

/// What a server with a configuration of the user's stores can only be deleted by others, and as
/// long as it runs. It may be that of another lattice, kept for this one.
async fn refuse_configured(dir: &LatticeDir) -> Result<()> {
    let owner = local::owner(dir).await?;
    if owner.is_none_or(|owner| owner.has_own_config()) {
        return Ok(());
    }
    Err(cannot_purge("nothing was stopped or deleted").data(document(&[], false, &[])))
}

/// Says what of the arguments has no effect.
fn tell_of_arguments(args: &Args, names_login: bool, ui: &Ui) {
    if names_login {
        ui.notice("`wash down` ends processes of this machine, and needs no login");
    }
    if args.flush == Some(Purge::None) {
        ui.notice(
            "`--flush-jetstream` changes nothing without a value; `--purge-jetstream all` deletes \
             what the lattice has stored",
        );
    }
}

/// An address names another lattice than the one of this machine, which must not be stopped in its
/// place.
fn refuse_elsewhere(lattice: &str, given: &Given, running: &LocalAddress) -> Result<()> {
    let port = running.server.port();
    // The hosts of this machine may use a server elsewhere.
    let same =
        |host: &ServerAddress| is_here(host) || host.host_text() == running.server.host_text();
    let (host, behind) = said(given.host.as_deref(), None);
    let host = host.filter(|host| !same(host));
    // Which of two ports is meant, where variables name both, nobody knows.
    let mut named = [behind, given.port].into_iter().flatten();
    let other = named.find(|other| *other != port);
    let what = match (host, other) {
        (None, None) => return Ok(()),
        (Some(host), _) => format!("at `{}`", host.without_login().host_text()),
        (None, Some(other)) => format!("at port {other}"),
    };
    let text = format!("lattice `{lattice}` of this machine runs at port {port}, not {what}");
    Err(CliError::new(Code::Usage, text).hint(
        "leave out `-r` and `-p` to stop it; hosts elsewhere are stopped with `wash stop host`",
    ))
}

/// The hosts to stop: all, or the one that is named.
fn choose(live: &[HostEntry], named: Option<&str>) -> Result<Vec<HostEntry>> {
    let Some(named) = named else {
        return Ok(live.to_vec());
    };
    let wanted = named.to_uppercase();
    let found: Vec<HostEntry> = live
        .iter()
        .filter(|host| host.id.starts_with(&wanted))
        .cloned()
        .collect();
    match found.len() {
        1 => Ok(found),
        0 => Err(CliError::new(
            Code::HostNotFound,
            format!("`wash up` runs no host `{named}` on this machine"),
        )
        .hint("`wash status` shows what runs here; stop others with `wash stop host`")),
        _ => {
            let text = format!("`{named}` fits several hosts");
            let mut error = CliError::new(Code::HostAmbiguous, text);
            for host in &found {
                error = error.cause(host.id.as_str());
            }
            Err(error.hint("give more of the id"))
        }
    }
}

/// Stopping what does not run is no failure: the wish is fulfilled.
fn nothing(dir: &LatticeDir, purge: Purge, alone: Result<File>) -> Result<Output> {
    dir.hosts().iter().for_each(HostEntry::forget);
    let data = |purged: &[String]| document(&[], false, purged);
    // Whoever starts the lattice may be about to start a server on what is stored. A lattice that was
    // never started has no lock.
    if let Err(error) = alone
        && error.code() == Code::Timeout
        && purge != Purge::None
    {
        return Err(error.data(data(&[])));
    }
    // No server runs on the folder of its own, wherever the lattice was last.
    let purged = delete_streams(dir, purge, dir.name())?;
    if purge != Purge::None && !dir.has_own_store() {
        let text = match purged.is_empty() {
            true => "the stored data was kept".to_owned(),
            false => format!(
                "deleted {}, and other stored data of lattice `{}` may lie elsewhere",
                purged.join(", "),
                dir.name()
            ),
        };
        return Err(cannot_purge(&text).data(data(&purged)));
    }
    let text = format!(
        "Nothing started by `wash up` runs for lattice `{}`",
        dir.name()
    );
    Ok(Output::new(text, document(&[], false, &purged)))
}

fn cannot_purge(text: &str) -> CliError {
    CliError::new(Code::Partial, text)
        .cause(
            "the NATS server still runs, has a configuration file of yours, or was not started by \
             `wash up` for this lattice",
        )
        .hint("stop what uses the server first, or delete the buckets with the `nats` tool")
}

/// Deletes what is asked for, in the store of the server that was stopped.
fn purged(dir: &LatticeDir, purge: Purge, broker: &BrokerStop) -> Result<Vec<String>> {
    let text = "the hosts were stopped, but the stored data was kept";
    match (purge, broker) {
        (Purge::None, _) => Ok(Vec::new()),
        (_, BrokerStop::Stopped(owner)) if !owner.has_own_config() => Err(cannot_purge(text)),
        // What has not the name of this lattice may be the owner's.
        (purge, BrokerStop::Stopped(owner)) if purge != Purge::Wasmcloud && owner != dir => {
            Err(CliError::new(Code::Partial, text)
                .cause(format!("it lies with that of lattice `{}`", owner.name()))
                .hint(format!(
                    "delete it with `wash down -x {} --purge-jetstream …`; `wasmcloud` deletes what \
                     has the name of lattice `{}`",
                    owner.name(),
                    dir.name()
                )))
        }
        (purge, BrokerStop::Stopped(owner)) => delete_streams(owner, purge, dir.name()),
        _ => Err(cannot_purge(text)),
    }
}

fn report(
    dir: &LatticeDir,
    purge: Purge,
    stopped: &[Stopped],
    broker: &BrokerStop,
    ui: &Ui,
) -> Result<Output> {
    if let BrokerStop::InUse(users) = broker {
        ui.notice(&format!(
            "NATS keeps running for lattice {}",
            users.join(", ")
        ));
    }
    let nats_stopped = matches!(broker, BrokerStop::Stopped(_));
    let data = |purged: &[String]| document(stopped, nats_stopped, purged);
    if let Some(host) = stopped.iter().find(|host| !host.gone) {
        return Err(stuck(&host.id).data(data(&[])));
    }
    if *broker == BrokerStop::Stuck {
        return Err(CliError::new(Code::Timeout, "nats-server does not stop").data(data(&[])));
    }
    let purged = purged(dir, purge, broker).map_err(|error| error.data(data(&[])))?;
    let mut text = vec![format!("Lattice `{}` is down", dir.name())];
    text.extend(
        stopped
            .iter()
            .map(|host| format!("  Host  {} stopped", host.id)),
    );
    if nats_stopped {
        text.push("  NATS  stopped".to_owned());
    }
    if !purged.is_empty() {
        text.push(format!("  Data  deleted: {}", purged.join(", ")));
    }
    Ok(Output::new(text.join("\n"), data(&purged)))
}

fn document(stopped: &[Stopped], nats_stopped: bool, purged: &[String]) -> Map<String, Value> {
    let hosts: Vec<&str> = stopped
        .iter()
        .filter(|host| host.gone)
        .map(|host| host.id.as_str())
        .collect();
    fields([
        ("hosts_stopped", hosts.into()),
        // There is no application server of its own to stop.
        ("wadm_stopped", false.into()),
        ("nats_stopped", nats_stopped.into()),
        ("purged", purged.into()),
    ])
}

/// Deletes streams of a lattice in the store of the stopped server of `owner`, of every account: that of
/// a secure lattice has the name of its key.
fn delete_streams(owner: &LatticeDir, purge: Purge, lattice: &str) -> Result<Vec<String>> {
    let entries = |folder: PathBuf| fs::read_dir(folder).into_iter().flatten().flatten();
    let accounts = entries(owner.jetstream().join("jetstream"));
    let mut deleted = Vec::new();
    for stream in accounts.flat_map(|account| entries(account.path().join("streams"))) {
        let name = stream.file_name().to_string_lossy().into_owned();
        if belongs(&name, purge, lattice) {
            delete(&stream.path())?;
            deleted.push(name);
        }
    }
    deleted.sort();
    Ok(deleted)
}

fn belongs(stream: &str, purge: Purge, lattice: &str) -> bool {
    let of_wadm = || {
        let bucket = store::parse_bucket_stream(stream);
        bucket.unwrap_or(stream).starts_with("wadm_")
    };
    let of_lattice = || store::is_stream_of(stream, lattice);
    match purge {
        Purge::None => false,
        Purge::All => of_lattice() || of_wadm(),
        Purge::Everything => true,
        Purge::Wadm => of_wadm(),
        Purge::Wasmcloud => of_lattice(),
    }
}

fn delete(path: &Path) -> Result<()> {
    fs::remove_dir_all(path)
        .map_err(|error| CliError::io(format!("could not delete `{}`", path.display()), &error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_of_another_lattice_stops_nothing() {
        let given = |host: Option<&str>, port| Given {
            host: host.map(str::to_owned),
            port,
            ..Given::default()
        };
        let running = |host: &str| LocalAddress {
            server: ServerAddress::of(host).with_port(4222),
            wanted_port: 4222,
            access: None,
            own: None,
        };
        let here = running("127.0.0.1");
        assert!(refuse_elsewhere("x", &given(Some("localhost"), Some(4222)), &here).is_ok());
        assert!(refuse_elsewhere("x", &given(Some("127.0.0.1:4222"), None), &here).is_ok());
        let far = running("10.0.0.1");
        assert!(refuse_elsewhere("x", &given(Some("10.0.0.1"), None), &far).is_ok());
        let other = given(Some("tls://me:word@10.0.0.2:4222"), None);
        let text = refuse_elsewhere("x", &other, &far).unwrap_err().to_string();
        assert!(text.ends_with("not at `tls://10.0.0.2`"), "{text}");
        for (host, port) in [
            (None, Some(4333)),
            (Some("10.0.0.1"), Some(4222)),
            (Some("127.0.0.1:4333"), None),
            (Some("127.0.0.1:4222"), Some(4333)),
        ] {
            let error = refuse_elsewhere("x", &given(host, port), &here).unwrap_err();
            assert_eq!(error.code(), Code::Usage);
        }
    }

    #[test]
    fn a_purge_takes_only_what_it_names() {
        assert!(belongs(
            "KV_CONFIGDATA_default",
            Purge::Wasmcloud,
            "default"
        ));
        assert!(!belongs("KV_CONFIGDATA_other", Purge::Wasmcloud, "default"));
        assert!(belongs(
            "OBJ_CODECACHE_default",
            Purge::Wasmcloud,
            "default"
        ));
        assert!(!belongs("KV_counter", Purge::Wasmcloud, "default"));
        assert!(belongs("KV_wadm_state", Purge::Wadm, "default"));
        assert!(belongs("wadm_events", Purge::Wadm, "default"));
        assert!(belongs("KV_counter", Purge::Everything, "default"));
    }

    #[test]
    fn all_is_what_1x_deletes_and_not_the_data_of_components() {
        for ours in ["KV_LATTICEDATA_default", "KV_wadm_state", "wadm_events"] {
            assert!(belongs(ours, Purge::All, "default"), "{ours}");
        }
        for others in ["KV_counter", "OBJ_files", "KV_CONFIGDATA_other"] {
            assert!(!belongs(others, Purge::All, "default"), "{others}");
        }
    }

    #[test]
    fn both_names_of_the_option_say_what_to_delete() {
        for (line, purge) in [
            ("--flush-jetstream all", Purge::All),
            ("--flush-jetstream=wadm", Purge::Wadm),
            ("--flush-jetstream", Purge::None),
            ("--flush-jetstream --all", Purge::None),
            ("--purge-jetstream everything", Purge::Everything),
            ("", Purge::None),
        ] {
            let words: Vec<&str> = line.split_whitespace().collect();
            let args: Args = crate::args::parsed(&words).unwrap();
            assert_eq!(args.purge(), purge, "{line}");
        }
    }
}
