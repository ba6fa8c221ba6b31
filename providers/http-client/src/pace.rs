//! How often the log tells of the same thing.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// For how long further ones are only counted.
const QUIET: Duration = Duration::from_secs(1);

/// Tells of the first at once, and of those that follow within a second with the next one, as a
/// number.
#[derive(Debug)]
pub(crate) struct Pace {
    base: Instant,
    /// When the next one is told, in milliseconds.
    next: AtomicU64,
    untold: AtomicU64,
}

impl Pace {
    pub(crate) fn new() -> Self {
        Self {
            base: Instant::now(),
            next: AtomicU64::new(0),
            untold: AtomicU64::new(0),
        }
    }

    /// How many were not told since the last one, if this one is to be told.
    pub(crate) fn turn(&self) -> Option<u64> {
        let now = u64::try_from(self.base.elapsed().as_millis()).unwrap_or(u64::MAX);
        let next = self.next.load(Ordering::Relaxed);
        let later = now + QUIET.as_millis() as u64;
        let exchange = |next| {
            self.next
                .compare_exchange(next, later, Ordering::Relaxed, Ordering::Relaxed)
        };
        if now >= next && exchange(next).is_ok() {
            return Some(self.untold.swap(0, Ordering::Relaxed));
        }
        self.untold.fetch_add(1, Ordering::Relaxed);
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_follows_within_a_second_is_counted() {
        let pace = Pace::new();
        assert_eq!(pace.turn(), Some(0));
        assert_eq!((pace.turn(), pace.turn()), (None, None));
        tokio::time::advance(QUIET).await;
        assert_eq!(pace.turn(), Some(2));
    }
}
