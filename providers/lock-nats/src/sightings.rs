//! Since when each lock has been seen as it is, and which are free.

use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use lattice_provider_sdk::nats::ledger::Revision;
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::record::Record;

/// How many keys are known to be free.
const MOST_FREE: usize = 1024;
/// What is older than this is forgotten: no lock lasts so long.
const OLD: Duration = Duration::from_secs(24 * 3600);

/// One revision of a key.
#[derive(Debug, Clone)]
pub(crate) struct Sighting {
    pub(crate) revision: Revision,
    pub(crate) value: Bytes,
    /// When it was seen first.
    pub(crate) since: Instant,
    /// The connection on which it was seen last: the how many-th.
    pub(crate) connection: u64,
    /// How long the lock lasts.
    ttl: Duration,
}

impl Sighting {
    /// Whether the lock is over for as long again as it lasted.
    fn is_spent(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.since) / 2 >= self.ttl
    }
}

/// The revisions of keys, and when each was seen first by this process.
#[derive(Debug, Default)]
pub(crate) struct Sightings(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    held: HashMap<String, Sighting>,
    /// Keys that were deleted, at which revision, and on which connection that was seen. What is
    /// forgotten is read again.
    free: HashMap<String, (Revision, u64)>,
}

impl Sightings {
    /// Takes in what a key is, and tells since when it has been that. Any other revision begins
    /// anew, even an older one: to begin later than needed is always safe.
    pub(crate) fn see(
        &self,
        key: &str,
        revision: Revision,
        value: &Bytes,
        connection: u64,
    ) -> Instant {
        let now = Instant::now();
        let mut table = self.0.lock();
        if let Some(known) = table.held.get_mut(key)
            && known.revision == revision
            && known.value == *value
        {
            known.connection = connection;
            return known.since;
        }
        table.free.remove(key);
        let fresh = Sighting {
            revision,
            value: value.clone(),
            since: now,
            connection,
            // What is no lock is left alone.
            ttl: Record::read(value).map_or(OLD, |record| record.ttl()),
        };
        table.held.insert(key.to_owned(), fresh);
        now
    }

    /// What a key was when it was last seen, if it was held.
    pub(crate) fn of(&self, key: &str) -> Option<Sighting> {
        self.0.lock().held.get(key).cloned()
    }

    /// At which revision a key that is not known to be held could be written; `blank` is that of one
    /// that nobody has ever written. One that was deleted on another connection than this has to be
    /// read: NATS may have lost that, and have given its number to another change.
    pub(crate) fn free_at(&self, key: &str, blank: Revision, connection: u64) -> Option<Revision> {
        let table = self.0.lock();
        if table.held.contains_key(key) {
            return None;
        }
        match table.free.get(key) {
            Some((revision, on)) => (*on == connection).then_some(*revision),
            None => Some(blank),
        }
    }

    /// What a key was when NATS lost it, which `read` says, at which it is not there: it has not been
    /// written since the bucket was made again, or went before, and the bucket came back without its
    /// last changes.
    pub(crate) fn lost(&self, key: &str, read: Revision) -> Option<Sighting> {
        let known = self.of(key)?;
        let is_blank = read.number == 0 && known.revision.making < read.making;
        (is_blank || read < known.revision).then_some(known)
    }

    /// Some keys whose locks are over for long, at most so many.
    pub(crate) fn spent(&self, most: usize) -> Vec<(String, Revision)> {
        let now = Instant::now();
        let table = self.0.lock();
        let spent = table.held.iter().filter(|(_, known)| known.is_spent(now));
        let spent = spent.map(|(key, known)| (key.clone(), known.revision));
        spent.take(most).collect()
    }

    /// Whether a lock is over for long.
    pub(crate) fn is_spent(&self, key: &str) -> bool {
        let now = Instant::now();
        let table = self.0.lock();
        table.held.get(key).is_some_and(|known| known.is_spent(now))
    }

    /// Forgets a key, if it is known as it was at a revision.
    pub(crate) fn forget(&self, key: &str, revision: Revision) {
        let mut table = self.0.lock();
        if table.held.get(key).is_some_and(|k| k.revision == revision) {
            table.held.remove(key);
        }
    }

    /// Forgets what was not changed for longer than any lock lasts.
    pub(crate) fn forget_old(&self) {
        let now = Instant::now();
        let mut table = self.0.lock();
        let age = |known: &Sighting| now.saturating_duration_since(known.since);
        table.held.retain(|_, known| age(known) < OLD);
    }

    /// Forgets a key that is not held any more since `revision`, if that is known. Word of it may
    /// come after the key was written again.
    pub(crate) fn gone(&self, key: &str, revision: Option<Revision>, connection: u64) {
        let mut table = self.0.lock();
        let is_old = |known: &Sighting| revision.is_some_and(|gone| gone < known.revision);
        if table.held.get(key).is_some_and(is_old) {
            return;
        }
        table.held.remove(key);
        if table.free.len() >= MOST_FREE {
            table.free.clear();
        }
        match revision {
            Some(revision) => table.free.insert(key.to_owned(), (revision, connection)),
            None => table.free.remove(key),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A lock that lasts for a second.
    const LOCK: &str = r#"{"owner":"a","secret":"b","ttl_ms":1000}"#;

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
        let first = sightings.see("a", five, &value, 1);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(sightings.see("a", five, &value, 2), first);
        assert_eq!(sightings.of("a").unwrap().connection, 2);
        let now = Instant::now();
        assert_eq!(sightings.see("b", five, &value, 1), now);
        let six = revision(1, 6);
        for (revision, value) in [(six, &value), (five, &value), (five, &other)] {
            assert_eq!(sightings.see("a", revision, value, 1), now);
        }
        sightings.gone("a", None, 1);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(sightings.see("a", five, &other, 1), Instant::now());
    }

    #[tokio::test]
    async fn what_is_free_is_known_until_it_is_written() {
        let sightings = Sightings::default();
        let blank = revision(1, 0);
        let free_at = || sightings.free_at("a", blank, 1);
        assert_eq!(free_at(), Some(blank));
        sightings.see("a", revision(1, 5), &Bytes::from("x"), 1);
        assert_eq!(free_at(), None);
        // Word of an earlier deletion comes late.
        sightings.gone("a", Some(revision(1, 4)), 1);
        assert_eq!(free_at(), None);
        sightings.gone("a", Some(revision(1, 6)), 1);
        assert_eq!(free_at(), Some(revision(1, 6)));
        // On another connection the number may be that of another change.
        assert_eq!(sightings.free_at("a", blank, 2), None);
        assert_eq!(sightings.free_at("b", blank, 2), Some(blank));
        sightings.gone("a", Some(revision(1, 6)), 2);
        assert_eq!(sightings.free_at("a", blank, 2), Some(revision(1, 6)));
        sightings.see("a", revision(1, 7), &Bytes::from("x"), 1);
        sightings.gone("a", None, 1);
        assert_eq!(free_at(), Some(blank));
    }

    #[tokio::test]
    async fn what_is_lost_is_remembered_until_it_is_written_anew() {
        let sightings = Sightings::default();
        sightings.see("a", revision(1, 5), &Bytes::from("x"), 1);
        assert!(sightings.lost("a", revision(2, 0)).is_some());
        assert!(sightings.lost("a", revision(2, 3)).is_none());
        // The bucket is the same, without its last changes.
        for (number, is_lost) in [(0, true), (4, true), (5, false), (6, false)] {
            let lost = sightings.lost("a", revision(1, number));
            assert_eq!(lost.is_some(), is_lost, "{number}");
        }
        sightings.see("a", revision(2, 3), &Bytes::from("y"), 1);
        assert!(sightings.lost("a", revision(2, 4)).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_over_for_long_is_spent_and_only_that() {
        let sightings = Sightings::default();
        let (lock, other) = (Bytes::from(LOCK), Bytes::from("no lock"));
        for n in 0..5 {
            sightings.see(&format!("over{n}"), revision(1, n), &lock, 1);
        }
        sightings.see("other", revision(1, 5), &other, 1);
        tokio::time::advance(Duration::from_millis(1999)).await;
        sightings.see("late", revision(1, 6), &lock, 1);
        assert!(sightings.spent(10).is_empty());
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!(sightings.spent(3).len(), 3);
        let spent = sightings.spent(10);
        assert_eq!(spent.len(), 5);
        for (key, revision) in spent {
            assert!(key.starts_with("over"), "{key}");
            assert!(sightings.is_spent(&key));
            sightings.forget(&key, revision);
        }
        assert!(sightings.spent(10).is_empty());
        // Whoever renews it meanwhile keeps it.
        sightings.forget("late", revision(1, 5));
        assert!(sightings.of("late").is_some());
        tokio::time::advance(OLD).await;
        sightings.forget_old();
        assert!(sightings.of("other").is_none());
    }
}
