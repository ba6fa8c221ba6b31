//! The host: assembles the owners of its parts, starts them, and drains them.

mod assemble;
mod error;

use std::fmt;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use lattice_control::ServerHandle;
use lattice_core::event::{Event, HostStopped};
use lattice_core::{HostId, LatticeName};
use lattice_nats::connection::Rotation;
use lattice_rpc::{Peer, WatchedThreads};
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};
use tokio_util::task::AbortOnDropHandle;

use crate::admin::Admin;
use crate::bus_errors::BusErrors;
use crate::bus_log::BusLog;
use crate::components::Components;
use crate::config::HostConfig;
use crate::events::Events;
use crate::failures::Failures;
use crate::identity::Identity;
use crate::labels::Labels;
use crate::lines::Lines;
use crate::providers::{LinkStates, Providers};
use crate::refusals::Refusals;
use crate::shared_code::SharedCode;
use crate::threads::LongCalls;
pub use error::StartHostError;

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

/// A request that the host stops.
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
        Self {
            reason,
            timeout: None,
        }
    }
}

/// The least time that is left for the goodbye, whatever was used up before.
const GOODBYE: Duration = Duration::from_secs(2);

/// A running host.
///
/// Dropping it ends everything at once, as a crash would; [`Host::drain`] is the orderly way.
#[derive(Debug)]
pub struct Host {
    identity: Arc<Identity>,
    labels: Arc<Labels>,
    control: ServerHandle,
    components: Arc<Components>,
    providers: Arc<Providers>,
    states: Arc<LinkStates>,
    events: Arc<Events>,
    peer: Peer,
    admin: Option<Admin>,
    stop: watch::Receiver<Option<StopRequest>>,
    drain_timeout: Duration,
    heartbeat: AbortOnDropHandle<()>,
    /// Follows the store.
    _sync: AbortOnDropHandle<()>,
    /// Connect again when files of the connections change.
    _rotations: Vec<Rotation>,
    _failures: Arc<Failures>,
    _refusals: Refusals,
    _deaths: AbortOnDropHandle<()>,
    /// Hears whether other hosts are strict.
    _strict: Option<AbortOnDropHandle<()>>,
    _bus_log: Option<BusLog>,
    _bus_errors: Arc<BusErrors>,
    _gate: Option<WatchedThreads>,
    /// What other hosts are given of what this one compiles.
    _shared_code: Option<Arc<SharedCode>>,
    /// The way to provider processes of this machine.
    _lines: Option<Lines>,
    // Last, so that what runs on them is asked to end before they do.
    _long_calls: LongCalls,
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
        assemble::start(config).await
    }

    /// The id of the host.
    pub fn id(&self) -> &HostId {
        &self.identity.id
    }

    /// The lattice it belongs to.
    pub fn lattice(&self) -> &LatticeName {
        &self.identity.lattice
    }

    #[cfg(test)]
    pub(crate) fn components(&self) -> &Arc<Components> {
        &self.components
    }

    /// Waits until somebody in the lattice asks the host to stop.
    pub async fn stop_requested(&self) -> StopRequest {
        let mut stop = self.stop.clone();
        let request = stop
            .wait_for(Option::is_some)
            .await
            .ok()
            .and_then(|request| request.clone());
        match request {
            Some(request) => request,
            // The sender lives as long as the host, so that this does not happen.
            None => std::future::pending().await,
        }
    }

    /// Stops in an orderly way: takes nothing new, finishes calls, shuts providers down, says
    /// goodbye. Takes no longer than the request allows, apart from a moment for the goodbye.
    pub async fn drain(self, request: StopRequest) {
        let budget = request.timeout.unwrap_or(self.drain_timeout);
        let begun = Instant::now();
        let deadline = begun + budget;
        tracing::info!(reason = %request.reason, ?budget, "stopping");
        if let Some(admin) = &self.admin {
            admin.set_stopping();
        }
        drop(self.heartbeat);
        // First out of all auctions and queue groups, so that nothing new is given to this host.
        self.control.drain(budget.min(GOODBYE)).await;
        // Then the ways in, while what they call still works. One open stream may keep them for as long
        // as they may take: what others call here has its part of the time, too.
        let sources = self.providers.drain_sources(deadline);
        let components = self.components.drain(deadline);
        in_turn(sources, components, begun + budget / 2).await;
        self.providers
            .drain(deadline.max(Instant::now() + GOODBYE / 4))
            .await;
        self.states.reporter().clear(GOODBYE / 2).await;
        // Before the last flush, so that the last answers are part of it.
        self.peer.close().await;
        self.events.publish(Event::HostStopped(HostStopped {
            labels: self.labels.all(),
            reason: Some(request.reason.to_string()),
        }));
        self.events.flush(GOODBYE).await;
        tracing::info!("stopped");
    }
}

/// Does one after the other, where the other begins at `by` in any case.
async fn in_turn(first: impl Future<Output = ()>, then: impl Future<Output = ()>, by: Instant) {
    let mut first = pin!(first);
    if timeout_at(by, first.as_mut()).await.is_ok() {
        return then.await;
    }
    tokio::join!(first, then);
}

#[cfg(test)]
mod tests {
    use tokio::time::sleep;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn what_comes_second_begins_at_its_time_and_the_first_goes_on() {
        for (first, begins) in [(2_u32, 2_u32), (9, 5)] {
            let start = Instant::now();
            let then = async { assert_eq!(start.elapsed(), begins * SECOND) };
            in_turn(sleep(first * SECOND), then, start + 5 * SECOND).await;
            assert_eq!(start.elapsed(), first * SECOND);
        }
    }
}
