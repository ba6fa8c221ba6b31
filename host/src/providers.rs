//! The providers that run here: started, supervised, told about links, stopped.

mod credentials;
mod delivery;
mod error;
mod failed;
mod handover;
mod health;
mod life;
mod link_publisher;
mod listen;
mod permission;
mod probe;
mod refused;
mod renew;
mod report;
mod report_filter;
mod report_quota;
mod resend;
mod restart;
mod seal;
mod send;
mod slot;
mod spawn;
mod states;
mod stop;
mod told;
mod tracked_link;
mod worker;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_nats::Client;
use futures::future::join_all;
use lattice_claims::CurveKey;
use lattice_core::event::InvocationFailed;
use lattice_core::host::ProviderDescription;
use lattice_core::provider::HostData;
use lattice_core::road::RoadReport;
use lattice_core::{ComponentId, ImageRef, StringMap};
use lattice_rpc::{BulkConnection, Switchboard};
use lattice_store::LatticeStore;
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use crate::artifact::{Images, remove_abandoned};
use crate::bus_log::Users;
use crate::config::{NatsConfig, ProviderConfig, ProviderSigner};
use crate::events::Events;
use crate::identity::Identity;
use crate::links::LinkTable;
use crate::refusals::Reported;
use crate::trust::Trust;
use crate::trust::secrets::Secrets;
use crate::vouch::Voucher;
use error::StartProviderError;
pub(crate) use send::publish;
use slot::{Slot, StopProvider};
pub(crate) use spawn::Spawner;
pub(crate) use states::LinkStates;
use worker::Worker;

/// What providers need of the host.
#[derive(Debug)]
pub(crate) struct ProviderDeps {
    pub(crate) identity: Arc<Identity>,
    /// The connection for calls.
    pub(crate) nats: Client,
    /// That for long streams.
    pub(crate) bulk: Option<BulkConnection>,
    pub(crate) store: LatticeStore,
    pub(crate) links: Arc<LinkTable>,
    pub(crate) states: Arc<LinkStates>,
    pub(crate) events: Arc<Events>,
    pub(crate) trust: Arc<Trust>,
    pub(crate) images: Images,
    pub(crate) secrets: Secrets,
    /// Seals what only one process may read.
    pub(crate) xkey: Arc<CurveKey>,
    pub(crate) spawner: Spawner,
    /// Where providers inside the host meet its components.
    pub(crate) local: Switchboard,
    /// The threads that providers inside the host run on, since the calls they make run with them;
    /// `None` for those that serve NATS.
    pub(crate) threads: Option<Handle>,
    /// Vouches for those that are started.
    pub(crate) voucher: Arc<Voucher>,
    /// Where goes what they report of calls that they refused.
    pub(crate) refusals: mpsc::Sender<Reported>,
    /// And of calls of their own that failed.
    pub(crate) failures: mpsc::Sender<InvocationFailed>,
    pub(crate) config: ProviderConfig,
    pub(crate) rpc_timeout: Duration,
    /// How processes connect that do so as the host.
    pub(crate) rpc: NatsConfig,
    /// Who signs for the users of processes.
    pub(crate) signer: Option<Arc<ProviderSigner>>,
    /// Notes who those users are.
    pub(crate) users: Arc<Users>,
    /// What every process is told; each gets its own id, links, configs and key on top.
    pub(crate) host_data: HostData,
}

/// Why a command for a provider was refused. The texts are those of the 1.9 generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ProviderError {
    #[error("provider with that ID is already running")]
    AlreadyRunning,
    #[error("provider with that ID is not running")]
    NotRunning,
    #[error("the host is stopping and starts nothing more")]
    Stopping,
}

type Table = HashMap<ComponentId, Arc<Slot>>;

/// Owns the table of providers. Each provider is run by a task of its own.
#[derive(Debug)]
pub(crate) struct Providers {
    deps: Arc<ProviderDeps>,
    table: Arc<Mutex<Table>>,
    work: TaskTracker,
    stopping: CancellationToken,
    /// Ends all tasks, and with them all processes, when the host is dropped.
    _alive: DropGuard,
    alive: CancellationToken,
}

impl Providers {
    pub(crate) fn new(deps: ProviderDeps) -> Self {
        // Aside: there may be much among the temporary files.
        tokio::task::spawn_blocking(remove_abandoned);
        let alive = CancellationToken::new();
        Self {
            deps: Arc::new(deps),
            table: Arc::default(),
            work: TaskTracker::new(),
            stopping: CancellationToken::new(),
            _alive: alive.clone().drop_guard(),
            alive,
        }
    }

    /// Whether a provider with this id runs here or is being started.
    pub(crate) fn has(&self, id: &ComponentId) -> bool {
        self.table.lock().contains_key(id)
    }

    /// What runs, in the order of ids.
    pub(crate) fn describe(&self) -> Vec<ProviderDescription> {
        let mut all: Vec<_> = self
            .table
            .lock()
            .values()
            .filter_map(|slot| slot.describe())
            .collect();
        all.sort_unstable_by(|a, b| a.id.cmp(&b.id));
        all
    }

    /// The ids of those that run inside the host, in order.
    pub(crate) fn inside(&self) -> Vec<String> {
        if self.deps.images.builtins.program().is_some() {
            return Vec::new();
        }
        let table = self.table.lock();
        let inside = table.values().filter(|slot| slot.is_builtin());
        let mut ids: Vec<_> = inside.map(|slot| slot.id.as_str().to_owned()).collect();
        ids.sort_unstable();
        ids
    }

    /// The roads that calls of providers of this host have taken. Only those are asked that call
    /// somebody.
    pub(crate) async fn roads(&self) -> Vec<RoadReport> {
        let calls_others = |id: &ComponentId| {
            let links = self.deps.links.of(id);
            links.iter().any(|link| *id == *link.source_id)
        };
        let mut slots = self.slots(calls_others);
        slots.sort_unstable_by(|a, b| a.id.cmp(&b.id));
        let subjects = slots.iter().filter_map(|slot| slot.health_subject());
        let (nats, host) = (&self.deps.nats, &self.deps.identity.id);
        let asked = subjects.map(|subject| probe::roads(nats, host, subject));
        join_all(asked).await.into_iter().flatten().collect()
    }

    /// Begins to start a provider; events tell how it ended.
    pub(crate) fn start(
        &self,
        id: ComponentId,
        image: ImageRef,
        annotations: StringMap,
        config: Vec<String>,
    ) -> Result<(), ProviderError> {
        if self.stopping.is_cancelled() {
            return Err(ProviderError::Stopping);
        }
        let slot = Arc::new(Slot::new(id.clone(), image, annotations));
        match self.table.lock().entry(id) {
            std::collections::hash_map::Entry::Occupied(_) => {
                return Err(ProviderError::AlreadyRunning);
            }
            std::collections::hash_map::Entry::Vacant(place) => {
                place.insert(Arc::clone(&slot));
            }
        }
        let place = Place {
            table: Arc::clone(&self.table),
            slot: Arc::clone(&slot),
        };
        let deps = Arc::clone(&self.deps);
        let alive = self.alive.clone();
        self.work.spawn(async move {
            // Gives the id back however this task ends.
            let _place = place;
            alive.run_until_cancelled(run(deps, slot, config)).await;
        });
        Ok(())
    }

    /// Stops a provider and waits for its end.
    pub(crate) async fn stop(&self, id: &ComponentId) -> Result<(), ProviderError> {
        let slot = self
            .table
            .lock()
            .get(id)
            .cloned()
            .ok_or(ProviderError::NotRunning)?;
        let deadline = Instant::now() + self.deps.config.shutdown_delay;
        slot.stop(StopProvider {
            deadline,
            tell: true,
        })
        .await;
        Ok(())
    }

    /// Stops those providers that only call others, such as servers at the edge of the lattice,
    /// so that nothing new comes in while the rest finishes.
    pub(crate) async fn drain_sources(&self, deadline: Instant) {
        self.stopping.cancel();
        let slots = self.slots(|id| {
            let links = self.deps.links.of(id);
            !links.is_empty() && links.iter().all(|link| *id != *link.target)
        });
        stop_all(slots, deadline).await;
    }

    /// Stops all providers.
    pub(crate) async fn drain(&self, deadline: Instant) {
        self.stopping.cancel();
        self.work.close();
        stop_all(self.slots(|_| true), deadline).await;
        self.work.wait().await;
    }

    fn slots(&self, wanted: impl Fn(&ComponentId) -> bool) -> Vec<Arc<Slot>> {
        let table = self.table.lock();
        table
            .values()
            .filter(|slot| wanted(&slot.id))
            .cloned()
            .collect()
    }
}

async fn stop_all(slots: Vec<Arc<Slot>>, deadline: Instant) {
    let wish = StopProvider {
        deadline,
        tell: false,
    };
    join_all(slots.iter().map(|slot| slot.stop(wish))).await;
}

/// Holds an id in the table as long as its task lives.
#[derive(Debug)]
struct Place {
    table: Arc<Mutex<Table>>,
    slot: Arc<Slot>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.table.lock().remove(&self.slot.id);
        self.slot.set_ended();
    }
}

async fn run(deps: Arc<ProviderDeps>, slot: Arc<Slot>, config: Vec<String>) {
    let start = async {
        let mut worker = Worker::prepare(Arc::clone(&deps), Arc::clone(&slot), &config).await?;
        let child = worker.start().await?;
        Ok((worker, child))
    };
    let started = tokio::select! {
        started = start => started,
        wish = slot.stop_wanted() => {
            if wish.tell {
                // Whoever has started it waits for one of two events, which this is none of.
                report::start_failed(&deps, &slot, &StartProviderError::Stopped);
                report::stopped(&deps, &slot);
            }
            return;
        }
    };
    match started {
        Ok((worker, child)) => worker.supervise(child).await,
        Err(error) => report::start_failed(&deps, &slot, &error),
    }
}
