//! Taking turns over a key.

use std::hash::{BuildHasher as _, RandomState};

use tokio::sync::{Mutex, MutexGuard};

/// How many changes of different keys can run at once, at least.
const TURNSTILES: usize = 256;

/// Lets changes of a key that have to read it first run one after the other in this process. Those
/// of other processes are noticed by the backend; among thousands of ours that would be a fight.
#[derive(Debug)]
pub struct Turns {
    turnstiles: Vec<Mutex<()>>,
    hasher: RandomState,
}

impl Default for Turns {
    fn default() -> Self {
        Self {
            turnstiles: (0..TURNSTILES).map(|_| Mutex::default()).collect(),
            hasher: RandomState::new(),
        }
    }
}

impl Turns {
    /// Waits until no other change of the key is under way.
    pub async fn take(&self, bucket: &str, key: &str) -> MutexGuard<'_, ()> {
        let hash = self.hasher.hash_one((bucket, key));
        let at = hash % self.turnstiles.len() as u64;
        // The remainder is smaller than a usize.
        let at = usize::try_from(at).unwrap_or(0);
        self.turnstiles[at].lock().await
    }
}
