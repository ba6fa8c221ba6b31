//! The components that run here: started, scaled, updated and stopped one at a time per id.

mod code;
mod command_queue;
mod drains;
mod due;
mod entry;
mod env;
mod error;
mod invoke;
mod limits;
mod others;
mod permission;
mod record;
mod report;
mod reuse;
mod running;
mod serve;
mod step;
mod traced;

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::join_all;
use lattice_control::types::{ScaleComponentCommand, UpdateComponentCommand};
use lattice_core::host::ComponentDescription;
use lattice_core::{ComponentId, ImageRef, LatticeName};
use lattice_rpc::{Gate, Peer};
use lattice_runtime::Runtime;
use lattice_store::LatticeStore;
use parking_lot::Mutex;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::artifact::Images;
use crate::bus_errors::BusErrors;
use crate::config::QueueConfig;
use crate::events::Events;
use crate::failures::Failures;
use crate::identity::Identity;
use crate::router::Router;
use crate::trust::Trust;
use crate::trust::secrets::Secrets;
use command_queue::{Command, Room};
pub(crate) use drains::Drains;
use drains::End;
use entry::Entry;
pub(crate) use entry::Wanted;
pub(crate) use error::ScaleError;
pub(crate) use others::OldHosts;
use running::{Running, until_quiet};

/// What components need of the host.
#[derive(Debug)]
pub(crate) struct ComponentDeps {
    pub(crate) identity: Arc<Identity>,
    pub(crate) runtime: Runtime,
    pub(crate) peer: Peer,
    pub(crate) bus_errors: Arc<BusErrors>,
    pub(crate) store: LatticeStore,
    pub(crate) router: Router,
    pub(crate) events: Arc<Events>,
    pub(crate) failures: Arc<Failures>,
    pub(crate) trust: Arc<Trust>,
    pub(crate) images: Images,
    pub(crate) secrets: Secrets,
    pub(crate) queue: QueueConfig,
    /// What bounds all components together, if anything does.
    pub(crate) gate: Option<Gate>,
    pub(crate) call_timeout: Duration,
    pub(crate) max_execution_time: Duration,
    pub(crate) drain_timeout: Duration,
    pub(crate) drains: Drains,
    pub(crate) old_hosts: Arc<OldHosts>,
}

impl ComponentDeps {
    fn lattice(&self) -> &LatticeName {
        &self.identity.lattice
    }
}

/// Owns the table of components. Work on one id never waits for work on another.
#[derive(Debug)]
pub(crate) struct Components {
    deps: Arc<ComponentDeps>,
    table: Mutex<HashMap<ComponentId, Arc<Entry>>>,
    /// The room for commands under way.
    room: Room,
    work: TaskTracker,
    stopping: CancellationToken,
}

/// How a component runs now, as far as it can be told without waiting for work under way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ComponentStatus {
    pub(crate) image: ImageRef,
    pub(crate) description: ComponentDescription,
}

impl Components {
    pub(crate) fn new(deps: ComponentDeps) -> Self {
        Self {
            deps: Arc::new(deps),
            table: Mutex::default(),
            room: Room::default(),
            work: TaskTracker::new(),
            stopping: CancellationToken::new(),
        }
    }

    /// How the component with this id runs, if it does.
    pub(crate) fn status(&self, id: &ComponentId) -> Option<ComponentStatus> {
        self.table.lock().get(id)?.status()
    }

    /// Whether nothing is being done about a component, and nothing waits.
    pub(crate) fn is_idle(&self, id: &ComponentId) -> bool {
        let table = self.table.lock();
        table
            .get(id)
            .is_none_or(|entry| entry.commands.lock().is_idle())
    }

    /// What runs, in the order of ids.
    pub(crate) fn describe(&self) -> Vec<ComponentDescription> {
        let table = self.table.lock();
        let running = table.values().filter_map(|entry| entry.status());
        let mut all: Vec<_> = running.map(|status| status.description).collect();
        all.sort_unstable_by(|a, b| a.id.cmp(&b.id));
        all
    }

    /// Has a component scaled; events tell how it ended.
    pub(crate) fn scale(
        self: &Arc<Self>,
        id: ComponentId,
        command: ScaleComponentCommand,
    ) -> Result<(), ScaleError> {
        self.command(id, Command::Scale(Wanted::from(command)))
    }

    /// Has an image replaced; events tell how it ended.
    pub(crate) fn update(
        self: &Arc<Self>,
        id: ComponentId,
        image: ImageRef,
        command: UpdateComponentCommand,
    ) -> Result<(), ScaleError> {
        let annotations = command.annotations;
        self.command(id, Command::Update { image, annotations })
    }

    /// Puts a command in line behind the one that is being carried out.
    fn command(self: &Arc<Self>, id: ComponentId, command: Command) -> Result<(), ScaleError> {
        let command = self.room.admit(command)?;
        let (entry, put) = {
            let mut table = self.table.lock();
            let entry = table
                .entry(id)
                .or_insert_with_key(|id| Arc::new(Entry::new(id.clone())));
            (Arc::clone(entry), entry.commands.lock().put(command))
        };
        for superseded in &put.superseded {
            self.report_failure(&entry, superseded, &ScaleError::Overtaken);
        }
        if put.begins {
            self.work.spawn(Arc::clone(self).work_on(entry));
        }
        Ok(())
    }

    /// Fulfils what is wished of a component, one after the other.
    async fn work_on(self: Arc<Self>, entry: Arc<Entry>) {
        while let Some(next) = self.next_of(&entry) {
            let work = AssertUnwindSafe(entry.carry_out(&self.deps, &next.command)).catch_unwind();
            let outcome = tokio::select! {
                // What is behind it must not wait for ever.
                outcome = work => outcome.unwrap_or(Err(ScaleError::Panicked)),
                () = self.stopping.cancelled() => Err(ScaleError::Stopping),
            };
            if let Err(error) = outcome {
                self.report_failure(&entry, &next.command, &error);
            }
        }
    }

    /// What is wished next. An entry of which nothing is, and behind which nothing runs, is removed.
    fn next_of(&self, entry: &Entry) -> Option<command_queue::Admitted> {
        let mut table = self.table.lock();
        let next = entry.commands.lock().next();
        if next.is_none() && entry.status().is_none() {
            table.remove(entry.id());
        }
        next
    }

    fn report_failure(&self, entry: &Entry, command: &Command, error: &ScaleError) {
        let wanted = command.wanted(entry.status());
        report::failed(&self.deps, entry.id(), &wanted, error);
    }

    /// Stops all components: starts nothing more, leaves the queue groups, and lets calls under
    /// way end by `deadline`, also those of components that were stopped or replaced before. What such
    /// calls call here is still answered.
    pub(crate) async fn drain(&self, deadline: Instant) {
        self.stopping.cancel();
        self.work.close();
        self.work.wait().await;
        let entries: Vec<_> = self.table.lock().drain().map(|(_, entry)| entry).collect();
        let running = join_all(entries.iter().map(|entry| entry.take())).await;
        let running: Vec<Running> = running.into_iter().flatten().collect();
        let quiet = async {
            join_all(running.iter().map(|running| running.retire(deadline))).await;
            tokio::join!(until_quiet(&running), self.deps.drains.idle());
        };
        if timeout_at(deadline, quiet).await.is_err() {
            tracing::debug!("calls are still under way at the end of the time to drain");
        }
        let stopped = running.into_iter();
        let stopped = join_all(stopped.map(|running| running.drain(End::at(deadline))));
        tokio::join!(stopped, self.deps.drains.finish(deadline));
    }
}

#[cfg(test)]
mod tests;
