//! Since when each lock has been seen as it is.

use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use lattice_provider_sdk::nats::ledger::Revision;
use parking_lot::Mutex;
use tokio::time::Instant;

/// From how many on old ones are cleared away, and how old that is: longer than any lock lasts.
const CLEAR_FROM: usize = 1024;
const OLD: Duration = Duration::from_secs(24 * 3600);

/// One revision of a key.
#[derive(Debug, Clone)]
pub(crate) struct Sighting {
    pub(crate) revision: Revision,
    pub(crate) value: Bytes,
    /// When it was seen first.
    pub(crate) since: Instant,
}

/// The revisions of keys, and when each was seen first by this process.
#[derive(Debug, Default)]
pub(crate) struct Sightings(Mutex<HashMap<String, Sighting>>);

impl Sightings {
    /// Takes in what a key is, and tells since when it has been that. Any other revision begins
    /// anew, even an older one: to begin later than needed is always safe.
    pub(crate) fn see(&self, key: &str, revision: Revision, value: &Bytes) -> Instant {
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

    /// What a key was when NATS lost it, if it has not been written since the bucket was made
    /// again, which `read` says.
    pub(crate) fn lost(&self, key: &str, read: Revision) -> Option<Sighting> {
        let table = self.0.lock();
        let known = table.get(key).cloned()?;
        (read.number == 0 && known.revision.making < read.making).then_some(known)
    }

    /// Forgets a key that is not held any more.
    pub(crate) fn gone(&self, key: &str) {
        self.0.lock().remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn revision(making: u64, number: u64) -> Revision {
        Revision {
            making,
            made: 0,
            number,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_same_revision_is_known_since_it_was_first_seen() {
        let sightings = Sightings::default();
        let five = revision(1, 5);
        let (value, other) = (Bytes::from("x"), Bytes::from("y"));
        let first = sightings.see("a", five, &value);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(sightings.see("a", five, &value), first);
        let now = Instant::now();
        assert_eq!(sightings.see("b", five, &value), now);
        let six = revision(1, 6);
        for (revision, value) in [(six, &value), (five, &value), (five, &other)] {
            assert_eq!(sightings.see("a", revision, value), now);
        }
        sightings.gone("a");
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(sightings.see("a", five, &other), Instant::now());
    }

    #[tokio::test]
    async fn what_is_lost_is_remembered_until_it_is_written_anew() {
        let sightings = Sightings::default();
        sightings.see("a", revision(1, 5), &Bytes::from("x"));
        assert!(sightings.lost("a", revision(1, 0)).is_none());
        assert!(sightings.lost("a", revision(2, 0)).is_some());
        assert!(sightings.lost("a", revision(2, 3)).is_none());
        sightings.see("a", revision(2, 3), &Bytes::from("y"));
        assert!(sightings.lost("a", revision(2, 0)).is_none());
    }
}
