//! Which leases have ended, and by what Azure knows a delivery now.
//!
//! Azure lets a message be deleted whose lease has ended, as long as nobody else has received it. So
//! a receipt says when its lease ends. When a lease is extended Azure gives another receipt; that one
//! is known here by the first.

use std::collections::HashMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use tokio::time::Instant;

/// How many deliveries are known at most; those beyond cannot be extended.
const MOST: usize = 50_000;
/// Those that have ended are not looked for among fewer.
const FEW: usize = 1024;
/// How long nothing is looked for when all of the most last.
const PAUSE: Duration = Duration::from_secs(1);

#[derive(Debug)]
struct Lease {
    until: Instant,
    /// What Azure knows it by now; `None` when it was settled.
    pop: Option<String>,
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

/// A message under a lease that lasts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Held {
    /// The number of the message.
    pub(crate) id: String,
    /// What Azure knows the delivery by.
    pub(crate) pop: String,
}

/// Why there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotHeld {
    /// It has ended, or the message was settled.
    Over,
    /// The text is no receipt.
    Foreign,
}

impl Leases {
    /// The lease of a receipt ends then, and this is what Azure knows it by. Without room it is not
    /// known, and ends when the receipt says.
    pub(crate) fn put(&self, receipt: &str, pop: &str, lease: Duration) {
        self.insert(receipt, Some(pop.to_owned()), lease);
    }

    /// The message was settled, or its receipt is of no use any more.
    pub(crate) fn settle(&self, receipt: &str) {
        // Remembered for as long as the text itself would say that the lease lasts.
        let left = read(receipt).map_or(0, |(until_ms, _)| until_ms.saturating_sub(now_ms()));
        self.insert(receipt, None, Duration::from_millis(left));
    }

    fn insert(&self, receipt: &str, pop: Option<String>, lease: Duration) {
        let mut table = self.0.lock();
        if table.has_room() || table.leases.contains_key(receipt) {
            let until = Instant::now() + lease;
            table
                .leases
                .insert(receipt.to_owned(), Lease { until, pop });
        }
    }

    /// The message of a receipt.
    pub(crate) fn held(&self, receipt: &str) -> Result<Held, NotHeld> {
        let (until_ms, rest) = read(receipt).ok_or(NotHeld::Foreign)?;
        let (id, first) = rest.split_once(':').ok_or(NotHeld::Foreign)?;
        let pop = match self.0.lock().leases.get(receipt) {
            Some(lease) if lease.until > Instant::now() => lease.pop.clone(),
            Some(_) => None,
            // A copy that has ended gave it; had it been extended, Azure would refuse it.
            None => (until_ms > now_ms()).then(|| first.to_owned()),
        };
        let id = id.to_owned();
        pop.map(|pop| Held { id, pop }).ok_or(NotHeld::Over)
    }
}

/// The receipt of a delivery.
pub(crate) fn receipt(id: &str, pop: &str, lease: Duration) -> String {
    let lease = u64::try_from(lease.as_millis()).unwrap_or(u64::MAX);
    format!("{}:{id}:{pop}", now_ms().saturating_add(lease))
}

fn read(receipt: &str) -> Option<(u64, &str)> {
    let (until, rest) = receipt.split_once(':')?;
    Some((until.parse().ok()?, rest))
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
    async fn leases_end_and_have_new_receipts_when_extended() {
        let leases = Leases::default();
        let text = receipt("7", "a:b=", LEASE);
        let held = |pop: &str| {
            Ok(Held {
                id: "7".to_owned(),
                pop: pop.to_owned(),
            })
        };
        assert_eq!(leases.held(&text), held("a:b="));
        leases.put(&text, "a:b=", Duration::from_secs(5));
        tokio::time::advance(Duration::from_secs(4)).await;
        leases.put(&text, "c", Duration::from_secs(5));
        tokio::time::advance(Duration::from_secs(4)).await;
        assert_eq!(leases.held(&text), held("c"));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(leases.held(&text), Err(NotHeld::Over));
    }

    #[tokio::test(start_paused = true)]
    async fn ended_leases_are_forgotten() {
        let leases = Leases::default();
        for n in 0..10 * FEW {
            leases.put(&n.to_string(), "", Duration::from_millis(10));
            tokio::time::advance(Duration::from_millis(1)).await;
        }
        assert!(leases.0.lock().leases.len() <= FEW);
        for n in 0..2 * MOST {
            leases.put(&n.to_string(), "", LEASE);
        }
        assert!(leases.0.lock().leases.len() <= MOST);
    }

    #[test]
    fn what_was_settled_is_not_held() {
        let leases = Leases::default();
        let text = receipt("7", "a", LEASE);
        leases.settle(&text);
        assert_eq!(leases.held(&text), Err(NotHeld::Over));
        assert_eq!(leases.held("1:7:a"), Err(NotHeld::Over));
        for bad in ["", "x", "x:7:a", "99999999999999:7"] {
            assert_eq!(leases.held(bad), Err(NotHeld::Foreign), "{bad}");
        }
    }
}
