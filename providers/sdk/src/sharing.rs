//! One connection for all links that say the same.

use std::collections::HashMap;
use std::hash::Hash;
use std::ops::Deref;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use tokio::sync::OnceCell;

type Slot<V> = OnceCell<Arc<V>>;

/// Values by what they were made from, such as connections by their settings. Each is made once,
/// and dropped with the last one who holds it.
#[derive(Debug)]
pub struct Sharing<K, V> {
    slots: Mutex<HashMap<K, Weak<Slot<V>>>>,
}

/// Holds a value that others may share.
#[derive(Debug)]
pub struct Shared<V> {
    // Others find the value by its slot.
    _slot: Arc<Slot<V>>,
    value: Arc<V>,
}

impl<V> Clone for Shared<V> {
    fn clone(&self) -> Self {
        Self {
            _slot: Arc::clone(&self._slot),
            value: Arc::clone(&self.value),
        }
    }
}

impl<V> Deref for Shared<V> {
    type Target = V;

    fn deref(&self) -> &V {
        &self.value
    }
}

impl<K, V> Default for Sharing<K, V> {
    fn default() -> Self {
        Self {
            slots: Mutex::default(),
        }
    }
}

impl<K: Clone + Eq + Hash, V> Sharing<K, V> {
    /// Holds no value yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The value for `key`, made by `make` if there is none. Those who ask at once wait for one of
    /// them to make it; when that fails, the next one tries.
    ///
    /// # Errors
    ///
    /// That of `make`.
    pub async fn get<E, F>(&self, key: &K, make: impl FnOnce() -> F) -> Result<Shared<V>, E>
    where
        F: Future<Output = Result<V, E>>,
    {
        let slot = self.slot(key);
        let make = async || make().await.map(Arc::new);
        let value = Arc::clone(slot.get_or_try_init(make).await?);
        Ok(Shared { _slot: slot, value })
    }

    fn slot(&self, key: &K) -> Arc<Slot<V>> {
        let mut slots = self.slots.lock();
        slots.retain(|_, slot| slot.strong_count() > 0);
        if let Some(slot) = slots.get(key).and_then(Weak::upgrade) {
            return slot;
        }
        let slot = Arc::new(Slot::new());
        slots.insert(key.clone(), Arc::downgrade(&slot));
        slot
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    async fn make(sharing: &Sharing<u32, u32>, key: u32, value: u32) -> Shared<u32> {
        let made = sharing.get(&key, || async { Ok::<_, Infallible>(value) });
        let Ok(shared) = made.await;
        shared
    }

    #[tokio::test]
    async fn a_value_is_made_once_while_it_is_held() {
        let sharing = Sharing::new();
        let first = make(&sharing, 1, 10).await;
        let second = make(&sharing, 1, 20).await;
        assert_eq!((*first, *second), (10, 10));
        assert_eq!(*make(&sharing, 2, 20).await, 20);
        drop((first, second));
        assert_eq!(*make(&sharing, 1, 30).await, 30);
    }

    #[tokio::test]
    async fn a_failure_is_not_kept() {
        let sharing = Sharing::<u32, u32>::new();
        let failed = sharing.get(&1, || async { Err::<u32, _>("no") }).await;
        assert_eq!(failed.err(), Some("no"));
        assert_eq!(*make(&sharing, 1, 10).await, 10);
    }
}
