//! What `wash up` keeps about one lattice on this machine.
//!
//! ```text
//! <data>/lattices/<name>/
//!   lock                         held by the command that starts or stops something
//!   lattice.json                 where its NATS server listens
//!   nats/{pid.json,nats.conf,nats.log,jetstream/}
//!   keys/                        of `wash up --secure`: seeds, certificates, credentials
//!   hosts/<host id>/{pid.json,host.log}
//! ```

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use lattice_core::LatticeName;
use lattice_nats::connection::ServerAddress;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::connection::DEFAULT_HOST;
use crate::dirs;
use crate::error::{CliError, Code, Result};
use crate::process::ProcessRecord;

const PID_FILE: &str = "pid.json";

/// How often is looked for its end.
const LOOK: Duration = Duration::from_millis(50);

/// The folder of one lattice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LatticeDir {
    name: String,
    root: PathBuf,
}

/// Where a local lattice's NATS server listens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Noted", into = "Noted")]
pub(crate) struct LocalAddress {
    pub(crate) server: ServerAddress,
    /// Where it would listen, had that port not been taken.
    pub(crate) wanted_port: u16,
    /// What it takes to get in, where the lattice was started with `--secure`.
    pub(crate) access: Option<LocalAccess>,
    /// Whether that server was started for this very lattice. Older versions did not note it.
    pub(crate) own: Option<bool>,
}

/// The same as it stands in its file, which other versions read, too.
#[derive(Debug, Serialize, Deserialize)]
struct Noted {
    nats_host: String,
    nats_port: u16,
    wanted_port: u16,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    access: Option<LocalAccess>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    own: Option<bool>,
}

impl From<Noted> for LocalAddress {
    fn from(noted: Noted) -> Self {
        Self {
            // Older versions noted the port behind the host where it was given so.
            server: ServerAddress::of(&noted.nats_host).or_port(noted.nats_port),
            wanted_port: noted.wanted_port,
            access: noted.access,
            own: noted.own,
        }
    }
}

impl From<LocalAddress> for Noted {
    fn from(address: LocalAddress) -> Self {
        Self {
            nats_host: address.server.host_text(),
            nats_port: address.server.port(),
            wanted_port: address.wanted_port,
            access: address.access,
            own: address.own,
        }
    }
}

/// What it takes to get into a lattice that is not open to everybody.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LocalAccess {
    /// The credentials file of `wash`.
    pub(crate) creds: PathBuf,
    /// The certificate of the authority that signed that of the server.
    pub(crate) ca: PathBuf,
    /// The seed of the cluster, by which calls prove who makes them.
    #[serde(default)]
    pub(crate) cluster: Option<PathBuf>,
}

/// A host process that `wash up` started.
#[derive(Debug, Clone)]
pub(crate) struct HostEntry {
    pub(crate) id: String,
    pub(crate) folder: PathBuf,
    pub(crate) process: ProcessRecord,
}

impl HostEntry {
    pub(crate) fn log(&self) -> PathBuf {
        self.folder.join("host.log")
    }

    /// Forgets the process but keeps its log.
    pub(crate) fn forget(&self) {
        remove_pid_file(&self.folder);
    }
}

impl LatticeDir {
    pub(crate) fn open(name: &LatticeName) -> Result<Self> {
        Ok(Self {
            name: name.to_string(),
            root: dirs::lattices()?.join(name.as_str()),
        })
    }

    #[cfg(test)]
    pub(crate) fn at(name: &str, root: &Path) -> Self {
        Self {
            name: name.to_owned(),
            root: root.to_owned(),
        }
    }

    /// The folders of every lattice that was ever started here.
    pub(crate) fn all() -> Result<Vec<Self>> {
        let mut found: Vec<Self> = folders(&dirs::lattices()?)
            .filter_map(|(name, root)| Some(Self { name: name?, root }))
            .collect();
        found.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(found)
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Keeps other commands from starting or stopping anything of this lattice on this machine, until what
    /// this returns is dropped.
    ///
    /// # Errors
    ///
    /// Another one is at it for longer than `patience`.
    pub(crate) async fn lock(&self, patience: Duration) -> Result<File> {
        let path = self.root.join("lock");
        let broken = |error| CliError::io(format!("could not lock `{}`", path.display()), &error);
        // Who may open it can hold it.
        let mut options = File::options();
        let options = options.write(true).create(true).truncate(false).mode(0o600);
        let file = options.open(&path).map_err(broken)?;
        let until = Instant::now() + patience;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(file),
                Err(fs::TryLockError::WouldBlock) if Instant::now() < until => {
                    tokio::time::sleep(LOOK).await;
                }
                Err(fs::TryLockError::WouldBlock) => {
                    let text = format!("another `wash` starts or stops lattice `{}`", self.name);
                    return Err(CliError::new(Code::Timeout, text)
                        .cause(format!("it has not ended within {patience:?}"))
                        .hint("wait for it, or end it"));
                }
                Err(fs::TryLockError::Error(error)) => return Err(broken(error)),
            }
        }
    }

    pub(crate) fn nats(&self) -> PathBuf {
        self.root.join("nats")
    }

    /// The seeds, certificates and credentials of a lattice that was started with `--secure`.
    pub(crate) fn keys(&self) -> PathBuf {
        self.root.join("keys")
    }

    /// The configuration that a NATS server is started with, where it is ours.
    pub(crate) fn nats_config(&self) -> PathBuf {
        self.nats().join("nats.conf")
    }

    /// Whether the NATS server was last started with a configuration of ours. One of the user's own
    /// says itself where the server stores its data.
    pub(crate) fn has_own_config(&self) -> bool {
        // Older versions had no file of ours beside one of the user's.
        let likely = || self.nats_config().is_file();
        self.noted_config().unwrap_or_else(likely)
    }

    /// The same, where it is noted.
    pub(crate) fn noted_config(&self) -> Option<bool> {
        ProcessRecord::read_own_config(&self.nats().join(PID_FILE))
    }

    pub(crate) fn nats_log(&self) -> PathBuf {
        self.nats().join("nats.log")
    }

    pub(crate) fn jetstream(&self) -> PathBuf {
        self.nats().join("jetstream")
    }

    /// Whether what the lattice has stored since it was last started, if anything, lies in the folder
    /// of its own server.
    pub(crate) fn has_own_store(&self) -> bool {
        self.recorded_address().is_none_or(|address| {
            let likely = || address.server.is_local() && self.jetstream().is_dir();
            address.own.unwrap_or_else(likely) && self.has_own_config()
        })
    }

    /// The NATS server started for this lattice, if it runs.
    pub(crate) fn broker(&self) -> Option<ProcessRecord> {
        ProcessRecord::read(&self.nats().join(PID_FILE)).filter(ProcessRecord::is_alive)
    }

    pub(crate) fn record_broker(&self, process: &ProcessRecord) -> io::Result<()> {
        process.write(&self.nats().join(PID_FILE))
    }

    /// Forgets the process, but not that its configuration was the user's.
    pub(crate) fn forget_broker(&self) {
        self.forget_broker_with(self.noted_config());
    }

    /// Forgets the process, with this note of the configuration in the place of its own.
    pub(crate) fn forget_broker_with(&self, own_config: Option<bool>) {
        match own_config {
            // The record that stays when this fails says the same of a process that has ended.
            Some(false) => {
                let none = ProcessRecord::of_none(false);
                let _ = none.write(&self.nats().join(PID_FILE));
            }
            _ => remove_pid_file(&self.nats()),
        }
    }

    pub(crate) fn host_folder(&self, id: &str) -> PathBuf {
        self.root.join("hosts").join(id)
    }

    pub(crate) fn record_host(&self, id: &str, process: ProcessRecord) -> io::Result<HostEntry> {
        let folder = self.host_folder(id);
        process.write(&folder.join(PID_FILE))?;
        Ok(HostEntry {
            id: id.to_owned(),
            folder,
            process,
        })
    }

    /// Every host with a pid file, whether it lives or not.
    pub(crate) fn hosts(&self) -> Vec<HostEntry> {
        let mut hosts: Vec<HostEntry> = folders(&self.root.join("hosts"))
            .filter_map(|(id, folder)| {
                let process = ProcessRecord::read(&folder.join(PID_FILE))?;
                Some(HostEntry {
                    id: id?,
                    folder,
                    process,
                })
            })
            .collect();
        hosts.sort_by_key(|host| (host.process.start_time, host.id.clone()));
        hosts
    }

    /// The hosts that run now.
    pub(crate) fn live_hosts(&self) -> Vec<HostEntry> {
        self.hosts()
            .into_iter()
            .filter(|host| host.process.is_alive())
            .collect()
    }

    /// Removes folders of hosts that ended long ago, so that logs do not pile up.
    pub(crate) fn prune_ended_hosts(&self, keep: usize) {
        let live: Vec<PathBuf> = self
            .live_hosts()
            .into_iter()
            .map(|host| host.folder)
            .collect();
        let mut ended: Vec<(std::time::SystemTime, PathBuf)> = folders(&self.root.join("hosts"))
            .filter(|(_, folder)| !live.contains(folder))
            .filter_map(|(_, folder)| Some((folder.metadata().ok()?.modified().ok()?, folder)))
            .collect();
        ended.sort();
        let surplus = ended.len().saturating_sub(keep);
        for (_, folder) in ended.into_iter().take(surplus) {
            // A folder that stays costs a little space and is tried again next time.
            let _ = fs::remove_dir_all(folder);
        }
    }

    /// Where this lattice's NATS server listens, while something of the lattice runs here.
    pub(crate) fn address(&self) -> Option<LocalAddress> {
        let running = self.broker().is_some() || !self.live_hosts().is_empty();
        if running {
            self.recorded_address()
        } else {
            None
        }
    }

    /// Where it listened when the lattice was last started.
    pub(crate) fn recorded_address(&self) -> Option<LocalAddress> {
        let bytes = fs::read(self.root.join("lattice.json")).ok()?;
        serde_json::from_slice(&bytes).ok()
    }

    /// The host at which a server of its own listens, which is of this machine.
    pub(crate) fn own_host(&self) -> ServerAddress {
        let recorded = self.recorded_address().map(|address| address.server);
        let of_here = recorded.filter(ServerAddress::is_local);
        of_here.unwrap_or_else(|| ServerAddress::of(DEFAULT_HOST))
    }

    pub(crate) fn record_address(&self, address: &LocalAddress) -> Result<()> {
        let path = self.root.join("lattice.json");
        let bytes = serde_json::to_vec(address).expect("an address is plain data");
        create_folder(&self.root)?;
        crate::files::write_private(&path, &bytes)
            .map_err(|error| CliError::io(format!("could not write `{}`", path.display()), &error))
    }
}

/// Makes a folder with everything above it.
pub(crate) fn create_folder(path: &Path) -> Result<()> {
    fs::create_dir_all(path).map_err(|error| {
        CliError::io(
            format!("could not create the folder `{}`", path.display()),
            &error,
        )
        .hint("set WASH_DATA_DIR to a folder you may write to")
    })
}

/// The same for a folder that only its owner may look into.
pub(crate) fn create_private_folder(path: &Path) -> Result<()> {
    create_folder(path)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        fs::set_permissions(path, fs::Permissions::from_mode(0o700)).map_err(|error| {
            CliError::io(
                format!("could not protect the folder `{}`", path.display()),
                &error,
            )
        })?;
    }
    Ok(())
}

fn remove_pid_file(folder: &Path) {
    // A stale file is harmless: its start time no longer matches.
    let _ = fs::remove_file(folder.join(PID_FILE));
}

fn folders(parent: &Path) -> impl Iterator<Item = (Option<String>, PathBuf)> {
    fs::read_dir(parent)
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| path.is_dir())
        .map(|path| {
            (
                path.file_name()
                    .and_then(|name| name.to_str())
                    .map(str::to_owned),
                path,
            )
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_a_lattice_is_stays_as_other_versions_note_it() {
        let folder = tempfile::tempdir().unwrap();
        let dir = LatticeDir::at("x", folder.path());
        let file = folder.path().join("lattice.json");
        for host in [
            "127.0.0.1",
            "tls://127.0.0.1",
            "[::1]",
            "::1",
            "127.1",
            "word@a",
        ] {
            let text = format!(r#"{{"nats_host":"{host}","nats_port":4333,"wanted_port":4222}}"#);
            fs::write(&file, &text).unwrap();
            let address = dir.recorded_address().unwrap();
            assert_eq!(address.server.port(), 4333, "{host}");
            dir.record_address(&address).unwrap();
            assert_eq!(fs::read_to_string(&file).unwrap(), text);
        }
        let text = r#"{"nats_host":"a","nats_port":1,"wanted_port":1,"access":{"creds":"/c","ca":"/ca","cluster":null},"own":true}"#;
        fs::write(&file, text).unwrap();
        let address = dir.recorded_address().unwrap();
        dir.record_address(&address).unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), text);
    }

    #[test]
    fn whose_configuration_it_was_is_known_when_the_server_is_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let dir = LatticeDir::at("x", folder.path());
        create_folder(&dir.nats()).unwrap();
        let started = |own_config| {
            let server = ProcessRecord {
                own_config,
                ..ProcessRecord::of(std::process::id(), 41222).unwrap()
            };
            dir.record_broker(&server).unwrap();
        };
        // As older versions have it: no file of ours, and no note.
        started(None);
        assert!(!dir.has_own_config());
        fs::write(dir.nats_config(), "").unwrap();
        assert!(dir.has_own_config());
        // A file that lies where ours would be may be the user's.
        started(Some(false));
        assert!(dir.broker().is_some() && !dir.has_own_config());
        dir.forget_broker();
        assert!(dir.broker().is_none() && !dir.has_own_config());
        started(Some(true));
        assert!(dir.has_own_config());
        dir.forget_broker();
        assert!(dir.broker().is_none() && dir.has_own_config());
        // One that never came up has stored nothing.
        started(Some(false));
        dir.forget_broker_with(None);
        assert!(dir.broker().is_none() && dir.has_own_config());
    }

    #[test]
    fn a_port_behind_the_host_is_that_of_the_server() {
        let folder = tempfile::tempdir().unwrap();
        let dir = LatticeDir::at("x", folder.path());
        let old = r#"{"nats_host":"tls://[::1]:4333","nats_port":4222,"wanted_port":4222}"#;
        fs::write(folder.path().join("lattice.json"), old).unwrap();
        let server = dir.recorded_address().unwrap().server;
        assert_eq!((server.host(), server.port()), ("::1", 4333));
        assert_eq!(server.host_text(), "tls://[::1]");
    }
}
