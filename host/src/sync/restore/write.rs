//! The writing itself, one record after the other, again and again until all is done.

use std::sync::Arc;
use std::time::Duration;

use lattice_core::record::StoredClaims;
use lattice_core::{Backoff, ComponentId, Spread};
use lattice_store::{LatticeStore, StoreError};

use super::Shared;

/// Pauses after a write that failed.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Writes what is lost, and waits for more.
pub(super) async fn write_back(shared: Arc<Shared>, store: LatticeStore) {
    let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE).spread_by(Spread::Shorter);
    loop {
        let (specs, claims) = (shared.unwritten(), shared.unwritten_claims());
        let left = (specs.len(), claims.len());
        if left == (0, 0) {
            shared.changed.notified().await;
            continue;
        }
        let written = write_all(&shared, &store, specs).await;
        match written.and(write_claims(&shared, &store, claims).await) {
            Ok(()) => {
                backoff.reset();
                tracing::info!(specs = left.0, claims = left.1, "wrote what is known back");
            }
            Err(error) => {
                tracing::warn!(
                    specs = left.0, claims = left.1, %error,
                    "could not write back what is known, trying again"
                );
                tokio::time::sleep(backoff.delay()).await;
            }
        }
    }
}

/// Writes what can be written; one record that cannot is not in the way of the others.
async fn write_all(
    shared: &Shared,
    store: &LatticeStore,
    specs: Vec<ComponentId>,
) -> Result<(), StoreError> {
    let mut outcome = Ok(());
    for id in specs {
        // While others were written, somebody may have deleted it.
        let _writing = shared.writing.write().await;
        let known = || shared.still_lost(&id);
        let outdated = shared.outdated(&id);
        match store.links().restore(&id, outdated, known).await {
            Ok(()) => shared.written(&id),
            // What stands there now is no spec, which no further attempt changes.
            Err(error @ StoreError::Malformed { .. }) => {
                shared.forget(&id);
                tracing::error!(source = id.as_str(), %error, "could not write links back");
            }
            Err(error) => outcome = Err(error),
        }
    }
    outcome
}

/// The same for claims.
async fn write_claims(
    shared: &Shared,
    store: &LatticeStore,
    claims: Vec<StoredClaims>,
) -> Result<(), StoreError> {
    let mut outcome = Ok(());
    for claims in claims {
        match store.claims().restore(&claims).await {
            Ok(()) => {
                shared.claims.lock().remove(claims.subject());
            }
            Err(error) => outcome = Err(error),
        }
    }
    outcome
}

#[cfg(test)]
mod tests {
    use tokio::time::timeout;

    use super::super::tests::{id, place, spec};
    use super::super::{Lost, Unwritten};
    use super::*;

    fn lost(names: &[&str]) -> Lost {
        Lost {
            spec: spec(names),
            outdated: 0,
            is_written: false,
        }
    }

    #[tokio::test]
    async fn what_was_deleted_while_others_were_written_back_stays_so() {
        let (_nats, store, _restorer) = place().await;
        let (shared, other) = (Shared::default(), ComponentId::new("b").unwrap());
        shared.lost.lock().insert(id(), lost(&["one"]));
        let begun_with = vec![id(), other.clone()];
        write_all(&shared, &store, begun_with).await.unwrap();
        assert!(store.links().spec(&id()).await.unwrap().is_some());
        assert!(store.links().spec(&other).await.unwrap().is_none());
    }

    #[tokio::test]
    async fn nothing_is_written_back_while_somebody_deletes() {
        let (_nats, store, _restorer) = place().await;
        let unwritten = Unwritten::default();
        let lost = lost(&["one", "two"]);
        unwritten.0.lost.lock().insert(id(), lost);
        let paused = unwritten.pause().await;
        let mut writing = std::pin::pin!(write_all(&unwritten.0, &store, vec![id()]));
        let early = timeout(Duration::from_millis(300), &mut writing).await;
        assert!(early.is_err(), "it did not wait");
        assert!(unwritten.forget(&id(), |link| link.name == "one"));
        drop(paused);
        writing.await.unwrap();
        let found = store.links().spec(&id()).await.unwrap();
        assert_eq!(found, Some(spec(&["two"])));
    }
}
