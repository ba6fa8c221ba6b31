//! The host: assembles the owners of its parts, starts them, and drains them.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_nats::ConnectError as NatsConnectError;
use lattice_core::{HostId, InvalidId, LatticeName};
use lattice_rpc::{ConnectError, Peer, PeerConfig};
use lattice_runtime::RuntimeError;
use lattice_store::{LatticeStore, StoreError, StoreOptions};
use tokio::sync::watch;

use crate::config::HostConfig;
use crate::connect::connect;
use crate::identity::Identity;

/// Why a host did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartHostError {
    /// The key is not that of a host.
    #[error("the key of the host is not of the kind for hosts")]
    Key(#[from] InvalidId),
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
    /// The runtime could not be set up.
    #[error("could not set up the runtime for components")]
    Runtime(#[from] RuntimeError),
}

impl StartHostError {
    /// Whether the lattice could not be reached, as opposed to a wrong setting.
    pub fn is_unreachable(&self) -> bool {
        matches!(
            self,
            Self::Connect { .. } | Self::ConnectTimeout { .. } | Self::Rpc(_) | Self::Store(_)
        )
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        let text = match self {
            Self::Connect { .. } | Self::ConnectTimeout { .. } => {
                "check `--nats-host` and `--nats-port`, and that a nats-server runs there; \
                 `wash up` starts one"
            }
            Self::Store(error) => error.hint()?,
            Self::Key(_) => "use a seed that starts with `SN`",
            Self::Rpc(_) | Self::Runtime(_) => return None,
        };
        Some(text.to_owned())
    }
}

/// Why a host stops.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum StopReason {
    /// The process received this signal.
    Signal(&'static str),
    /// Somebody sent `host.stop`.
    Command,
    /// The program that holds the host asked for it.
    Program,
}

impl fmt::Display for StopReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Signal(name) => f.write_str(name),
            Self::Command => f.write_str("host.stop"),
            Self::Program => f.write_str("stopped by its program"),
        }
    }
}

/// The wish that a host stops.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StopRequest {
    /// Why.
    pub reason: StopReason,
    /// How long calls under way may take; the host's own setting when left out.
    pub timeout: Option<Duration>,
}

impl StopRequest {
    /// A request that leaves the time to the host's settings.
    pub fn now(reason: StopReason) -> Self {
        Self { reason, timeout: None }
    }
}

/// A running host.
///
/// Dropping it ends everything at once, as a crash would; [`Host::drain`] is the orderly way.
#[derive(Debug)]
pub struct Host {
    identity: Arc<Identity>,
    peer: Peer,
    ctl: async_nats::Client,
    stop: watch::Receiver<Option<StopRequest>>,
}

impl Host {
    /// Connects, loads the state of the lattice, and starts to serve it.
    ///
    /// When it returns, the host answers control requests and has told the lattice that it is
    /// there.
    ///
    /// # Errors
    ///
    /// [`StartHostError`], within 10 s when NATS cannot be reached.
    pub async fn start(config: HostConfig) -> Result<Self, StartHostError> {
        let identity = Arc::new(Identity::new(
            &config.key,
            config.friendly_name.clone(),
            config.lattice.clone(),
        )?);
        let (ctl, rpc) = tokio::try_join!(
            connect("control", &config.ctl, config.rpc_timeout),
            connect("calls", &config.rpc, config.rpc_timeout),
        )?;
        let _store = LatticeStore::open(ctl.clone(), &config.lattice, store_options(&config)).await?;
        let peer = Peer::new(rpc, PeerConfig::default()).await?;
        let (_request, stop) = watch::channel(None);
        Ok(Self { identity, peer, ctl, stop })
    }

    /// The id of the host.
    pub fn id(&self) -> &HostId {
        &self.identity.id
    }

    /// The lattice it belongs to.
    pub fn lattice(&self) -> &LatticeName {
        &self.identity.lattice
    }

    /// Waits until somebody in the lattice asks the host to stop.
    pub async fn stop_requested(&self) -> StopRequest {
        let mut stop = self.stop.clone();
        match stop.wait_for(Option::is_some).await.as_deref() {
            Ok(Some(request)) => request.clone(),
            // The sender lives as long as the control server.
            _ => std::future::pending().await,
        }
    }

    /// Stops in an orderly way: takes nothing new, finishes calls, shuts providers down, says
    /// goodbye.
    pub async fn drain(self, _request: StopRequest) {
        self.peer.close().await;
        if let Err(error) = self.ctl.flush().await {
            tracing::warn!(%error, "could not flush the last messages");
        }
    }
}

fn store_options(config: &HostConfig) -> StoreOptions {
    StoreOptions {
        js_domain: config.js_domain.clone(),
        replicas: config.store_replicas,
        ..StoreOptions::default()
    }
}
