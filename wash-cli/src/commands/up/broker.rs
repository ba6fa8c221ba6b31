//! The NATS server of a local lattice: found running, or started.

mod config;

use std::fs::File;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use lattice_nats::connection::{ServerAddress, without_login};
use tokio::io::AsyncReadExt;
use tokio::process::{Child, Command};
use tokio::time::{Instant, timeout};

use super::args::NatsArgs;
use super::secure::Secure;
use super::server;
use crate::connection::{GREETING, Settings, is_here, leads_to_own, reach};
use crate::error::{CliError, Code, Result};
use crate::files::last_lines;
use crate::lattice_dir::{LatticeDir, create_folder};
use crate::output::Ui;
use crate::process::ProcessRecord;
pub(super) use config::LONGEST_LINE;
use config::{bounds_logs, give_variables, is_needed, is_not_ours, write_config};

/// How long a started server may take until it answers.
const START: Duration = Duration::from_secs(15);
/// How many ports are tried when the usual one is taken.
const PORTS: u16 = 100;
const POLL: Duration = Duration::from_millis(50);
const SHOWN_LINES: usize = 10;

/// What listens at an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Probe {
    Nats,
    Other,
    Nothing,
}

/// A server that can be used.
#[derive(Debug)]
pub(super) struct Broker {
    pub(super) port: u16,
    /// Whether this run started it.
    pub(super) started: bool,
}

/// The server that is wanted.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted<'a> {
    pub(super) args: &'a NatsArgs,
    pub(super) settings: &'a Settings,
    /// Whether another port will not do.
    pub(super) fixed: bool,
    /// What it lets nobody in without.
    pub(super) secure: Option<&'a Secure>,
}

impl Wanted<'_> {
    /// Finds the server at the address, or starts one there, or on a later port.
    pub(super) async fn ensure(&self, dir: &LatticeDir, ui: &Ui) -> Result<Broker> {
        let (args, settings) = (self.args, self.settings);
        let server = &settings.server;
        let found = Broker {
            port: server.port(),
            started: false,
        };
        let own = dir.broker().map(|own| own.port.unwrap_or_default());
        // A server of its own is no part of a cluster, and one elsewhere would part the lattice.
        if let Some(port) = own
            && !self.leads_to_own(dir, port).await
        {
            return Err(elsewhere(dir.name(), port, settings));
        }
        if !is_here(server) || settings.tls.first || !settings.urls.is_empty() {
            if self.secure.is_some() {
                return Err(not_here(settings));
            }
            // Not ours to start; connecting says what is wrong with it.
            return Ok(found);
        }
        let joins_remote = args.nats_remote_url.is_some() && own.is_none();
        // A secure lattice has a server of its own.
        let probe = probe(server).await;
        if probe == Probe::Nats && !joins_remote && (self.secure.is_none() || own.is_some()) {
            return Ok(found);
        }
        if let Some(port) = own {
            return Err(silent(dir, port));
        }
        if args.nats_connect_only {
            let text = format!("no NATS server answers at {}", settings.address());
            return Err(CliError::new(Code::NatsUnreachable, text)
                .hint("check the address; without `--nats-connect-only` a server is started"));
        }
        let port = self.port(probe, ui).await?;
        let server = server.clone().with_port(port);
        let broker = start(args, &server, self.secure, dir).await?;
        self.tell_of_leaf(dir, ui).await;
        Ok(broker)
    }

    /// The port for a server to start, where `probe` is what listens at the one that is wanted.
    async fn port(&self, probe: Probe, ui: &Ui) -> Result<u16> {
        let server = &self.settings.server;
        if probe == Probe::Nothing {
            return Ok(server.port());
        }
        if self.fixed {
            return Err(taken(server, probe));
        }
        let port = free_port(server).await?;
        let wanted = server.port();
        ui.notice(&format!("port {wanted} is taken, using {port} for NATS"));
        Ok(port)
    }

    /// Whether the address is that of the server that the lattice has at this port.
    async fn leads_to_own(&self, dir: &LatticeDir, own: u16) -> bool {
        let server = self.settings.first_server();
        let is_one = self.settings.urls.len() < 2;
        is_one && server.port() == own && leads_to_own(&server, &dir.own_host()).await
    }

    /// A server starts also where the remote that it is to join is not there.
    async fn tell_of_leaf(&self, dir: &LatticeDir, ui: &Ui) {
        let own_config = self.args.nats_config_file.is_some();
        let Some(url) = self.args.nats_remote_url.as_deref().filter(|_| !own_config) else {
            return;
        };
        if let Some(problem) = super::leaf::problem(&dir.nats_log()).await {
            ui.notice(&format!(
                "NATS has not joined {} yet, and goes on trying: {problem}",
                without_login(url)
            ));
        }
    }
}

/// Two servers on one store would destroy it, and only the second could be stopped again.
fn elsewhere(lattice: &str, own: u16, settings: &Settings) -> CliError {
    let port = settings.server.port();
    let is_other_port = own != port && is_here(&settings.server);
    let wanted = match is_other_port && settings.urls.is_empty() {
        true => port.to_string(),
        false => format!("at {}", settings.address()),
    };
    let text = format!("lattice `{lattice}` runs with a NATS server at port {own}, not {wanted}");
    CliError::new(Code::Usage, text).hint(format!(
        "stop it with `{}` first, or leave out the address to use it",
        super::down_command(lattice)
    ))
}

/// The server of the lattice is there, and of no use; another one beside it would not do.
fn silent(dir: &LatticeDir, port: u16) -> CliError {
    let text = format!(
        "the NATS server of lattice `{}` does not answer at port {port}",
        dir.name()
    );
    CliError::new(Code::NatsServerFailed, text).hint(format!(
        "stop it with `{}` first; its log is {}",
        super::down_command(dir.name()),
        dir.nats_log().display()
    ))
}

fn not_here(settings: &Settings) -> CliError {
    let text = format!(
        "`--secure` starts a NATS server here, not at {}",
        settings.address()
    );
    CliError::new(Code::Usage, text).hint("leave out the address, or name one of this machine")
}

fn taken(server: &ServerAddress, probe: Probe) -> CliError {
    let what = match probe {
        Probe::Nats => "another NATS server",
        _ => "another program",
    };
    CliError::new(Code::PortTaken, format!("{what} listens on {server}"))
        .hint("choose another port with `--nats-port`, or leave it out to take the next free one")
}

/// Whether a server could listen there. Nobody answering is not enough: the port may be the near end
/// of somebody's connection.
async fn can_listen(server: &ServerAddress) -> bool {
    let binding = tokio::net::TcpListener::bind((server.host(), server.port()));
    binding.await.is_ok()
}

/// The first port above the wanted one on which nothing listens.
async fn free_port(server: &ServerAddress) -> Result<u16> {
    let wanted = server.port();
    for port in (1..=PORTS).filter_map(|step| wanted.checked_add(step)) {
        let server = server.clone().with_port(port);
        if probe(&server).await == Probe::Nothing && can_listen(&server).await {
            return Ok(port);
        }
    }
    let text = format!("port {wanted} and the {PORTS} ports after it are taken");
    Err(CliError::new(Code::PortTaken, text).hint("choose a port with `--nats-port`"))
}

/// Looks who listens: a NATS server speaks first.
pub(crate) async fn probe(server: &ServerAddress) -> Probe {
    let Some(mut stream) = reach(server).await else {
        return Probe::Nothing;
    };
    let mut greeting = [0; 5];
    match timeout(GREETING, stream.read_exact(&mut greeting)).await {
        Ok(Ok(_)) if &greeting == b"INFO " => Probe::Nats,
        _ => Probe::Other,
    }
}

async fn start(
    args: &NatsArgs,
    server: &ServerAddress,
    secure: Option<&Secure>,
    dir: &LatticeDir,
) -> Result<Broker> {
    let port = server.port();
    let before = dir.noted_config();
    let program = server::find(args.server.nats_server.as_deref())?;
    create_folder(&dir.jetstream())?;
    let config = match &args.nats_config_file {
        Some(path) => path.clone(),
        None => {
            let bounds_logs = bounds_logs(&program).await;
            write_config(args, server, secure, dir, bounds_logs)?
        }
    };
    let log = open_log(&dir.nats_log())?;
    let mut command = Command::new(&program);
    command.arg("--config").arg(&config);
    if args.nats_config_file.is_some() {
        command.args(["-js", "--addr", &server.host_text()]);
        command.args(["--port", &port.to_string()]);
    }
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log);
    // A file of the user's own may name variables.
    let passes = match args.nats_config_file {
        Some(_) => is_not_ours,
        None => is_needed,
    };
    give_variables(&mut command, passes);
    own_group(&mut command);
    let mut child = command.spawn().map_err(|error| {
        let text = format!("could not start `{}`", program.display());
        CliError::new(Code::NatsServerFailed, text).caused_by(&error)
    })?;
    // Recorded before it answers: whoever interrupts us now finds it by its pid file.
    let own_config = args.nats_config_file.is_none();
    let recorded = record(&child, port, own_config, dir);
    let ready = match recorded {
        Ok(()) => until_ready(&mut child, server, dir).await,
        Err(error) => Err(error),
    };
    match ready {
        Ok(()) => Ok(Broker {
            port,
            started: true,
        }),
        Err(error) => {
            // It is no use half started; the first error is the one to report.
            let _ = child.kill().await;
            dir.forget_broker_with(before);
            Err(error)
        }
    }
}

fn record(child: &Child, port: u16, own_config: bool, dir: &LatticeDir) -> Result<()> {
    let pid = child.id().ok_or_else(|| failed(dir, None))?;
    let io = |error| CliError::io("could not write the pid file of nats-server", &error);
    let record = ProcessRecord {
        own_config: Some(own_config),
        ..ProcessRecord::of(pid, port).map_err(io)?
    };
    dir.record_broker(&record).map_err(io)
}

async fn until_ready(child: &mut Child, server: &ServerAddress, dir: &LatticeDir) -> Result<()> {
    let deadline = Instant::now() + START;
    while Instant::now() < deadline {
        if let Ok(Some(status)) = child.try_wait() {
            return Err(failed(dir, Some(status)));
        }
        if probe(server).await == Probe::Nats {
            return Ok(());
        }
        tokio::time::sleep(POLL).await;
    }
    Err(
        CliError::new(Code::NatsServerFailed, "nats-server did not answer")
            .cause(format!("it was given {START:?}"))
            .hint(format!("its log is {}", dir.nats_log().display())),
    )
}

fn failed(dir: &LatticeDir, status: Option<ExitStatus>) -> CliError {
    let status = status.map_or_else(|| "it ended".to_owned(), |status| status.to_string());
    let mut error =
        CliError::new(Code::NatsServerFailed, "nats-server did not start").cause(status);
    for line in last_lines(&dir.nats_log(), SHOWN_LINES) {
        error = error.cause(line);
    }
    error.hint(format!("its log is {}", dir.nats_log().display()))
}

/// A fresh log for each start, to which several may write; the last one is kept beside it.
pub(super) fn open_log(path: &Path) -> Result<File> {
    let io = |error| {
        CliError::io(
            format!("could not write the log `{}`", path.display()),
            &error,
        )
    };
    if path.exists() {
        std::fs::rename(path, path.with_extension("log.old")).map_err(io)?;
    }
    let mut options = File::options();
    options.append(true).create(true).open(path).map_err(io)
}

/// Ctrl-C in the terminal is for `wash`, which then stops its children in order.
pub(super) fn own_group(command: &mut Command) {
    #[cfg(unix)]
    command.process_group(0);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::{Format, Surroundings};
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;

    async fn listener(greeting: &'static [u8]) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                stream.write_all(greeting).await.unwrap();
            }
        });
        port
    }

    #[tokio::test]
    async fn a_nats_server_is_known_by_its_greeting() {
        let at = |port| ServerAddress::of("127.0.0.1").with_port(port);
        let nats = at(listener(b"INFO {}\r\n").await);
        assert_eq!(probe(&nats).await, Probe::Nats);
        let other = at(listener(b"220 smtp\r\n").await);
        assert_eq!(probe(&other).await, Probe::Other);
        let closed = TcpListener::bind("127.0.0.1:0")
            .await
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        assert_eq!(probe(&at(closed)).await, Probe::Nothing);
    }

    pub(super) fn no_args() -> NatsArgs {
        NatsArgs {
            server: server::ServerProgram::default(),
            nats_host: None,
            nats_port: None,
            nats_websocket_port: None,
            nats_js_domain: "core".into(),
            nats_connect_only: false,
            nats_config_file: None,
            nats_remote_url: None,
            nats_credsfile: None,
        }
    }

    #[tokio::test]
    async fn a_lattice_has_one_server() {
        let folder = tempfile::tempdir().unwrap();
        let dir = LatticeDir::at("x", folder.path());
        let own = ProcessRecord::of(std::process::id(), 41222).unwrap();
        create_folder(&dir.nats()).unwrap();
        dir.record_broker(&own).unwrap();
        let ui = Ui::new(Format::Text, false, String::new(), Surroundings::detect());
        let args = no_args();
        for (host, port, code) in [
            ("127.0.0.1", 41333, Code::Usage),
            ("203.0.113.9", 41222, Code::Usage),
            // It leads here, but nobody there says that he is the own server.
            ("127.1", 41222, Code::Usage),
            ("127.0.0.2", 41222, Code::Usage),
            ("127.0.0.1", 41222, Code::NatsServerFailed),
        ] {
            let wanted = Wanted {
                args: &args,
                settings: &Settings::at(host, port),
                fixed: true,
                secure: None,
            };
            let refused = wanted.ensure(&dir, &ui).await.unwrap_err();
            assert_eq!(refused.code(), code, "{refused}");
            assert!(refused.hint_text().unwrap().contains("`wash down -x x`"));
        }
    }
}
