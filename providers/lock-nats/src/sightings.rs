//! Since when each lock has been seen as it is, and which are free.

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
pub(crate) struct Sightings(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    held: HashMap<String, Sighting>,
    /// Keys that were deleted, and at which revision. What is forgotten is read again.
    free: HashMap<String, Revision>,
}

impl Sightings {
    /// Takes in what a key is, and tells since when it has been that. Any other revision begins
    /// anew, even an older one: to begin later than needed is always safe.
    pub(crate) fn see(&self, key: &str, revision: Revision, value: &Bytes) -> Instant {
        let now = Instant::now();
        let mut table = self.0.lock();
        if let Some(known) = table.held.get(key)
            && known.revision == revision
            && known.value == *value
        {
            return known.since;
        }
        if table.held.len() >= CLEAR_FROM {
            table.held.retain(|_, known| now - known.since < OLD);
        }
        table.free.remove(key);
        let fresh = Sighting {
            revision,
            value: value.clone(),
            since: now,
        };
        table.held.insert(key.to_owned(), fresh);
        now
    }

    /// What a key was when it was last seen, if it was held.
    pub(crate) fn of(&self, key: &str) -> Option<Sighting> {
        self.0.lock().held.get(key).cloned()
    }

    /// At which revision a key that is not known to be held could be written; `blank` is that of one
    /// that nobody has ever written.
    pub(crate) fn free_at(&self, key: &str, blank: Revision) -> Option<Revision> {
        let table = self.0.lock();
        if table.held.contains_key(key) {
            return None;
        }
        Some(table.free.get(key).copied().unwrap_or(blank))
    }

    /// What a key was when NATS lost it, if it has not been written since the bucket was made
    /// again, which `read` says.
    pub(crate) fn lost(&self, key: &str, read: Revision) -> Option<Sighting> {
        let known = self.of(key)?;
        (read.number == 0 && known.revision.making < read.making).then_some(known)
    }

    /// Forgets a key that is not held any more since `revision`, if that is known. Word of it may
    /// come after the key was written again.
    pub(crate) fn gone(&self, key: &str, revision: Option<Revision>) {
        let mut table = self.0.lock();
        let is_old = |known: &Sighting| revision.is_some_and(|gone| gone < known.revision);
        if table.held.get(key).is_some_and(is_old) {
            return;
        }
        table.held.remove(key);
        if table.free.len() >= CLEAR_FROM {
            table.free.clear();
        }
        match revision {
            Some(revision) => table.free.insert(key.to_owned(), revision),
            None => table.free.remove(key),
        };
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
        sightings.gone("a", None);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(sightings.see("a", five, &other), Instant::now());
    }

    #[tokio::test]
    async fn what_is_free_is_known_until_it_is_written() {
        let sightings = Sightings::default();
        let blank = revision(1, 0);
        let free_at = || sightings.free_at("a", blank);
        assert_eq!(free_at(), Some(blank));
        sightings.see("a", revision(1, 5), &Bytes::from("x"));
        assert_eq!(free_at(), None);
        // Word of an earlier deletion comes late.
        sightings.gone("a", Some(revision(1, 4)));
        assert_eq!(free_at(), None);
        sightings.gone("a", Some(revision(1, 6)));
        assert_eq!(free_at(), Some(revision(1, 6)));
        sightings.see("a", revision(1, 7), &Bytes::from("x"));
        sightings.gone("a", None);
        assert_eq!(free_at(), Some(blank));
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
