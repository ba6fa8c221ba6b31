//! Specs and claims that the store has lost while the lattice runs on: what this host still knows is
//! written back, and counts until it is. Configs are a matter of the store itself.

mod write;

use std::collections::HashMap;
use std::sync::Arc;

use lattice_core::record::{ComponentSpec, StoredClaims};
use lattice_core::{ComponentId, Link};
use lattice_store::{LatticeSnapshot, LatticeStore, add_missing_links, is_missing};
use parking_lot::Mutex;
use tokio::sync::{Notify, RwLock, RwLockReadGuard};
use tokio_util::task::AbortOnDropHandle;

use crate::links::{Changes, LinkTable};
use write::write_back;

/// A spec that was lost.
#[derive(Debug)]
struct Lost {
    spec: ComponentSpec,
    /// Up to which revision a deletion of it does not count.
    outdated: u64,
    /// Whether it is in the store again, and only the word of it is still on its way.
    is_written: bool,
}

#[derive(Debug, Default)]
struct Shared {
    lost: Mutex<HashMap<ComponentId, Lost>>,
    /// Claims that are still to be written, by their subject.
    claims: Mutex<HashMap<String, StoredClaims>>,
    changed: Notify,
    /// Held for writing by who writes a spec back, and for reading by those who delete of one.
    writing: RwLock<()>,
}

impl Shared {
    /// What is to be written, in the order of ids.
    fn unwritten(&self) -> Vec<ComponentId> {
        let lost = self.lost.lock();
        let unwritten = lost.iter().filter(|(_, lost)| !lost.is_written);
        let mut all: Vec<_> = unwritten.map(|(id, _)| id.clone()).collect();
        all.sort_unstable();
        all
    }

    /// Up to which revision a deletion of a spec does not count.
    fn outdated(&self, id: &ComponentId) -> u64 {
        self.lost.lock().get(id).map_or(0, |lost| lost.outdated)
    }

    /// A spec, if it is still to be written.
    fn still_lost(&self, id: &ComponentId) -> Option<ComponentSpec> {
        let lost = self.lost.lock();
        let lost = lost.get(id).filter(|lost| !lost.is_written)?;
        Some(lost.spec.clone())
    }

    /// The same of claims, in the order of subjects.
    fn unwritten_claims(&self) -> Vec<StoredClaims> {
        let mut all: Vec<_> = self.claims.lock().values().cloned().collect();
        all.sort_unstable_by(|a, b| a.subject().cmp(b.subject()));
        all
    }

    fn forget(&self, id: &ComponentId) {
        self.lost.lock().remove(id);
    }

    fn written(&self, id: &ComponentId) {
        if let Some(lost) = self.lost.lock().get_mut(id) {
            lost.is_written = true;
        }
    }
}

/// What of a lost store is still to be written back, for those who delete some of it.
#[derive(Debug, Default)]
pub(crate) struct Unwritten(Arc<Shared>);

impl Unwritten {
    /// Waits for the write that is under way, and holds up the next as long as the guard is there: it may
    /// have read links that are deleted meanwhile. A write takes no longer than the store may. Others may
    /// delete at the same time.
    pub(crate) async fn pause(&self) -> RwLockReadGuard<'_, ()> {
        self.0.writing.read().await
    }

    /// As if a write were under way.
    #[cfg(test)]
    pub(crate) async fn writing(&self) -> tokio::sync::RwLockWriteGuard<'_, ()> {
        self.0.writing.write().await
    }

    /// Has links of a source no longer written back, and takes them out of the table, where they have
    /// counted: of what the store does not have it never says that it is gone. Both at once, so that no
    /// record that comes meanwhile is completed with them again.
    pub(crate) fn take_from(
        &self,
        table: &LinkTable,
        source: &ComponentId,
        is_meant: impl Fn(&Link) -> bool,
    ) {
        table.change(|| match self.forget(source, &is_meant) {
            true => table.without(source, &is_meant),
            false => Changes::new(),
        });
    }

    /// Does so with all that are meant, whether or not they are to be written back, unless the table has
    /// changed since this version. Tells whether it has not.
    pub(crate) fn take_unchanged(
        &self,
        table: &LinkTable,
        source: &ComponentId,
        version: u64,
        is_meant: impl Fn(&Link) -> bool,
    ) -> bool {
        let (versions, mut is_same) = (table.changes(), false);
        table.change(|| {
            is_same = *versions.borrow() == version;
            if !is_same {
                return Changes::new();
            }
            self.forget(source, &is_meant);
            table.without(source, &is_meant)
        });
        is_same
    }

    /// Has links of a source no longer written back. Tells whether there were any.
    fn forget(&self, source: &ComponentId, is_meant: impl Fn(&Link) -> bool) -> bool {
        let mut all = self.0.lost.lock();
        let Some(lost) = all.get_mut(source).filter(|lost| !lost.is_written) else {
            return false;
        };
        let before = lost.spec.links.len();
        lost.spec.links.retain(|link| !is_meant(link));
        lost.spec.links.len() < before
    }
}

/// Writes lost specs and claims back, until it is dropped.
#[derive(Debug)]
pub(super) struct Restorer {
    shared: Arc<Shared>,
    _task: AbortOnDropHandle<()>,
}

impl Restorer {
    pub(super) fn start(store: LatticeStore) -> Self {
        let shared = Arc::<Shared>::default();
        let task = tokio::spawn(write_back(Arc::clone(&shared), store));
        Self {
            shared,
            _task: AbortOnDropHandle::new(task),
        }
    }

    /// What is still to be written back.
    pub(super) fn unwritten(&self) -> Unwritten {
        Unwritten(Arc::clone(&self.shared))
    }

    /// Has specs written back, over deletions up to the revision `outdated`; hosts that do so at the same
    /// time write the same.
    pub(super) fn add(
        &self,
        specs: impl IntoIterator<Item = (ComponentId, ComponentSpec)>,
        outdated: u64,
    ) {
        let lost = specs.into_iter().map(|(id, spec)| {
            let lost = Lost {
                spec,
                outdated,
                is_written: false,
            };
            (id, lost)
        });
        self.shared.lost.lock().extend(lost);
        self.shared.changed.notify_one();
    }

    /// Has a spec no longer written back, because somebody has deleted it.
    pub(super) fn forget(&self, id: &ComponentId) {
        self.shared.forget(id);
    }

    /// Has claims written back, unless somebody puts or deletes them meanwhile.
    pub(super) fn add_claims(&self, claims: impl IntoIterator<Item = (String, StoredClaims)>) {
        self.shared.claims.lock().extend(claims);
        self.shared.changed.notify_one();
    }

    /// Has claims no longer written back: the store says again how it is with them.
    pub(super) fn forget_claims(&self, subject: &str) {
        self.shared.claims.lock().remove(subject);
    }

    /// Puts those links into a spec out of the store that are still to be written there.
    pub(super) fn complete(&self, id: &ComponentId, spec: &mut ComponentSpec) {
        let mut all = self.shared.lost.lock();
        let Some(lost) = all.get_mut(id) else { return };
        // What is there again is not missed any more: somebody may delete it.
        lost.spec.links.retain(|link| is_missing(link, &spec.links));
        // What was written has come with it, or was changed since.
        if lost.is_written || !add_missing_links(spec, &lost.spec.links) {
            all.remove(id);
        }
    }

    /// The same for a complete state, in which specs and claims are missing that are still to be written.
    pub(super) fn complete_all(&self, snapshot: &mut LatticeSnapshot) {
        for (id, spec) in &mut snapshot.specs {
            self.complete(id, spec);
        }
        // After a gap those are told no more; one that was deleted in it is not to stay for ever.
        let mut all = self.shared.lost.lock();
        all.retain(|id, lost| !lost.is_written && !snapshot.deleted.contains(id));
        for (id, lost) in &*all {
            let known = snapshot.specs.entry(id.clone());
            known.or_insert_with(|| lost.spec.clone());
        }
        let mut claims = self.shared.claims.lock();
        claims.retain(|subject, _| !snapshot.claims.contains_key(subject));
        for (subject, lost) in &*claims {
            snapshot.claims.insert(subject.clone(), lost.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    use lattice_core::LatticeName;
    use lattice_core::record::StoredProviderClaims;
    use lattice_nats_box::NatsBox;
    use lattice_store::StoreOptions;
    use serde_json::json;
    use tokio::time::timeout;

    const SOON: Duration = Duration::from_secs(60);

    pub(super) fn id() -> ComponentId {
        ComponentId::new("a").unwrap()
    }

    pub(super) fn spec(names: &[&str]) -> ComponentSpec {
        let link = |name: &&str| -> Link {
            serde_json::from_value(json!({
                "source_id": "a", "target": "kv", "name": name, "wit_namespace": "wasi",
                "wit_package": "keyvalue", "interfaces": ["store"],
            }))
            .unwrap()
        };
        ComponentSpec {
            url: "file:///a.wasm".to_owned(),
            links: names.iter().map(link).collect(),
        }
    }

    pub(super) async fn place() -> (NatsBox, LatticeStore, Restorer) {
        let nats = NatsBox::start().await.unwrap();
        let client = nats.client().await.unwrap();
        let lattice = LatticeName::default();
        let store = LatticeStore::open(client, &lattice, StoreOptions::default());
        let store = store.await.unwrap();
        let restorer = Restorer::start(store.clone());
        (nats, store, restorer)
    }

    #[tokio::test]
    async fn what_is_not_written_yet_is_not_taken_for_deleted() {
        let (mut nats, _, restorer) = place().await;
        nats.stop();
        restorer.add([(id(), spec(&["one", "two"]))], 0);
        let mut nothing = LatticeSnapshot::default();
        restorer.complete_all(&mut nothing);
        assert_eq!(nothing.specs[&id()], spec(&["one", "two"]));
        // Another host, or a shell, was quicker with some of it.
        let mut part = spec(&["two"]);
        restorer.complete(&id(), &mut part);
        assert_eq!(part, spec(&["two", "one"]));
        let mut whole = spec(&["one", "two", "three"]);
        restorer.complete(&id(), &mut whole);
        assert_eq!(whole, spec(&["one", "two", "three"]));
        let mut nothing = LatticeSnapshot::default();
        restorer.complete_all(&mut nothing);
        assert!(nothing.specs.is_empty());
    }

    #[tokio::test]
    async fn what_cannot_be_written_at_once_is_written_when_the_store_is_back() {
        let (mut nats, store, restorer) = place().await;
        nats.stop();
        restorer.add([(id(), spec(&["one", "two"]))], 0);
        nats.restart_wiped().await.unwrap();
        let written = async {
            loop {
                if let Ok(Some(found)) = store.links().spec(&id()).await {
                    return found;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let found = timeout(SOON, written).await.unwrap();
        assert_eq!(found, spec(&["one", "two"]));
        // What is told from now on counts, one link less too.
        let settled = async {
            while !restorer.shared.unwritten().is_empty() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        timeout(SOON, settled).await.unwrap();
        let mut told = spec(&["two"]);
        restorer.complete(&id(), &mut told);
        assert_eq!(told, spec(&["two"]));
    }

    #[tokio::test]
    async fn a_link_that_is_deleted_before_it_is_written_back_stays_so() {
        let (mut nats, store, restorer) = place().await;
        nats.stop();
        restorer.add([(id(), spec(&["one", "two"]))], 0);
        let unwritten = restorer.unwritten();
        assert!(unwritten.forget(&id(), |link| link.name == "one"));
        assert!(!unwritten.forget(&id(), |link| link.name == "one"));
        nats.restart_wiped().await.unwrap();
        let written = async {
            while !restorer.shared.unwritten().is_empty() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        timeout(SOON, written).await.unwrap();
        let found = store.links().spec(&id()).await.unwrap();
        assert_eq!(found, Some(spec(&["two"])));
        assert!(!unwritten.forget(&id(), |_| true));
    }

    #[tokio::test]
    async fn a_link_that_was_there_again_and_is_deleted_stays_so() {
        let (mut nats, _, restorer) = place().await;
        nats.stop();
        restorer.add([(id(), spec(&["one", "two"]))], 0);
        let mut told = spec(&["one"]);
        restorer.complete(&id(), &mut told);
        assert_eq!(told, spec(&["one", "two"]));
        let mut told = spec(&[]);
        restorer.complete(&id(), &mut told);
        assert_eq!(told, spec(&["two"]));
    }

    #[tokio::test]
    async fn what_cannot_be_read_is_left_as_it_is() {
        let (nats, _store, restorer) = place().await;
        let jetstream = async_nats::jetstream::new(nats.client().await.unwrap());
        let bucket = jetstream
            .get_key_value("LATTICEDATA_default")
            .await
            .unwrap();
        bucket.put("COMPONENT_a", "oops".into()).await.unwrap();
        restorer.add([(id(), spec(&["one"]))], 0);
        let given_up = async {
            while !restorer.shared.unwritten().is_empty() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        timeout(SOON, given_up).await.unwrap();
        assert_eq!(bucket.get("COMPONENT_a").await.unwrap().unwrap(), "oops");
    }

    #[tokio::test]
    async fn claims_are_written_back_unless_the_store_says_otherwise() {
        let (mut nats, store, restorer) = place().await;
        nats.stop();
        let named = |subject: &str, name: &str| {
            StoredClaims::Provider(StoredProviderClaims {
                subject: subject.to_owned(),
                name: name.to_owned(),
                ..StoredProviderClaims::default()
            })
        };
        let lost = ["V1", "V2", "V3"].map(|subject| (subject.to_owned(), named(subject, "old")));
        restorer.add_claims(lost);
        restorer.forget_claims("V2");
        let mut snapshot = LatticeSnapshot::default();
        let newer = named("V3", "newer");
        snapshot.claims.insert("V3".to_owned(), newer.clone());
        restorer.complete_all(&mut snapshot);
        assert_eq!(snapshot.claims["V1"], named("V1", "old"));
        assert_eq!(snapshot.claims["V3"], newer);
        assert_eq!(snapshot.claims.len(), 2);
        nats.restart_wiped().await.unwrap();
        let written = async {
            while !restorer.shared.unwritten_claims().is_empty() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        timeout(SOON, written).await.unwrap();
        let found = store.claims().get("V1").await.unwrap();
        assert_eq!(found, Some(named("V1", "old")));
        for subject in ["V2", "V3"] {
            let found = store.claims().get(subject).await.unwrap();
            assert_eq!(found, None, "{subject}");
        }
    }
}
