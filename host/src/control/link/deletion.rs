//! The deletion of one link: where it is stored, and where it is known besides.

use lattice_control::types::DeleteLinkRequest;
use lattice_core::subject::store::{component_key, lattice_bucket};
use lattice_core::{ComponentId, LatticeName, Link};
use lattice_store::{DeletedLink, LatticeStore, StoreError};
use tokio::time::{Instant, timeout_at};

use crate::links::LinkTable;
use crate::sync::Unwritten;

/// How often a link is deleted anew whose deletion found none, since links have changed meanwhile.
const ATTEMPTS: u32 = 3;

/// Deletes a link where it is stored, and where it is still to be written back to a store that was lost,
/// or would be as soon as this host notices that it was.
pub(super) struct Deletion<'a> {
    pub(super) lattice: &'a LatticeName,
    pub(super) store: &'a LatticeStore,
    pub(super) links: &'a LinkTable,
    pub(super) unwritten: &'a Unwritten,
    pub(super) source: &'a ComponentId,
    pub(super) request: &'a DeleteLinkRequest,
    /// How long it waits until this host itself knows.
    pub(super) seen_by: Instant,
}

impl Deletion<'_> {
    pub(super) async fn run(&self) -> Result<DeletedLink, StoreError> {
        let is_meant = |link: &Link| self.request.means(link);
        let mut deleted = DeletedLink::NoMatch;
        for _ in 0..ATTEMPTS {
            // Before all else: what changes from here on may have been put meanwhile.
            let version = self.version();
            {
                // A write that has the link already is done before it is looked for.
                let _paused = self.unwritten.pause().await;
                // First, or it would be put again after it was deleted.
                self.unwritten.take_from(self.links, self.source, is_meant);
                deleted = self.delete_stored().await?;
            }
            if let DeletedLink::Removed(link) = &deleted {
                // It is deleted where it counts; the store tells of the rest in time, unless it was lost.
                let _ = timeout_at(self.seen_by, self.take_removed(link, version)).await;
                return Ok(deleted);
            }
            if self.take(version, is_meant) {
                return Ok(deleted);
            }
        }
        // Where other links change all the time, this host may hear of the last deletion only now.
        let are_gone = |links: &[Link]| !links.iter().any(is_meant);
        let gone = timeout_at(self.seen_by, self.links.until(are_gone, self.source));
        if gone.await.is_ok() {
            return Ok(deleted);
        }
        Err(StoreError::Contended {
            bucket: lattice_bucket(self.lattice),
            key: component_key(self.source),
            attempts: ATTEMPTS,
        })
    }

    /// The record has its name. The other names are compared with what is stored, whatever that is.
    async fn delete_stored(&self) -> Result<DeletedLink, StoreError> {
        let DeleteLinkRequest {
            name,
            wit_namespace,
            wit_package,
            ..
        } = self.request;
        let links = self.store.links();
        links
            .delete_named(self.source, wit_namespace, wit_package, name)
            .await
    }

    /// Takes the link out of the table that was deleted in the store, as long as it is not there again:
    /// if the store is a new one, this host would write it back.
    async fn take_removed(&self, link: &Link, mut version: u64) {
        // There may be others of this name, to other targets.
        let is_it = |known: &Link| self.request.means(known) && known.target == link.target;
        for _ in 0..ATTEMPTS {
            if self.take(version, is_it) {
                return;
            }
            version = self.version();
            match self.store.links().sure_spec(self.source).await {
                Ok(Some(spec)) if spec.links.iter().any(is_it) => return,
                Ok(_) => {}
                Err(error) => {
                    let source = self.source.as_str();
                    tracing::debug!(source, %error, "cannot tell whether a link was put again");
                    return;
                }
            }
        }
    }

    /// Takes the links out of the table that are meant and the store does not have, unless links have
    /// changed since this version: then they may have been put meanwhile. Tells whether none is left.
    fn take(&self, version: u64, is_meant: impl Fn(&Link) -> bool) -> bool {
        let spec = self.links.spec(self.source);
        let is_left = spec.is_some_and(|spec| spec.links.iter().any(&is_meant));
        let (links, source) = (self.links, self.source);
        !is_left
            || self
                .unwritten
                .take_unchanged(links, source, version, is_meant)
    }

    fn version(&self) -> u64 {
        *self.links.changes().borrow()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use lattice_core::record::ComponentSpec;
    use lattice_nats_box::NatsBox;
    use lattice_store::StoreOptions;
    use serde_json::json;

    use super::*;

    /// How long a test waits for what has to happen. A test machine may compile at the same time.
    const PATIENCE: Duration = Duration::from_secs(30);
    /// For how long links change.
    const UNREST: Duration = Duration::from_millis(300);

    struct Place {
        _nats: NatsBox,
        lattice: LatticeName,
        store: LatticeStore,
        links: LinkTable,
        unwritten: Unwritten,
        source: ComponentId,
    }

    impl Place {
        async fn new() -> Self {
            let nats = NatsBox::start().await.unwrap();
            let client = nats.client().await.unwrap();
            let lattice = LatticeName::default();
            let store = LatticeStore::open(client, &lattice, StoreOptions::default());
            Self {
                store: store.await.unwrap(),
                _nats: nats,
                links: LinkTable::new(lattice.clone()),
                lattice,
                unwritten: Unwritten::default(),
                source: ComponentId::new("a").unwrap(),
            }
        }

        /// As if this host knew of these links, whatever is stored.
        fn know(&self, links: &[&Link]) {
            let spec = ComponentSpec {
                links: links.iter().map(|&link| link.clone()).collect(),
                ..ComponentSpec::default()
            };
            self.links.put(&self.source, spec);
        }

        fn known(&self) -> Vec<Link> {
            self.links.spec(&self.source).unwrap().links
        }

        async fn delete_default(&self) -> Result<DeletedLink, StoreError> {
            self.delete_by(Instant::now() + PATIENCE).await
        }

        async fn delete_by(&self, seen_by: Instant) -> Result<DeletedLink, StoreError> {
            let request = DeleteLinkRequest {
                source_id: "a".to_owned(),
                name: "default".to_owned(),
                wit_namespace: "wasi".to_owned(),
                wit_package: "keyvalue".to_owned(),
            };
            let deletion = Deletion {
                lattice: &self.lattice,
                store: &self.store,
                links: &self.links,
                unwritten: &self.unwritten,
                source: &self.source,
                request: &request,
                seen_by,
            };
            deletion.run().await
        }
    }

    fn link(target: &str, interface: &str) -> Link {
        serde_json::from_value(json!({
            "source_id": "a", "target": target, "name": "default", "wit_namespace": "wasi",
            "wit_package": "keyvalue", "interfaces": [interface],
        }))
        .unwrap()
    }

    #[tokio::test]
    async fn a_link_that_was_deleted_in_a_new_store_is_known_no_more() {
        let place = Place::new().await;
        let (one, other) = (link("kv", "store"), link("cache", "atomics"));
        place.know(&[&one, &other]);
        // Somebody has put it again in the store that took the place of a lost one.
        place.store.put_link(&one).await.unwrap();
        let deleted = place.delete_default().await.unwrap();
        assert_eq!(deleted, DeletedLink::Removed(one));
        assert_eq!(place.known(), [other]);
    }

    #[tokio::test]
    async fn a_link_that_only_this_host_knows_is_known_no_more() {
        let place = Place::new().await;
        place.know(&[&link("kv", "store")]);
        let deleted = place.delete_default().await.unwrap();
        assert_eq!(deleted, DeletedLink::NoSpec);
        assert!(place.known().is_empty());
    }

    #[tokio::test]
    async fn a_link_that_is_being_written_back_is_deleted_after_that() {
        let place = Place::new().await;
        let known = link("kv", "store");
        place.know(&[&known]);
        // As if a write of it were under way.
        let writing = place.unwritten.writing().await;
        let mut deleting = std::pin::pin!(place.delete_default());
        let early = tokio::time::timeout(UNREST, &mut deleting).await;
        assert!(early.is_err(), "it did not wait");
        place.store.put_link(&known).await.unwrap();
        drop(writing);
        let deleted = deleting.await.unwrap();
        assert_eq!(deleted, DeletedLink::Removed(known));
        let stored = place.store.links().sure_spec(&place.source).await.unwrap();
        assert!(stored.unwrap().links.is_empty());
        assert!(place.known().is_empty());
    }

    #[tokio::test]
    async fn a_link_is_deleted_while_another_is() {
        let place = Place::new().await;
        let known = link("kv", "store");
        place.know(&[&known]);
        place.store.put_link(&known).await.unwrap();
        let _deleting = place.unwritten.pause().await;
        let deleted = tokio::time::timeout(PATIENCE, place.delete_default()).await;
        assert_eq!(deleted.unwrap().unwrap(), DeletedLink::Removed(known));
    }

    #[tokio::test]
    async fn a_link_whose_deletion_this_host_hears_of_late_is_deleted_while_others_change() {
        let place = Place::new().await;
        place.know(&[&link("kv", "store")]);
        let other = ComponentId::new("b").unwrap();
        // The deletion is tried as often as it may be meanwhile, unless all is slow.
        let until = Instant::now() + UNREST;
        let hearing = async {
            while Instant::now() < until {
                place.links.put(&other, ComponentSpec::default());
                tokio::task::yield_now().await;
            }
            place.know(&[]);
        };
        let ((), deleted) = tokio::join!(hearing, place.delete_default());
        assert_eq!(deleted.unwrap(), DeletedLink::NoSpec);
    }

    #[tokio::test]
    async fn a_link_that_may_have_been_put_each_time_is_not_said_to_be_deleted() {
        let place = Place::new().await;
        let known = link("kv", "store");
        place.know(&[&known]);
        let other = ComponentId::new("b").unwrap();
        // Whatever the deletion waits for, links have changed by then.
        let changing = async {
            loop {
                place.links.put(&other, ComponentSpec::default());
                tokio::task::yield_now().await;
            }
        };
        let error = tokio::select! {
            biased;
            () = changing => panic!("it ended"),
            deleted = place.delete_by(Instant::now()) => deleted.unwrap_err(),
        };
        assert!(
            matches!(
                error,
                StoreError::Contended {
                    attempts: ATTEMPTS,
                    ..
                }
            ),
            "{error}"
        );
        assert_eq!(place.known(), [known]);
    }
}
