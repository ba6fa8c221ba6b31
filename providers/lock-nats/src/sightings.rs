//! Since when each lock has been seen as it is.

use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::time::Instant;

/// From how many on old ones are cleared away, and how old that is: longer than any lock lasts.
const CLEAR_FROM: usize = 1024;
const OLD: Duration = Duration::from_secs(24 * 3600);

/// One revision of a key.
#[derive(Debug)]
struct Sighting {
    revision: u64,
    value: Bytes,
    since: Instant,
}

/// The revisions of keys, and when each was seen first by this process.
#[derive(Debug, Default)]
pub(crate) struct Sightings(Mutex<HashMap<String, Sighting>>);

impl Sightings {
    /// Takes in what a key is, and tells since when it has been that. Any other revision begins
    /// anew, even an older one, which is of another bucket of the same name: to begin later than
    /// needed is always safe. The value is compared for the same reason.
    pub(crate) fn see(&self, key: &str, revision: u64, value: &Bytes) -> Instant {
        let now = Instant::now();
        let mut table = self.0.lock();
        if let Some(known) = table.get(key)
            && known.revision == revision
            && known.value == *value
        {
            return known.since;
        }
        if table.len() >= CLEAR_FROM {
            table.retain(|_, known| now - known.since < OLD);
        }
        let fresh = Sighting {
            revision,
            value: value.clone(),
            since: now,
        };
        table.insert(key.to_owned(), fresh);
        now
    }

    /// Forgets a key that is not held any more.
    pub(crate) fn gone(&self, key: &str) {
        self.0.lock().remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_same_revision_is_known_since_it_was_first_seen() {
        let sightings = Sightings::default();
        let (value, other) = (Bytes::from("x"), Bytes::from("y"));
        let first = sightings.see("a", 5, &value);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(sightings.see("a", 5, &value), first);
        let now = Instant::now();
        assert_eq!(sightings.see("b", 5, &value), now);
        for (revision, value) in [(6, &value), (5, &value), (5, &other)] {
            assert_eq!(sightings.see("a", revision, value), now);
        }
        sightings.gone("a");
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(sightings.see("a", 5, &other), Instant::now());
    }
}
