//! One run of the server process.

use std::fs::File;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde::Deserialize;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::{NatsBoxError, NatsBoxOptions, find_server};

/// Pause between two looks at a starting server.
const POLL: Duration = Duration::from_millis(10);

/// A server process that is killed and reaped when dropped.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both fail only when the process is gone already, which is the goal.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Server {
    /// Starts a server in `dir` and waits until it answers; without `port` it takes a free one.
    pub(crate) async fn launch(
        dir: &Path,
        options: &NatsBoxOptions,
        port: Option<u16>,
        deadline: Instant,
    ) -> Result<(Self, u16), NatsBoxError> {
        let mut server = spawn(dir, options, port)?;
        let ports_file = dir.join(format!("nats-server_{}.ports", server.child.id()));
        loop {
            if let Some(status) = server
                .child
                .try_wait()
                .map_err(|source| NatsBoxError::Folder { source })?
            {
                return Err(NatsBoxError::Exited {
                    status,
                    log: read_log(dir),
                });
            }
            if let Some(port) = announced_port(&ports_file)
                && answers(port, options.tls_first).await
            {
                return Ok((server, port));
            }
            if Instant::now() >= deadline {
                return Err(NatsBoxError::NotReady { log: read_log(dir) });
            }
            tokio::time::sleep(POLL).await;
        }
    }
}

/// Folder of the JetStream files below a box's folder.
pub(crate) fn store_dir(dir: &Path) -> PathBuf {
    dir.join("store")
}

/// The server's log, empty when it has written nothing.
pub(crate) fn read_log(dir: &Path) -> String {
    std::fs::read_to_string(log_file(dir)).unwrap_or_default()
}

pub(crate) fn log_file(dir: &Path) -> PathBuf {
    dir.join("server.log")
}

fn spawn(dir: &Path, options: &NatsBoxOptions, port: Option<u16>) -> Result<Server, NatsBoxError> {
    let path = match &options.program {
        Some(program) => program.clone(),
        None => find_server()?,
    };
    let config = dir.join("server.conf");
    let folder = |source| NatsBoxError::Folder { source };
    std::fs::write(&config, config_text(dir, options, port)).map_err(folder)?;
    let log = File::create(log_file(dir)).map_err(folder)?;
    let child = Command::new(&path)
        .arg("--config")
        .arg(&config)
        .arg("--ports_file_dir")
        .arg(dir)
        .stdin(Stdio::null())
        .stdout(log.try_clone().map_err(folder)?)
        .stderr(log)
        .spawn()
        .map_err(|source| NatsBoxError::Spawn { path, source })?;
    Ok(Server { child })
}

fn config_text(dir: &Path, options: &NatsBoxOptions, port: Option<u16>) -> String {
    // -1 makes the server take a free port itself and write it to the ports file,
    // so that no other process can grab it in between.
    let port = port.map_or_else(|| "-1".to_owned(), |port| port.to_string());
    let mut text = format!("host: \"{}\"\nport: {port}\n", Ipv4Addr::LOCALHOST);
    text.push_str(&format!(
        "jetstream {{\n  store_dir: {:?}\n",
        store_dir(dir)
    ));
    if let Some(domain) = &options.js_domain {
        text.push_str(&format!("  domain: {domain:?}\n"));
    }
    text.push_str("}\n");
    if let Some(max) = options.max_payload {
        text.push_str(&format!("max_payload: {max}\n"));
    }
    text.push_str(&options.extra_config);
    text
}

/// What the server writes about its listeners.
#[derive(Deserialize)]
struct Ports {
    nats: Vec<String>,
}

fn announced_port(ports_file: &Path) -> Option<u16> {
    // The file may be missing or half written: look again later.
    let text = std::fs::read(ports_file).ok()?;
    let ports: Ports = serde_json::from_slice(&text).ok()?;
    ports.nats.first()?.rsplit(':').next()?.parse().ok()
}

/// Whether the server greets a new connection, or takes it where it waits for TLS.
async fn answers(port: u16, is_silent: bool) -> bool {
    let Ok(mut stream) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await else {
        return false;
    };
    if is_silent {
        return true;
    }
    let mut greeting = [0; 4];
    let read = stream.read_exact(&mut greeting);
    matches!(
        tokio::time::timeout(Duration::from_secs(1), read).await,
        Ok(Ok(_))
    ) && &greeting == b"INFO"
}
