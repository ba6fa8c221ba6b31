//! Growing delays between attempts.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::time::Duration;

/// Doubles from the first delay up to the longest one, each spread by a fifth either way so that
/// many waiters do not act in step.
#[derive(Debug)]
pub struct Backoff {
    next: Duration,
    longest: Duration,
}

impl Backoff {
    /// Starts with the delay `first`.
    #[must_use]
    pub fn new(first: Duration, longest: Duration) -> Self {
        Self {
            next: first,
            longest,
        }
    }

    /// The next delay.
    pub fn delay(&mut self) -> Duration {
        let base = self.next;
        self.next = base.saturating_mul(2).min(self.longest);
        spread(base, RandomState::new().build_hasher().finish())
    }
}

fn spread(base: Duration, random: u64) -> Duration {
    let per_mille = 800 + u32::try_from(random % 401).unwrap_or(0);
    // Divided first, so that no delay is too long for it.
    (base / 1000).saturating_mul(per_mille)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_grow_to_the_longest_and_stay_near_it() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(1));
        let delays: Vec<_> = (0..8).map(|_| backoff.delay()).collect();
        assert!(delays[0] <= Duration::from_millis(120));
        assert!(delays[7] >= Duration::from_millis(800));
        assert!(delays.iter().all(|d| *d <= Duration::from_millis(1200)));
    }

    #[test]
    fn the_spread_is_a_fifth_either_way() {
        let base = Duration::from_secs(1);
        assert_eq!(spread(base, 0), Duration::from_millis(800));
        assert_eq!(spread(base, 400), Duration::from_millis(1200));
    }

    #[test]
    fn no_delay_is_too_long_to_be_spread_or_doubled() {
        let mut backoff = Backoff::new(Duration::MAX, Duration::MAX);
        let least = Duration::MAX / 1000 * 799;
        assert!(backoff.delay() > least && backoff.delay() > least);
    }
}
