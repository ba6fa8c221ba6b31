//! Follows the store: what changes there reaches the tables of this host.

mod restore;

use std::sync::Arc;
use std::time::Duration;

use lattice_core::ComponentId;
use lattice_core::record::ComponentSpec;
use lattice_store::{
    LatticeChange, LatticeSnapshot, LatticeStore, LatticeWatch, add_missing_links, is_missing,
};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};
use tokio_util::task::AbortOnDropHandle;

use crate::claims::ClaimsTable;
use crate::host::StartHostError;
use crate::links::LinkTable;
use restore::Restorer;
pub(crate) use restore::Unwritten;

/// How long nothing may come of the first state. The whole of it takes as long as it takes: a large
/// one over a slow line would never be complete if each attempt began anew.
const FIRST: Duration = Duration::from_secs(10);

/// How long it may take in all: a line that breaks again and again brings records without an end.
const LONGEST: Duration = Duration::from_secs(600);

/// Loads the state of the lattice, for as long as some of it comes, and follows it until the handle is
/// dropped. Outages of NATS do not end it. Gives what is to be written back besides.
pub(crate) async fn follow(
    store: LatticeStore,
    links: Arc<LinkTable>,
    claims: Arc<ClaimsTable>,
) -> Result<(AbortOnDropHandle<()>, Unwritten), StartHostError> {
    let (loaded, mut first) = oneshot::channel();
    let watch = store.watch();
    let reading = store.clone();
    let follower = Follower {
        restorer: Restorer::start(store),
        links,
        claims,
    };
    let unwritten = follower.restorer.unwritten();
    let task = AbortOnDropHandle::new(tokio::spawn(follower.run(watch, loaded)));
    let mut before = 0;
    let end = Instant::now() + LONGEST;
    loop {
        match timeout(FIRST, &mut first).await {
            Ok(Ok(())) => return Ok((task, unwritten)),
            Err(_) if reading.records_read() > before && Instant::now() < end => {
                before = reading.records_read();
                tracing::info!(records = before, "still reading the state of the lattice");
            }
            _ => return Err(StartHostError::State { within: FIRST }),
        }
    }
}

struct Follower {
    restorer: Restorer,
    links: Arc<LinkTable>,
    claims: Arc<ClaimsTable>,
}

impl Follower {
    async fn run(self, mut watch: LatticeWatch, loaded: oneshot::Sender<()>) {
        let mut loaded = Some(loaded);
        loop {
            self.apply(watch.next().await);
            if let Some(loaded) = loaded.take() {
                // Whoever waited may have given up; the state is followed all the same.
                let _unheard = loaded.send(());
            }
        }
    }

    fn apply(&self, change: LatticeChange) {
        match change {
            LatticeChange::Resync(snapshot) => self.resync(snapshot),
            LatticeChange::SpecPut { id, mut spec } => {
                let diff = self.links.change(|| {
                    self.restorer.complete(&id, &mut spec);
                    vec![(id.clone(), Some(spec))]
                });
                tracing::debug!(
                    source = id.as_str(),
                    added = diff.added.len(),
                    removed = diff.removed.len(),
                    "links changed"
                );
            }
            LatticeChange::SpecDeleted { id } => {
                let diff = self.links.change(|| {
                    self.restorer.forget(&id);
                    vec![(id.clone(), None)]
                });
                let removed = diff.removed.len();
                tracing::info!(source = id.as_str(), removed, "a spec was deleted");
            }
            LatticeChange::ClaimsPut { subject, claims } => {
                self.restorer.forget_claims(&subject);
                self.claims.put(subject, claims);
            }
            LatticeChange::ClaimsDeleted { subject } => {
                self.restorer.forget_claims(&subject);
                self.claims.remove(&subject);
            }
            other => tracing::warn!(?other, "ignored a change of the store"),
        }
    }

    fn resync(&self, mut snapshot: LatticeSnapshot) {
        let diff = self.links.change(|| {
            let lost = self.lost(&snapshot);
            self.restorer.complete_all(&mut snapshot);
            self.restore(lost, &mut snapshot);
            if snapshot.fresh {
                self.restore_claims(&snapshot);
            }
            self.claims.resync(&mut snapshot);
            self.links.as_in(&mut snapshot)
        });
        let (added, removed) = (diff.added.len(), diff.removed.len());
        tracing::info!(added, removed, "loaded the links of the lattice");
    }

    /// What this host knows of a store that was lost while the lattice runs on. That goes for single links
    /// only when it was lost a moment ago, where somebody has put one before this host has looked: later, a
    /// link that is not there may as well have been deleted.
    fn lost(&self, snapshot: &LatticeSnapshot) -> Vec<(ComponentId, ComponentSpec)> {
        if !snapshot.fresh {
            return Vec::new();
        }
        let known = self.links.sources().into_iter();
        known
            // What cannot be read cannot be added to either, and what was deleted in it is not lost.
            .filter(|id| !snapshot.unreadable.contains(id) && !snapshot.deleted.contains(id))
            .filter_map(|id| self.links.spec(&id).map(|spec| (id, spec)))
            .filter(|(id, known)| match snapshot.specs.get(id) {
                None => true,
                Some(stored) => snapshot.lost_lately && lacks(stored, known),
            })
            .collect()
    }

    /// Has specs written back, which count until they are.
    fn restore(&self, lost: Vec<(ComponentId, ComponentSpec)>, snapshot: &mut LatticeSnapshot) {
        if lost.is_empty() {
            return;
        }
        let specs = lost.len();
        tracing::warn!(specs, "the store was lost, writing known links back");
        for (id, known) in &lost {
            let stored = snapshot.specs.entry(id.clone());
            let stored = stored.or_insert_with(|| known.clone());
            add_missing_links(stored, &known.links);
        }
        self.restorer.add(lost, snapshot.outdated);
    }

    fn restore_claims(&self, snapshot: &LatticeSnapshot) {
        let lost = self.claims.lost(snapshot);
        if !lost.is_empty() {
            let claims = lost.len();
            tracing::warn!(claims, "the store was lost, writing known claims back");
            self.restorer.add_claims(lost);
        }
    }
}

/// Whether a link that is known is missing in the store.
fn lacks(stored: &ComponentSpec, known: &ComponentSpec) -> bool {
    let mut known = known.links.iter();
    known.any(|link| is_missing(link, &stored.links))
}

#[cfg(test)]
mod tests;
