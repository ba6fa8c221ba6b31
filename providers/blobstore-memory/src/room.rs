//! How much is held, and how much may be.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use lattice_provider_sdk::blobstore::BlobError;

/// What a container or an object takes beside its name and its data, about.
pub(crate) const OVERHEAD: u64 = 256;

/// What is held of something that is bounded.
#[derive(Debug, Default)]
pub(crate) struct Room(AtomicU64);

impl Room {
    /// How much is held.
    #[cfg(test)]
    pub(crate) fn held(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    fn take(&self, bytes: u64, limit: u64) -> bool {
        let fits = |held: u64| held.checked_add(bytes).filter(|sum| *sum <= limit);
        self.0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits)
            .is_ok()
    }

    fn give_back(&self, bytes: u64) {
        self.0.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// How much may be held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bounds {
    pub(crate) container: u64,
    pub(crate) total: u64,
}

/// Holds room in a container and in all together; it is given back when this is dropped.
#[derive(Debug)]
pub(crate) struct Held {
    container: Arc<Room>,
    total: Arc<Room>,
    bytes: u64,
}

impl Held {
    /// Holds nothing yet.
    pub(crate) fn new(container: &Arc<Room>, total: &Arc<Room>) -> Self {
        Self {
            container: Arc::clone(container),
            total: Arc::clone(total),
            bytes: 0,
        }
    }

    /// Holds more.
    pub(crate) fn grow(&mut self, bytes: u64, bounds: Bounds) -> Result<(), BlobError> {
        let full = |what: &str, limit: u64, key: &str| {
            let text = format!("{what} may hold {limit} bytes (`{key}`)");
            Err(BlobError::Full(text))
        };
        if !self.container.take(bytes, bounds.container) {
            return full("its container", bounds.container, "max_bytes");
        }
        if !self.total.take(bytes, bounds.total) {
            self.container.give_back(bytes);
            return full("all containers", bounds.total, "max_total_bytes");
        }
        self.bytes += bytes;
        Ok(())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.container.give_back(self.bytes);
        self.total.give_back(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_dropped_is_given_back() {
        let (container, total) = (Arc::default(), Arc::default());
        let bounds = Bounds {
            container: 10,
            total: 15,
        };
        let mut one = Held::new(&container, &total);
        one.grow(6, bounds).unwrap();
        one.grow(4, bounds).unwrap();
        let error = one.grow(1, bounds).unwrap_err().to_string();
        assert!(error.contains("`max_bytes`"), "{error}");
        let mut other = Held::new(&Arc::default(), &total);
        let error = other.grow(6, bounds).unwrap_err().to_string();
        assert!(error.contains("`max_total_bytes`"), "{error}");
        other.grow(5, bounds).unwrap();
        drop(one);
        assert_eq!((container.held(), total.held()), (0, 5));
    }
}
