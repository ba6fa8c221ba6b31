//! Host processes: `wash host`, one per host, each with its own log and pid file.

use std::fs::File;
use std::io;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use lattice_claims::{KeyKind, SigningKey};
use lattice_core::HostId;
use tokio::process::{Child, Command};
use tokio::time::Instant;

use super::args::Args;
use super::broker::{open_log, own_group};
use super::connections::Sides;
use super::secure::Secure;
use super::server::is_program;
use crate::connection::{Lattice, Settings};
use crate::error::{CliError, Code, Result};
use crate::files::last_lines;
use crate::lattice_dir::{HostEntry, LatticeDir, create_folder};
use crate::process::ProcessRecord;

/// How long one question to a starting host may take.
const QUESTION: Duration = Duration::from_millis(500);
/// How long to wait before asking again.
const PAUSE: Duration = Duration::from_millis(50);
const SHOWN_LINES: usize = 10;

/// What is needed to start hosts.
#[derive(Debug)]
pub(super) struct Start<'a> {
    pub(super) args: &'a Args,
    pub(super) settings: &'a Settings,
    /// The port of the server of this machine that these lead to.
    pub(super) local_port: Option<u16>,
    pub(super) sides: &'a Sides,
    pub(super) dir: &'a LatticeDir,
    pub(super) secure: Option<&'a Secure>,
}

/// A host process of this run.
#[derive(Debug)]
pub(super) struct HostProcess {
    pub(super) entry: HostEntry,
    child: Child,
    ended: bool,
}

/// The host processes of this run.
#[derive(Debug, Default)]
pub(super) struct Hosts(Vec<HostProcess>);

impl Start<'_> {
    /// Starts one host for each set of labels. What was started is also put into `started`.
    pub(super) fn spawn(
        &self,
        labels: Vec<Vec<(String, String)>>,
        started: &mut Vec<HostEntry>,
    ) -> Result<Hosts> {
        if self.args.host.host_seed.is_some() && labels.len() > 1 {
            return Err(
                CliError::new(Code::Usage, "one seed cannot be the key of several hosts")
                    .hint("leave out `--host-seed`; each host then makes its own key"),
            );
        }
        if self.args.host.host_log_path.is_some() && labels.len() > 1 {
            return Err(CliError::new(
                Code::Usage,
                "one file cannot hold the logs of several hosts",
            )
            .hint("leave out `--host-log-path`; each host then has a log of its own"));
        }
        let mut hosts = Hosts::default();
        for labels in labels {
            let host = self.spawn_one(&labels)?;
            started.push(host.entry.clone());
            hosts.0.push(host);
        }
        Ok(hosts)
    }

    fn spawn_one(&self, labels: &[(String, String)]) -> Result<HostProcess> {
        let (id, seed) = self.key()?;
        self.refuse_running(&id)?;
        let folder = self.dir.host_folder(&id);
        create_folder(&folder)?;
        let log = self.open_log(&folder.join("host.log"))?;
        let also = log
            .try_clone()
            .map_err(|error| CliError::io("could not share a log", &error))?;
        let mut command = self.program()?;
        command.env("WASMCLOUD_LATTICE", self.settings.lattice.as_str());
        // Logs go to files, which no terminal colours.
        command.env("NO_COLOR", "1");
        // Seeds go by environment: arguments are visible to every user of the machine.
        command.env("WASMCLOUD_HOST_SEED", seed);
        command.envs(self.secure.map(Secure::variables).unwrap_or_default());
        // Of those that read it one tells the lattice what the server refuses.
        if self.secure.is_some() {
            command.env("LATTICE_NATS_SERVER_LOG", self.dir.nats_log());
        }
        command.envs(self.variables());
        for (key, value) in labels {
            command.arg("--label").arg(format!("{key}={value}"));
        }
        command.stdin(Stdio::null()).stdout(log).stderr(also);
        own_group(&mut command);
        let mut child = command.spawn().map_err(|error| {
            let program = command.as_std().get_program().display();
            CliError::io(format!("could not start a host with `{program}`"), &error)
        })?;
        match self.record(&id, &child) {
            Ok(entry) => Ok(HostProcess {
                entry,
                child,
                ended: false,
            }),
            Err(error) => {
                // Without a pid file nobody would find it again.
                let _ = child.start_kill();
                Err(error)
            }
        }
    }

    /// Two hosts of one key would be one to the lattice, and the record of the second would hide the
    /// first.
    fn refuse_running(&self, id: &str) -> Result<()> {
        if self.dir.live_hosts().iter().all(|host| host.id != id) {
            return Ok(());
        }
        let text = format!("host `{id}`, whose seed this is, runs already");
        Err(CliError::new(Code::Usage, text).hint(
            "leave out `--host-seed` or unset WASMCLOUD_HOST_SEED: each host then makes its own key",
        ))
    }

    /// What a host is told of what this command goes by. A secure lattice has its own way in for
    /// hosts, and its own cluster, whose seed is in a file.
    fn variables(&self) -> Vec<(String, String)> {
        let host = &self.args.host;
        let shared = match self.secure {
            Some(_) => None,
            None => self.settings.cluster.as_ref(),
        };
        // A server that was started here has the domain of its flag, whatever the context names.
        let domain = match self.dir.broker() {
            Some(_) => host.wasmcloud_js_domain.as_deref(),
            None => self.settings.js_domain.as_deref(),
        };
        host.variables(self.sides, shared, domain)
    }

    /// This program as a host, or the one that is named, which is a host already.
    fn program(&self) -> Result<Command> {
        if let Some(path) = &self.args.host.host_path {
            if is_program(path) {
                // A bare name would be looked for on PATH, and this one names a file.
                let full = path.canonicalize().map_err(|error| {
                    let text = format!("could not find the full path of `{}`", path.display());
                    CliError::io(text, &error)
                })?;
                return Ok(Command::new(full));
            }
            let text = format!("`{}` is not the program of a host", path.display());
            return Err(CliError::new(Code::FileNotFound, text)
                .hint("name an executable file, or leave out `--host-path` to run this program"));
        }
        let own = std::env::current_exe()
            .map_err(|error| CliError::io("could not find this program", &error))?;
        let mut command = Command::new(own);
        command.arg("host");
        Ok(command)
    }

    /// Opens the log, or the file that is named; that one is linked to from where logs are.
    fn open_log(&self, usual: &Path) -> Result<File> {
        let Some(named) = &self.args.host.host_log_path else {
            return open_log(usual);
        };
        let what = format!("could not write the log `{}`", named.display());
        let link = || -> io::Result<File> {
            let file = File::options().create(true).append(true).open(named)?;
            match std::fs::remove_file(usual) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => std::os::unix::fs::symlink(named.canonicalize()?, usual)?,
            }
            Ok(file)
        };
        link().map_err(|error| {
            CliError::io(what, &error).hint("give `--host-log-path` a file in a folder that exists")
        })
    }

    fn record(&self, id: &str, child: &Child) -> Result<HostEntry> {
        let io = |error| CliError::io("could not write the pid file of a host", &error);
        let pid = child
            .id()
            .ok_or_else(|| died(id, "it ended at once", &[]))?;
        let record = ProcessRecord {
            // A port elsewhere would be taken for that of a server here.
            port: self.local_port,
            ..ProcessRecord::of(pid, self.settings.server.port()).map_err(io)?
        };
        self.dir.record_host(id, record).map_err(io)
    }

    /// The id and the seed of the next host.
    fn key(&self) -> Result<(String, String)> {
        let key = match &self.args.host.host_seed {
            None => SigningKey::generate(KeyKind::Host),
            Some(seed) => SigningKey::from_seed(seed)
                .and_then(|key| key.expect_kind(KeyKind::Host))
                .map_err(|error| {
                    CliError::new(Code::Usage, "the host seed is not the seed of a host")
                        .caused_by(&error)
                        .hint("a host seed starts with `SN`")
                })?,
        };
        Ok((key.public_key(), key.seed().expose().to_owned()))
    }
}

impl Hosts {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn entries(&self) -> Vec<HostEntry> {
        self.0.iter().map(|host| host.entry.clone()).collect()
    }

    /// Waits until every host answers.
    pub(super) async fn until_ready(&mut self, lattice: &Lattice, limit: Duration) -> Result<()> {
        let deadline = Instant::now() + limit;
        for host in &mut self.0 {
            host.until_ready(lattice, deadline, limit).await?;
        }
        Ok(())
    }

    /// Hosts that ended since the last look.
    pub(super) fn newly_ended(&mut self) -> Vec<(String, ExitStatus)> {
        self.0
            .iter_mut()
            .filter_map(HostProcess::newly_ended)
            .collect()
    }

    pub(super) fn all_ended(&self) -> bool {
        self.0.iter().all(|host| host.ended)
    }
}

impl HostProcess {
    async fn until_ready(
        &mut self,
        lattice: &Lattice,
        deadline: Instant,
        limit: Duration,
    ) -> Result<()> {
        let id = HostId::new(&self.entry.id).map_err(|error| {
            CliError::new(Code::Unexpected, "could not read the id of a host").caused_by(&error)
        })?;
        while Instant::now() < deadline {
            if let Some((_, status)) = self.newly_ended() {
                let log = last_lines(&self.entry.log(), SHOWN_LINES);
                return Err(died(id.as_str(), &status.to_string(), &log)
                    .hint(format!("its log is {}", self.entry.log().display())));
            }
            if lattice.host_answers(&id, QUESTION).await {
                return Ok(());
            }
            tokio::time::sleep(PAUSE).await;
        }
        let mut error = CliError::new(Code::HostsNotReady, format!("host `{id}` does not answer"))
            .cause(format!("it was given {limit:?}"));
        for line in last_lines(&self.entry.log(), SHOWN_LINES) {
            error = error.cause(line);
        }
        Err(error.hint(format!("its log is {}", self.entry.log().display())))
    }

    fn newly_ended(&mut self) -> Option<(String, ExitStatus)> {
        if self.ended {
            return None;
        }
        let status = self.child.try_wait().ok()??;
        self.ended = true;
        self.entry.forget();
        Some((self.entry.id.clone(), status))
    }
}

/// A host that ended by itself.
pub(super) fn died(id: &str, status: &str, log: &[String]) -> CliError {
    let mut error = CliError::new(Code::HostDied, format!("host `{id}` ended")).cause(status);
    for line in log {
        error = error.cause(line.as_str());
    }
    error
}
