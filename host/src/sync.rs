//! Follows the store: what changes there reaches the tables of this host.

use std::sync::Arc;
use std::time::Duration;

use lattice_core::ComponentId;
use lattice_store::{LatticeChange, LatticeSnapshot, LatticeStore, LatticeWatch};
use tokio::sync::oneshot;
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

use crate::claims::ClaimsTable;
use crate::host::StartHostError;
use crate::links::LinkTable;

/// How long the first complete state may take.
const FIRST: Duration = Duration::from_secs(10);

/// Loads the state of the lattice and follows it until the handle is dropped. Outages of NATS do
/// not end it.
pub(crate) async fn follow(
    store: LatticeStore,
    links: Arc<LinkTable>,
    claims: Arc<ClaimsTable>,
) -> Result<AbortOnDropHandle<()>, StartHostError> {
    let (loaded, first) = oneshot::channel();
    let watch = store.watch();
    let follower = Follower {
        store,
        links,
        claims,
    };
    let task = AbortOnDropHandle::new(tokio::spawn(follower.run(watch, loaded)));
    match timeout(FIRST, first).await {
        Ok(Ok(())) => Ok(task),
        _ => Err(StartHostError::State { within: FIRST }),
    }
}

struct Follower {
    store: LatticeStore,
    links: Arc<LinkTable>,
    claims: Arc<ClaimsTable>,
}

impl Follower {
    async fn run(self, mut watch: LatticeWatch, loaded: oneshot::Sender<()>) {
        let mut loaded = Some(loaded);
        loop {
            self.apply(watch.next().await).await;
            if let Some(loaded) = loaded.take() {
                // Whoever waited may have given up; the state is followed all the same.
                let _unheard = loaded.send(());
            }
        }
    }

    async fn apply(&self, change: LatticeChange) {
        match change {
            LatticeChange::Resync(snapshot) => self.resync(snapshot).await,
            LatticeChange::SpecPut { id, spec } => {
                let diff = self.links.put(&id, spec);
                tracing::debug!(
                    source = id.as_str(),
                    added = diff.added.len(),
                    removed = diff.removed.len(),
                    "links changed"
                );
            }
            LatticeChange::SpecDeleted { id } => {
                let removed = self.links.remove(&id).removed.len();
                tracing::info!(source = id.as_str(), removed, "a spec was deleted");
            }
            LatticeChange::ClaimsPut { subject, claims } => self.claims.put(subject, claims),
            LatticeChange::ClaimsDeleted { subject } => self.claims.remove(&subject),
            other => tracing::warn!(?other, "ignored a change of the store"),
        }
    }

    async fn resync(&self, mut snapshot: LatticeSnapshot) {
        let lost: Vec<ComponentId> = if snapshot.fresh {
            let known = self.links.sources().into_iter();
            known
                .filter(|id| !snapshot.specs.contains_key(id))
                .collect()
        } else {
            Vec::new()
        };
        self.claims.resync(&mut snapshot);
        let diff = self.links.resync(&mut snapshot);
        let (added, removed) = (diff.added.len(), diff.removed.len());
        tracing::info!(added, removed, "loaded the links of the lattice");
        if !lost.is_empty() {
            self.restore(lost).await;
        }
    }

    /// The bucket was lost while the lattice runs on. What this host still knows is written back;
    /// hosts that do so at the same time write the same.
    async fn restore(&self, sources: Vec<ComponentId>) {
        tracing::warn!(
            sources = sources.len(),
            "the store was lost, writing known links back"
        );
        for id in sources {
            for link in &self.links.spec(&id).unwrap_or_default().links {
                if let Err(error) = self.store.links().put(link).await {
                    tracing::error!(source = id.as_str(), %error, "could not write a link back");
                }
            }
        }
    }
}
