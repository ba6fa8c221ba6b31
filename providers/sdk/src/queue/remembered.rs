//! Messages that are leased, for backends that do not give them twice.
//!
//! A dead letter has to be stored before the message is taken from its queue, and some backends
//! cannot be asked for a message by its receipt. Their providers remember what they have given, for
//! as long as the lease, and within a bound.

use std::collections::{HashMap, VecDeque};

use parking_lot::Mutex;
use tokio::time::Instant;

use super::backend::Message;

/// What an entry costs besides its bytes, about.
const OVERHEAD: usize = 256;

/// A message that was remembered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken {
    /// The message.
    pub message: Message,
    /// How often it was delivered.
    pub attempt: u32,
}

/// Messages by the receipts that the backend knows them by. The oldest are forgotten first.
#[derive(Debug)]
pub struct Remembered {
    most: usize,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    bytes: usize,
    entries: HashMap<String, Entry>,
    order: VecDeque<(u64, String)>,
    next: u64,
}

#[derive(Debug)]
struct Entry {
    number: u64,
    size: usize,
    until: Instant,
    taken: Taken,
}

impl Remembered {
    /// Remembers up to so many bytes.
    #[must_use]
    pub fn new(most: usize) -> Self {
        Self {
            most,
            kept: Mutex::default(),
        }
    }

    /// Remembers a message until its lease ends.
    pub fn keep(&self, receipt: &str, message: Message, attempt: u32, until: Instant) {
        let size = message.size() + receipt.len() * 2 + OVERHEAD;
        let mut kept = self.kept.lock();
        kept.remove(receipt);
        kept.make_room(self.most.saturating_sub(size));
        let number = kept.next;
        kept.next += 1;
        kept.bytes += size;
        kept.order.push_back((number, receipt.to_owned()));
        let entry = Entry {
            number,
            size,
            until,
            taken: Taken { message, attempt },
        };
        kept.entries.insert(receipt.to_owned(), entry);
    }

    /// The message of a receipt, if it is remembered and its lease has not ended.
    #[must_use]
    pub fn get(&self, receipt: &str) -> Option<Taken> {
        let kept = self.kept.lock();
        let entry = kept.entries.get(receipt)?;
        (entry.until > Instant::now()).then(|| entry.taken.clone())
    }

    /// Remembers a message for longer, or under a new receipt.
    pub fn extend(&self, receipt: &str, renewed: &str, until: Instant) {
        let known = self.kept.lock().remove(receipt);
        if let Some(entry) = known {
            self.keep(renewed, entry.taken.message, entry.taken.attempt, until);
        }
    }

    /// Forgets a message that was settled.
    pub fn forget(&self, receipt: &str) {
        self.kept.lock().remove(receipt);
    }
}

impl Kept {
    fn remove(&mut self, receipt: &str) -> Option<Entry> {
        let entry = self.entries.remove(receipt)?;
        self.bytes -= entry.size;
        Some(entry)
    }

    /// Forgets what is settled or over, and the oldest beyond `most` bytes.
    fn make_room(&mut self, most: usize) {
        let now = Instant::now();
        while let Some((number, receipt)) = self.order.front() {
            let known = self.entries.get(receipt);
            let known = known.filter(|entry| entry.number == *number);
            if known.is_some_and(|entry| entry.until > now && self.bytes <= most) {
                break;
            }
            let is_known = known.is_some();
            if let Some((_, receipt)) = self.order.pop_front()
                && is_known
            {
                self.remove(&receipt);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn message(bytes: usize) -> Message {
        Message {
            body: vec![0; bytes].into(),
            content_type: None,
            attributes: Vec::new(),
            dedup_id: None,
            group: None,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_leased_is_known_until_the_lease_ends() {
        let remembered = Remembered::new(1 << 20);
        let lease = Duration::from_secs(10);
        remembered.keep("a", message(5), 3, Instant::now() + lease);
        assert_eq!(remembered.get("a").map(|taken| taken.attempt), Some(3));
        tokio::time::advance(lease / 2).await;
        remembered.extend("a", "b", Instant::now() + lease);
        tokio::time::advance(lease / 2).await;
        assert_eq!(remembered.get("a"), None);
        assert_eq!(remembered.get("b").map(|taken| taken.attempt), Some(3));
        tokio::time::advance(lease / 2).await;
        assert_eq!(remembered.get("b"), None);
    }

    #[tokio::test(start_paused = true)]
    async fn the_oldest_make_room() {
        let remembered = Remembered::new(4 * (1000 + OVERHEAD));
        let until = Instant::now() + Duration::from_secs(10);
        for n in 0..100 {
            remembered.keep(&n.to_string(), message(1000), 1, until);
            remembered.forget(&(n / 2).to_string());
        }
        assert!(remembered.get("99").is_some());
        assert!(remembered.get("90").is_none());
        let kept = remembered.kept.lock();
        assert!(kept.bytes <= 4 * (1000 + OVERHEAD), "{}", kept.bytes);
        assert!(kept.order.len() < 10, "{}", kept.order.len());
    }
}
