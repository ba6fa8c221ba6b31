//! Which leases have ended.
//!
//! SQS says nothing when a message is deleted whose lease has ended: it deletes it, or leaves it.
//! So what this process gave is known here, with the end of its lease. A receipt says by itself how
//! long its lease was at first, for the other copies of the provider.

use std::collections::HashMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use tokio::time::Instant;

/// How many leases are known at most; those beyond are judged by their receipts alone.
const MOST: usize = 50_000;
/// Those that have ended are not looked for among fewer.
const FEW: usize = 1024;
/// How long nothing is looked for when all of the most last.
const PAUSE: Duration = Duration::from_secs(1);

/// What is known of a lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// It lasts.
    Held,
    /// It has ended, or the message was settled.
    Over,
    /// It may have been extended elsewhere.
    Doubtful,
}

#[derive(Debug, Clone, Copy)]
struct Lease {
    until: Instant,
    is_settled: bool,
}

/// The leases that this process gave.
#[derive(Debug, Default)]
pub(crate) struct Leases(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    leases: HashMap<String, Lease>,
    /// How many there may be before those that have ended are forgotten.
    full: usize,
    /// When that is done again, where it did not help.
    again: Option<Instant>,
}

impl Table {
    /// Makes room for one more, if there is any. Who makes room leaves as much as is kept, so that it
    /// is not made for each.
    fn has_room(&mut self) -> bool {
        let now = Instant::now();
        let is_time = self.again.is_none_or(|again| again <= now);
        if self.leases.len() >= self.full.max(FEW) && is_time {
            self.leases.retain(|_, lease| lease.until > now);
            self.full = (self.leases.len() * 2).clamp(FEW, MOST);
            self.again = (self.leases.len() >= MOST).then(|| now + PAUSE);
        }
        self.leases.len() < MOST
    }
}

impl Leases {
    /// A lease ends then.
    pub(crate) fn put(&self, handle: &str, lease: Duration) {
        let mut table = self.0.lock();
        if table.has_room() || table.leases.contains_key(handle) {
            let lease = Lease {
                until: Instant::now() + lease,
                is_settled: false,
            };
            table.leases.insert(handle.to_owned(), lease);
        }
    }

    /// The message was settled.
    pub(crate) fn settle(&self, handle: &str) {
        if let Some(lease) = self.0.lock().leases.get_mut(handle) {
            lease.is_settled = true;
        }
    }

    /// What is known of the lease of a receipt.
    pub(crate) fn state(&self, receipt: &Receipt<'_>) -> State {
        match self.0.lock().leases.get(receipt.handle) {
            Some(lease) if lease.is_settled || lease.until <= Instant::now() => State::Over,
            Some(_) => State::Held,
            None if receipt.until_ms > now_ms() => State::Held,
            None => State::Doubtful,
        }
    }
}

/// What SQS knows a delivery by, with the end of its lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Receipt<'a> {
    pub(crate) until_ms: u64,
    pub(crate) handle: &'a str,
}

impl<'a> Receipt<'a> {
    pub(crate) fn read(text: &'a str) -> Option<Self> {
        let (until, handle) = text.split_once(':')?;
        let until_ms = until.parse().ok()?;
        Some(Self { until_ms, handle })
    }

    pub(crate) fn write(handle: &str, lease: Duration) -> String {
        let lease = u64::try_from(lease.as_millis()).unwrap_or(u64::MAX);
        format!("{}:{handle}", now_ms().saturating_add(lease))
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

    #[tokio::test(start_paused = true)]
    async fn ended_leases_are_forgotten() {
        let leases = Leases::default();
        for n in 0..10 * FEW {
            leases.put(&n.to_string(), Duration::from_millis(10));
            tokio::time::advance(Duration::from_millis(1)).await;
        }
        assert!(leases.0.lock().leases.len() <= FEW);
        for n in 0..2 * MOST {
            leases.put(&n.to_string(), Duration::from_secs(60));
        }
        assert!(leases.0.lock().leases.len() <= MOST);
    }

    #[tokio::test(start_paused = true)]
    async fn leases_end_and_are_settled_once() {
        let leases = Leases::default();
        let text = Receipt::write("a:b", Duration::from_secs(60));
        let receipt = Receipt::read(&text).unwrap();
        assert_eq!(receipt.handle, "a:b");
        assert_eq!(leases.state(&receipt), State::Held);
        leases.put("a:b", Duration::from_secs(5));
        assert_eq!(leases.state(&receipt), State::Held);
        tokio::time::advance(Duration::from_secs(5)).await;
        assert_eq!(leases.state(&receipt), State::Over);
        leases.put("a:b", Duration::from_secs(5));
        leases.settle("a:b");
        assert_eq!(leases.state(&receipt), State::Over);
        let old = Receipt {
            until_ms: 1,
            handle: "unknown",
        };
        assert_eq!(leases.state(&old), State::Doubtful);
        assert_eq!(Receipt::read("x"), None);
    }
}
