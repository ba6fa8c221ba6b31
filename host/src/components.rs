//! The components that run here: started, scaled, updated and stopped one at a time per id.

mod code;
mod drains;
mod entry;
mod env;
mod error;
mod invoke;
mod leave;
mod limits;
mod record;
mod report;
mod reuse;
mod running;
mod serve;
mod traced;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use lattice_control::types::{ScaleComponentCommand, UpdateComponentCommand};
use lattice_core::host::ComponentDescription;
use lattice_core::{ComponentId, ImageRef, LatticeName};
use lattice_rpc::{Gate, Peer};
use lattice_runtime::Runtime;
use lattice_store::LatticeStore;
use parking_lot::Mutex;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::artifact::Images;
use crate::config::QueueConfig;
use crate::events::Events;
use crate::failures::Failures;
use crate::identity::Identity;
use crate::router::Router;
use crate::trust::Trust;
use crate::trust::secrets::Secrets;
pub(crate) use drains::Drains;
use entry::Entry;
pub(crate) use entry::Wanted;
pub(crate) use error::ScaleError;

/// What components need of the host.
#[derive(Debug)]
pub(crate) struct ComponentDeps {
    pub(crate) identity: Arc<Identity>,
    pub(crate) runtime: Runtime,
    pub(crate) peer: Peer,
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
            work: TaskTracker::new(),
            stopping: CancellationToken::new(),
        }
    }

    /// How the component with this id runs, if it does.
    pub(crate) fn status(&self, id: &ComponentId) -> Option<ComponentStatus> {
        self.table.lock().get(id)?.status()
    }

    /// What runs, in the order of ids.
    pub(crate) fn describe(&self) -> Vec<ComponentDescription> {
        let table = self.table.lock();
        let running = table.values().filter_map(|entry| entry.status());
        let mut all: Vec<_> = running.map(|status| status.description).collect();
        all.sort_unstable_by(|a, b| a.id.cmp(&b.id));
        all
    }

    /// Begins to scale; events tell how it ended.
    pub(crate) fn scale(self: &Arc<Self>, id: ComponentId, command: ScaleComponentCommand) {
        let components = Arc::clone(self);
        self.work.spawn(async move {
            let wanted = Wanted::from(command);
            let entry = components.entry(&id);
            let outcome = tokio::select! {
                outcome = entry.scale(&components.deps, &wanted) => outcome,
                () = components.stopping.cancelled() => Err(ScaleError::Stopping),
            };
            if let Err(error) = outcome {
                components.report_failure(&id, &wanted, &error);
            }
            components.forget_if_stopped(&id, entry);
        });
    }

    /// Begins to replace the image; events tell how it ended.
    pub(crate) fn update(
        self: &Arc<Self>,
        id: ComponentId,
        image: ImageRef,
        command: UpdateComponentCommand,
    ) {
        let components = Arc::clone(self);
        self.work.spawn(async move {
            let entry = components.entry(&id);
            let annotations = command.annotations;
            let outcome = tokio::select! {
                outcome = entry.update(&components.deps, &image, &annotations) => outcome,
                () = components.stopping.cancelled() => Err(ScaleError::Stopping),
            };
            if let Err(error) = outcome {
                let count = entry
                    .status()
                    .map_or(0, |status| status.description.max_instances);
                let wanted = Wanted {
                    image: image.as_str().to_owned(),
                    count,
                    annotations,
                    ..Wanted::default()
                };
                components.report_failure(&id, &wanted, &error);
            }
            components.forget_if_stopped(&id, entry);
        });
    }

    fn entry(&self, id: &ComponentId) -> Arc<Entry> {
        let mut table = self.table.lock();
        let entry = table
            .entry(id.clone())
            .or_insert_with(|| Arc::new(Entry::new(id.clone())));
        Arc::clone(entry)
    }

    /// Removes an entry behind which nothing runs and for which nobody else waits.
    fn forget_if_stopped(&self, id: &ComponentId, entry: Arc<Entry>) {
        let mut table = self.table.lock();
        // One for the table, one for us; others take theirs under the same lock.
        if entry.status().is_none() && Arc::strong_count(&entry) == 2 {
            table.remove(id);
        }
    }

    fn report_failure(&self, id: &ComponentId, wanted: &Wanted, error: &ScaleError) {
        report::failed(&self.deps, id, wanted, error);
    }

    /// Stops all components: starts nothing more, leaves the queue groups, and lets calls under
    /// way end by `deadline`, also those of components that were stopped or replaced before.
    pub(crate) async fn drain(&self, deadline: Instant) {
        self.stopping.cancel();
        self.work.close();
        self.work.wait().await;
        let entries: Vec<_> = self.table.lock().drain().map(|(_, entry)| entry).collect();
        let stopped = join_all(entries.iter().map(|entry| entry.stop(deadline)));
        tokio::join!(stopped, self.deps.drains.finish(deadline));
    }
}

#[cfg(test)]
mod tests;
