//! Containers by their names, and stores by theirs.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use lattice_provider_sdk::blobstore::BlobError;
use parking_lot::{Mutex, RwLock};

use crate::container::Container;
use crate::room::{Bounds, Room};

/// The containers that some links share.
#[derive(Debug)]
pub(crate) struct Store {
    total: Arc<Room>,
    containers: RwLock<HashMap<String, Arc<Container>>>,
}

impl Store {
    /// A container.
    pub(crate) fn container(&self, name: &str) -> Result<Arc<Container>, BlobError> {
        let found = self.containers.read().get(name).map(Arc::clone);
        found.ok_or_else(|| BlobError::NoContainer(name.to_owned()))
    }

    /// Whether there is such a container.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.containers.read().contains_key(name)
    }

    /// Makes a container that is missing.
    pub(crate) fn create(&self, name: &str, bounds: Bounds) -> Result<(), BlobError> {
        let mut containers = self.containers.write();
        if !containers.contains_key(name) {
            let container = Container::new(name, &self.total, bounds)?;
            containers.insert(name.to_owned(), Arc::new(container));
        }
        Ok(())
    }

    /// Deletes a container with all that is in it.
    pub(crate) fn delete(&self, name: &str) {
        let before = self.containers.write().remove(name);
        if let Some(container) = before {
            container.close();
        }
    }
}

/// All stores of a provider.
#[derive(Debug, Default)]
pub(crate) struct Stores {
    total: Arc<Room>,
    by_name: Mutex<HashMap<String, Kept>>,
}

/// A store without data goes with its last link; one with data stays, since whoever changes a link
/// does not mean the data.
#[derive(Debug)]
struct Kept {
    store: Weak<Store>,
    data: Option<Arc<Store>>,
}

impl Stores {
    /// The store of that name.
    pub(crate) fn get(&self, name: &str) -> Arc<Store> {
        let mut stores = self.by_name.lock();
        if let Some(store) = stores.get(name).and_then(|kept| kept.store.upgrade()) {
            return store;
        }
        let store = Arc::new(Store {
            total: Arc::clone(&self.total),
            containers: RwLock::default(),
        });
        let kept = Kept {
            store: Arc::downgrade(&store),
            data: None,
        };
        stores.insert(name.to_owned(), kept);
        store
    }

    /// Keeps what links are about to leave behind, and forgets stores that are empty.
    pub(crate) fn settle(&self) {
        self.by_name.lock().retain(|_, kept| {
            let Some(store) = kept.store.upgrade() else {
                return false;
            };
            let has_data = !store.containers.read().is_empty();
            kept.data = has_data.then_some(store);
            true
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds {
        container: 2000,
        total: 2000,
    };

    #[test]
    fn data_stay_when_a_link_goes() {
        let stores = Stores::default();
        let store = stores.get("app");
        store.create("c", BOUNDS).unwrap();
        stores.get("other");
        stores.settle();
        drop(store);
        let store = stores.get("app");
        assert!(store.has("c"));
        store.delete("c");
        assert!(matches!(
            store.container("c"),
            Err(BlobError::NoContainer(_))
        ));
        stores.settle();
        drop(store);
        stores.settle();
        assert!(stores.by_name.lock().is_empty());
        assert_eq!(stores.total.held(), 0);
    }
}
