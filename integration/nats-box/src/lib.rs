//! A private `nats-server` for one test: its own port, its own store, gone when dropped.
//!
//! ```no_run
//! # async fn demo() -> Result<(), lattice_nats_box::NatsBoxError> {
//! let mut nats = lattice_nats_box::NatsBox::start().await?;
//! let client = nats.client().await?;
//! nats.restart().await?; // same port, same store; clients reconnect
//! # drop(client); Ok(()) }
//! ```

mod authority;
mod binary;
mod error;
mod middleman;
mod ports;
mod process;

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

use async_nats::ConnectOptions;
use futures::StreamExt as _;
use tempfile::TempDir;
use tokio::time::Instant;

pub use authority::Authority;
pub use binary::{find_old_server, find_server};
pub use error::NatsBoxError;
pub use middleman::Middleman;
pub use ports::free_port;
use process::Server;

/// How long a server may take until it answers.
///
/// Generous, since a test machine may compile at the same time.
const READY_DEADLINE: Duration = Duration::from_secs(20);

/// What differs from a plain server with JetStream.
#[derive(Debug, Clone, Default)]
pub struct NatsBoxOptions {
    /// The program, when it is not the one of [`find_server`].
    pub program: Option<PathBuf>,
    /// Largest message the server takes, in bytes.
    pub max_payload: Option<usize>,
    /// JetStream domain.
    pub js_domain: Option<String>,
    /// Further lines for the server's configuration file, such as an `authorization` block.
    pub extra_config: String,
    /// Whether these say that TLS begins before the server greets.
    pub tls_first: bool,
    /// The text of a credentials file for the clients of the box.
    pub credentials: Option<String>,
    /// For clients of the box that show a certificate.
    pub tls: Option<ClientTls>,
}

/// What a client shows of itself, and whom it trusts: PEM files.
#[derive(Debug, Clone)]
pub struct ClientTls {
    /// The authority of the server.
    pub ca: PathBuf,
    /// The certificate.
    pub cert: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

impl NatsBoxOptions {
    /// A server that takes those in who know the password, such as `nats://USER:PASSWORD@…`.
    #[must_use]
    pub fn private(user: &str, password: &str) -> Self {
        Self {
            extra_config: format!("authorization {{ user: {user}, password: {password} }}"),
            ..Self::default()
        }
    }
}

/// A running `nats-server` with JetStream on a free port of the loopback address.
#[derive(Debug)]
pub struct NatsBox {
    /// Address for clients, such as `nats://127.0.0.1:41234`; stays the same over restarts.
    pub url: String,
    /// The port in [`NatsBox::url`].
    pub port: u16,
    options: NatsBoxOptions,
    // Before `dir`: the process has to be gone when its folder is removed.
    server: Option<Server>,
    dir: TempDir,
}

impl NatsBox {
    /// Starts a server with JetStream and waits until it answers.
    ///
    /// # Errors
    ///
    /// Fails when there is no `nats-server` or when it does not get ready in time.
    pub async fn start() -> Result<Self, NatsBoxError> {
        Self::start_with(NatsBoxOptions::default()).await
    }

    /// Starts a server with `options` and waits until it answers.
    ///
    /// # Errors
    ///
    /// Fails when there is no `nats-server` or when it does not get ready in time.
    pub async fn start_with(options: NatsBoxOptions) -> Result<Self, NatsBoxError> {
        let dir = tempfile::Builder::new()
            .prefix("lattice-nats-")
            .tempdir()
            .map_err(|source| NatsBoxError::Folder { source })?;
        let (server, port) = Server::launch(dir.path(), &options, None, deadline()).await?;
        let url = format!("nats://{}:{port}", Ipv4Addr::LOCALHOST);
        Ok(Self {
            url,
            port,
            options,
            server: Some(server),
            dir,
        })
    }

    /// Connects a client.
    ///
    /// # Errors
    ///
    /// Fails when the server is stopped or refuses the connection.
    pub async fn client(&self) -> Result<async_nats::Client, NatsBoxError> {
        let options = match &self.options.credentials {
            Some(text) => {
                let options = ConnectOptions::with_credentials(text);
                options.map_err(|source| NatsBoxError::Folder { source })?
            }
            None => ConnectOptions::new(),
        };
        let options = match &self.options.tls {
            Some(tls) => options
                .add_root_certificates(tls.ca.clone())
                .add_client_certificate(tls.cert.clone(), tls.key.clone()),
            None => options,
        };
        options
            .connect(&self.url)
            .await
            .map_err(|source| NatsBoxError::Connect {
                url: self.url.clone(),
                source,
            })
    }

    /// Kills the server and keeps its port and store for [`NatsBox::restart`].
    ///
    /// Clients notice a broken connection, as after a crash.
    pub fn stop(&mut self) {
        self.server = None;
    }

    /// Starts the server again on the same port with the same store, stopping it first if needed.
    ///
    /// # Errors
    ///
    /// Fails when the server does not get ready in time.
    pub async fn restart(&mut self) -> Result<(), NatsBoxError> {
        self.stop();
        let path = self.dir.path();
        let (server, _) = Server::launch(path, &self.options, Some(self.port), deadline()).await?;
        self.server = Some(server);
        Ok(())
    }

    /// Starts the server again on the same port with an empty store.
    ///
    /// # Errors
    ///
    /// Fails when the store cannot be removed or the server does not get ready in time.
    pub async fn restart_wiped(&mut self) -> Result<(), NatsBoxError> {
        self.stop();
        let store = process::store_dir(self.dir.path());
        if store.exists() {
            std::fs::remove_dir_all(&store).map_err(|source| NatsBoxError::Folder { source })?;
        }
        self.restart().await
    }

    /// What the server has logged since its last start.
    #[must_use]
    pub fn log(&self) -> String {
        process::read_log(self.dir.path())
    }

    /// The file that it logs to, which each start begins anew.
    #[must_use]
    pub fn log_file(&self) -> PathBuf {
        process::log_file(self.dir.path())
    }
}

fn deadline() -> Instant {
    Instant::now() + READY_DEADLINE
}
/// How long [`taken_in`] waits.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// Waits until the server has taken in everything that `client` has sent so far, subscriptions
/// above all.
///
/// A flush of the client only says that it was written. The server keeps the order of a
/// connection: once a message to ourselves has come back, it knows the rest.
///
/// # Errors
///
/// [`NatsBoxError::Silent`] when it does not come back.
#[expect(clippy::disallowed_methods, reason = "the inbox is its own")]
pub async fn taken_in(client: &async_nats::Client) -> Result<(), NatsBoxError> {
    let round = async {
        let inbox = client.new_inbox();
        let mut own = client.subscribe(inbox.clone()).await.ok()?;
        client.publish(inbox, Default::default()).await.ok()?;
        own.next().await
    };
    match tokio::time::timeout(ANSWER_WITHIN, round).await {
        Ok(Some(_)) => Ok(()),
        _ => Err(NatsBoxError::Silent(ANSWER_WITHIN)),
    }
}
