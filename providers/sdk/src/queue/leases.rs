//! Which leases have ended, for backends that do not tell.
//!
//! Some backends delete a message whose lease has ended as long as nobody else has received it, or say
//! nothing. So their providers know what they have given, with the end of its lease, and within a bound.
//! A receipt says by itself how long its lease was at first, for the other copies of the provider.

use std::collections::HashMap;
use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use tokio::time::Instant;

/// How many leases are known at most; those beyond are judged by their receipts alone.
const MOST: usize = 50_000;
/// Ended leases are not removed while there are fewer than this.
const PRUNE_FROM: usize = 1024;
/// How long to wait before pruning again when the table is full of leases that last.
const PRUNE_EVERY: Duration = Duration::from_secs(1);

/// What is known of a lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeaseState<T> {
    /// It lasts; with what was put last.
    Lasts(T),
    /// It is not known here, and lasts by its receipt.
    AsGiven,
    /// It has ended, or the message was settled.
    Over,
    /// It is not known here, and has ended unless it was extended elsewhere.
    Doubtful,
}

/// A receipt that says when its lease ends, unless it is extended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DatedReceipt<'a> {
    until_ms: u64,
    /// What the backend knows the delivery by.
    pub own: &'a str,
}

impl<'a> DatedReceipt<'a> {
    /// Reads what [`Self::write`] has written; `None` for another text.
    #[must_use]
    pub fn read(text: &'a str) -> Option<Self> {
        let (until, own) = text.split_once(':')?;
        let until_ms = until.parse().ok()?;
        Some(Self { until_ms, own })
    }

    /// The receipt of a delivery that the backend knows by `own`, leased for so long from now.
    #[must_use]
    pub fn write(own: impl fmt::Display, lease: Duration) -> String {
        let lease = u64::try_from(lease.as_millis()).unwrap_or(u64::MAX);
        format!("{}:{own}", now_ms().saturating_add(lease))
    }

    /// How long the lease lasts from now.
    #[must_use]
    pub fn left(&self) -> Duration {
        Duration::from_millis(self.until_ms.saturating_sub(now_ms()))
    }
}

/// The leases that this process gave, each with what its provider has to know.
#[derive(Debug, Default)]
pub struct LeaseTable<T>(Mutex<Table<T>>);

#[derive(Debug, Default)]
struct Table<T> {
    leases: HashMap<String, Lease<T>>,
    /// How many there may be before those that have ended are forgotten.
    full: usize,
    /// When that is done again, where it did not help.
    again: Option<Instant>,
}

#[derive(Debug)]
struct Lease<T> {
    until: Instant,
    /// `None` when the message was settled.
    known: Option<T>,
}

impl<T> Table<T> {
    /// Removes ended leases when the table is full, and raises the next threshold to twice what is left, so
    /// that not every insertion scans it.
    fn has_room(&mut self) -> bool {
        let now = Instant::now();
        let is_time = self.again.is_none_or(|again| again <= now);
        if self.leases.len() >= self.full.max(PRUNE_FROM) && is_time {
            self.leases.retain(|_, lease| lease.until > now);
            self.full = (self.leases.len() * 2).clamp(PRUNE_FROM, MOST);
            self.again = (self.leases.len() >= MOST).then(|| now + PRUNE_EVERY);
        }
        self.leases.len() < MOST
    }
}

impl<T: Clone> LeaseTable<T> {
    /// A lease ends so long from now. Without room it is not known.
    pub fn put(&self, key: &str, known: T, lease: Duration) {
        self.insert(key, Some(known), lease);
    }

    /// The message was settled, whoever gave it. That is known for so long.
    pub fn put_settled(&self, key: &str, remembered: Duration) {
        self.insert(key, None, remembered);
    }

    fn insert(&self, key: &str, known: Option<T>, lease: Duration) {
        let mut table = self.0.lock();
        if table.has_room() || table.leases.contains_key(key) {
            let until = Instant::now() + lease;
            table.leases.insert(key.to_owned(), Lease { until, known });
        }
    }

    /// The message was settled; that is known if its lease is.
    pub fn settle(&self, key: &str) {
        if let Some(lease) = self.0.lock().leases.get_mut(key) {
            lease.known = None;
        }
    }

    /// What is known of the lease of a receipt.
    #[must_use]
    pub fn state(&self, key: &str, receipt: &DatedReceipt<'_>) -> LeaseState<T> {
        match self.0.lock().leases.get(key) {
            Some(Lease {
                until,
                known: Some(known),
            }) if *until > Instant::now() => LeaseState::Lasts(known.clone()),
            Some(_) => LeaseState::Over,
            None if receipt.left().is_zero() => LeaseState::Doubtful,
            None => LeaseState::AsGiven,
        }
    }
}

/// Unix time in milliseconds.
fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    u64::try_from(since.unwrap_or_default().as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE: Duration = Duration::from_secs(60);

    #[tokio::test(start_paused = true)]
    async fn ended_leases_are_forgotten() {
        let leases = LeaseTable::default();
        for n in 0..10 * PRUNE_FROM {
            leases.put(&n.to_string(), (), Duration::from_millis(10));
            tokio::time::advance(Duration::from_millis(1)).await;
        }
        assert!(leases.0.lock().leases.len() <= PRUNE_FROM);
        for n in 0..2 * MOST {
            leases.put(&n.to_string(), (), LEASE);
        }
        assert!(leases.0.lock().leases.len() <= MOST);
    }

    #[tokio::test(start_paused = true)]
    async fn leases_end_and_are_settled_once() {
        let leases = LeaseTable::default();
        let text = DatedReceipt::write("a:b", LEASE);
        let receipt = DatedReceipt::read(&text).unwrap();
        assert_eq!(receipt.own, "a:b");
        assert_eq!(leases.state("a:b", &receipt), LeaseState::AsGiven);
        leases.put("a:b", 1, Duration::from_secs(5));
        assert_eq!(leases.state("a:b", &receipt), LeaseState::Lasts(1));
        tokio::time::advance(Duration::from_secs(5)).await;
        assert_eq!(leases.state("a:b", &receipt), LeaseState::Over);
        leases.put("a:b", 2, Duration::from_secs(5));
        assert_eq!(leases.state("a:b", &receipt), LeaseState::Lasts(2));
        leases.settle("a:b");
        assert_eq!(leases.state("a:b", &receipt), LeaseState::Over);
        leases.settle("c");
        assert_eq!(leases.state("c", &receipt), LeaseState::AsGiven);
        leases.put_settled("c", receipt.left());
        assert_eq!(leases.state("c", &receipt), LeaseState::Over);
    }

    #[test]
    fn what_has_ended_and_is_not_known_is_doubtful() {
        let leases = LeaseTable::<()>::default();
        let old = DatedReceipt::read("1:unknown").unwrap();
        assert_eq!(leases.state("unknown", &old), LeaseState::Doubtful);
        for bad in ["", "x", "x:7", ":7", "-1:7"] {
            assert_eq!(DatedReceipt::read(bad), None, "{bad}");
        }
    }
}
