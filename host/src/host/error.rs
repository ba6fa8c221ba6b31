//! Why a host did not start.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use async_nats::ConnectError as NatsConnectError;
use lattice_claims::TokenError;
use lattice_control::ServerError;
use lattice_core::InvalidId;
use lattice_core::host::InvalidLabelKey;
use lattice_nats::connection::ConnectionError;
use lattice_rpc::ConnectError;
use lattice_runtime::RuntimeError;
use lattice_store::StoreError;

use crate::trust::StartPolicyError;

/// Why a host did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartHostError {
    /// The key is not that of a host.
    #[error("the key of the host is not of the kind for hosts")]
    Key(#[from] InvalidId),
    /// A label cannot be set.
    #[error("could not set the labels of the host")]
    Label(#[from] InvalidLabelKey),
    /// A connection cannot be made so.
    #[error("could not prepare the connection to NATS for {purpose}")]
    Connection {
        /// What the connection is for.
        purpose: &'static str,
        /// Why.
        source: Box<ConnectionError>,
    },
    /// NATS refused the connection.
    #[error("could not connect to NATS at {url} for {purpose}")]
    Connect {
        /// What the connection is for.
        purpose: &'static str,
        /// The address.
        url: String,
        /// Why.
        source: NatsConnectError,
    },
    /// NATS did not answer in time.
    #[error("NATS at {url} did not answer within {within:?}, needed for {purpose}")]
    ConnectTimeout {
        /// What the connection is for.
        purpose: &'static str,
        /// The address.
        url: String,
        /// How long was waited.
        within: Duration,
    },
    /// Calls cannot be carried.
    #[error("could not subscribe for calls")]
    Rpc(#[from] ConnectError),
    /// The lattice store could not be opened.
    #[error("could not open the store of the lattice")]
    Store(#[from] StoreError),
    /// The store did not deliver what it holds.
    #[error("the store of the lattice delivered nothing of its state within {within:?}")]
    State {
        /// How long was waited.
        within: Duration,
    },
    /// The host could not sign its own token.
    #[error("could not sign the token of the host")]
    Token(#[from] TokenError),
    /// Changes of decisions cannot be received.
    #[error("could not take the policy service into use")]
    Policy(#[from] StartPolicyError),
    /// Control requests cannot be received.
    #[error("could not serve the control interface")]
    Control(#[from] ServerError),
    /// The system gives no threads.
    #[error("could not start the threads for long calls")]
    Threads(#[source] io::Error),
    /// The runtime could not be set up.
    #[error("could not set up the runtime for components")]
    Runtime(#[from] RuntimeError),
    /// The thread that starts providers could not be started.
    #[error("could not start the thread that starts providers")]
    Spawner(#[source] io::Error),
    /// The log of the NATS server cannot be read.
    #[error("could not read the log of the NATS server, `{}`", path.display())]
    BusLog {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The address of the health endpoints cannot be used.
    #[error("could not listen on {address} for health requests")]
    Admin {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
}

impl StartHostError {
    /// Whether the lattice could not be reached, as opposed to a wrong setting.
    pub fn is_unreachable(&self) -> bool {
        matches!(
            self,
            Self::Connect { .. }
                | Self::ConnectTimeout { .. }
                | Self::Rpc(_)
                | Self::Store(_)
                | Self::State { .. }
                | Self::Control(_)
                | Self::Policy(_)
        )
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        let text = match self {
            Self::Connect { .. } | Self::ConnectTimeout { .. } => {
                "check `--nats-host` and `--nats-port`, and that a nats-server runs there; \
                 `wash up` starts one"
            }
            Self::Connection { source, .. } => source.hint(),
            Self::Store(error) => error.hint()?,
            Self::Label(error) => error.hint(),
            Self::Threads(_) => {
                "allow this user more threads (`ulimit -u`, or the unit's TasksMax)"
            }
            Self::Key(_) => "use a seed that starts with `SN`",
            Self::State { .. } => "check that JetStream is enabled on the NATS server",
            Self::Admin { .. } => "choose another `--http-admin` address",
            Self::BusLog { .. } => {
                "check that the server writes it (`log_file` in its configuration) and that this \
                 user may read it"
            }
            Self::Policy(_) => {
                "check that the host may subscribe to the subject of `--policy-changes-topic`"
            }
            Self::Rpc(_)
            | Self::Control(_)
            | Self::Runtime(_)
            | Self::Spawner(_)
            | Self::Token(_) => return None,
        };
        Some(text.to_owned())
    }
}
