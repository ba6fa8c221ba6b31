//! Which attempt a delivery is, with servers that lose count.
//!
//! When a server of 2.9 wants to give a message again just as the last request in line has come to its
//! end, it takes a step back in the stream instead: the message before comes as if it were new, be it
//! the same one or one that somebody has. The former counts on from what is known here, and the
//! latter is left to whoever has it.

use std::collections::HashMap;

use parking_lot::Mutex;

use crate::ack::Ack;

/// How many messages are remembered; beyond that, those that nobody has are forgotten.
const MOST: usize = 100_000;

/// A message: numbers begin again in a queue that is made again.
type Stored = (String, u64, u64);

/// The messages that were given and have not gone.
#[derive(Debug, Default)]
pub(crate) struct Counts(Mutex<HashMap<Stored, Given>>);

#[derive(Debug)]
struct Given {
    attempt: u32,
    receipt: String,
}

fn stored(queue: &str, ack: &Ack) -> Stored {
    (queue.to_owned(), ack.sequence, ack.published_ms)
}

impl Counts {
    /// Which attempt a delivery is; `None` for a message that somebody has, as `is_held` tells of its
    /// receipt.
    pub(crate) fn count(
        &self,
        queue: &str,
        receipt: &str,
        ack: &Ack,
        is_held: impl Fn(&str) -> bool,
    ) -> Option<u32> {
        let mut known = self.0.lock();
        let before = known.get(&stored(queue, ack));
        if before.is_some_and(|before| is_held(&before.receipt)) {
            return None;
        }
        let attempt = before.map_or(1, |before| before.attempt.saturating_add(1));
        let attempt = attempt.max(ack.delivered);
        if known.len() >= MOST {
            known.retain(|_, given| is_held(&given.receipt));
        }
        let receipt = receipt.to_owned();
        known.insert(stored(queue, ack), Given { attempt, receipt });
        Some(attempt)
    }

    /// Forgets a message that is gone.
    pub(crate) fn forget(&self, queue: &str, ack: &Ack) {
        self.0.lock().remove(&stored(queue, ack));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ack(delivered: u32, published_ms: u64) -> Ack {
        Ack {
            delivered,
            sequence: 7,
            published_ms,
        }
    }

    #[test]
    fn what_comes_as_new_counts_on_and_what_somebody_has_is_not_given() {
        let counts = Counts::default();
        let (nobody, everybody) = (|_: &str| false, |_: &str| true);
        assert_eq!(counts.count("jobs", "a", &ack(1, 5), nobody), Some(1));
        assert_eq!(counts.count("jobs", "b", &ack(1, 5), everybody), None);
        assert_eq!(counts.count("jobs", "b", &ack(1, 5), nobody), Some(2));
        assert_eq!(counts.count("jobs", "c", &ack(4, 5), nobody), Some(4));
        // Another message of that number, and one of another queue.
        assert_eq!(counts.count("jobs", "d", &ack(1, 6), nobody), Some(1));
        assert_eq!(counts.count("other", "e", &ack(1, 5), nobody), Some(1));
        counts.forget("jobs", &ack(4, 5));
        assert_eq!(counts.count("jobs", "f", &ack(1, 5), everybody), Some(1));
    }
}
