//! Why a test server could not be used.

use std::path::PathBuf;

/// Why a test server could not be started or reached.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NatsBoxError {
    /// No binary in any of the known places.
    #[error("no `nats-server` found (looked at {looked_at}); hint: run `cargo xtask setup`")]
    NoServer {
        /// The places that were tried, comma separated.
        looked_at: String,
    },
    /// The server's folder could not be prepared.
    #[error("could not prepare the test server's folder")]
    Folder {
        /// What the file system said.
        source: std::io::Error,
    },
    /// The binary could not be started.
    #[error("could not start `{}`", path.display())]
    Spawn {
        /// The binary.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The server ended before it answered.
    #[error("`nats-server` ended while starting ({status}); its log:\n{log}")]
    Exited {
        /// Exit status.
        status: std::process::ExitStatus,
        /// All it wrote.
        log: String,
    },
    /// The server did not answer in time.
    #[error("`nats-server` was not ready in time; its log:\n{log}")]
    NotReady {
        /// All it wrote.
        log: String,
    },
    /// A client could not connect.
    #[error("could not connect to `{url}`")]
    Connect {
        /// Address of the server.
        url: String,
        /// What the client said.
        source: async_nats::ConnectError,
    },
    /// The server did not answer a client that asked whether it has taken everything in.
    #[error("the server did not answer within {0:?}")]
    Silent(std::time::Duration),
}
