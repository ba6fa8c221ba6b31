//! The pace of one kind of line in a log.

use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use tokio::time::Instant;

use super::THROTTLE_WINDOW;

/// Of what happens again and again, the first is told and the others of a second are counted.
#[derive(Debug, Default)]
pub struct LogThrottle {
    quiet_until: Mutex<Option<Instant>>,
    untold: AtomicU64,
}

impl LogThrottle {
    /// How many were not told since the last one, if this one is to be told.
    #[must_use]
    pub fn turn(&self) -> Option<u64> {
        let now = Instant::now();
        let mut quiet_until = self.quiet_until.lock();
        if quiet_until.is_some_and(|until| now < until) {
            self.untold.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        *quiet_until = Some(now + THROTTLE_WINDOW);
        Some(self.untold.swap(0, Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_first_is_told_and_the_others_of_a_second_are_counted_with_the_next() {
        let pace = LogThrottle::default();
        assert_eq!(pace.turn(), Some(0));
        assert_eq!([pace.turn(), pace.turn()], [None, None]);
        tokio::time::advance(THROTTLE_WINDOW).await;
        assert_eq!(pace.turn(), Some(2));
        assert_eq!(pace.turn(), None);
    }
}
