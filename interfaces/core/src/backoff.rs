//! Growing pauses between attempts, and how those of many are kept apart.

use std::hash::{BuildHasher as _, RandomState};
use std::time::Duration;

/// By how much chance makes a pause longer or shorter, so that many who wait do not act in step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spread {
    /// By up to a fifth, either way.
    Fifth,
    /// By up to a quarter, either way.
    Quarter,
    /// Down to half of it: for those who have collided and would again after the same time.
    Shorter,
    /// Up to twice as long: where it is the least time.
    Longer,
}

impl Spread {
    /// A pause of about this length.
    #[must_use]
    pub fn of(self, pause: Duration) -> Duration {
        // Each `RandomState` has keys of its own: chance enough, which needs no further crate.
        self.part(pause, RandomState::new().hash_one(0_u8))
    }

    fn part(self, pause: Duration, random: u64) -> Duration {
        let (least, most) = self.per_mille();
        let more = random % u64::from(most - least + 1);
        let per_mille = least + u32::try_from(more).unwrap_or(0);
        // Divided first, so that no pause is too long for it.
        (pause / 1000).saturating_mul(per_mille)
    }

    fn per_mille(self) -> (u32, u32) {
        match self {
            Self::Fifth => (800, 1200),
            Self::Quarter => (750, 1250),
            Self::Shorter => (500, 1000),
            Self::Longer => (1000, 2000),
        }
    }
}

/// Delays between attempts: each twice as long as the one before, up to a longest one.
#[derive(Debug, Clone)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
    next: Duration,
    spread: Option<Spread>,
}

impl Backoff {
    /// Starts with the delay `first`. Each is spread by a fifth either way, so that many waiters do
    /// not act in step.
    #[must_use]
    pub fn new(first: Duration, longest: Duration) -> Self {
        Self::exact(first, longest).spread_by(Spread::Fifth)
    }

    /// The same without chance: for those who are in nobody's way when they act in step.
    #[must_use]
    pub fn exact(first: Duration, longest: Duration) -> Self {
        let first = first.min(longest);
        Self {
            first,
            longest,
            next: first,
            spread: None,
        }
    }

    /// The same, spread otherwise.
    #[must_use]
    pub fn spread_by(mut self, spread: Spread) -> Self {
        self.spread = Some(spread);
        self
    }

    /// Continues as if `delays` delays had passed, for callers that count failures themselves.
    #[must_use]
    pub fn after(mut self, delays: u32) -> Self {
        let times = 2_u32.saturating_pow(delays);
        self.next = self.first.saturating_mul(times).min(self.longest);
        self
    }

    /// The next delay.
    pub fn delay(&mut self) -> Duration {
        let step = self.next;
        self.next = step.saturating_mul(2).min(self.longest);
        self.spread.map_or(step, |spread| spread.of(step))
    }

    /// Starts over, as after a success.
    pub fn reset(&mut self) {
        self.next = self.first;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SPREADS: [Spread; 4] = [
        Spread::Fifth,
        Spread::Quarter,
        Spread::Shorter,
        Spread::Longer,
    ];

    #[test]
    fn delays_grow_to_the_longest_and_start_over() {
        let (first, longest) = (Duration::from_millis(8), Duration::from_millis(50));
        let mut backoff = Backoff::exact(first, longest);
        let delays: Vec<_> = (0..5).map(|_| backoff.delay().as_millis()).collect();
        assert_eq!(delays, [8, 16, 32, 50, 50]);
        backoff.reset();
        assert_eq!(backoff.delay(), first);
    }

    #[test]
    fn delays_are_spread_by_a_fifth_unless_it_is_said_otherwise() {
        let step = Duration::from_secs(1);
        for _ in 0..100 {
            let delay = Backoff::new(step, step).delay();
            assert!(delay >= step * 4 / 5 && delay <= step * 6 / 5, "{delay:?}");
            let delay = Backoff::new(step, step).spread_by(Spread::Shorter).delay();
            assert!(delay >= step / 2 && delay <= step, "{delay:?}");
        }
    }

    #[test]
    fn a_spread_has_both_its_ends() {
        let ends = SPREADS.map(|spread| {
            let (least, most) = spread.per_mille();
            let part = |random: u32| spread.part(Duration::from_secs(1), random.into());
            (part(0).as_millis(), part(most - least).as_millis())
        });
        let expected = [(800, 1200), (750, 1250), (500, 1000), (1000, 2000)];
        assert_eq!(ends, expected);
    }

    #[test]
    fn no_delay_is_too_long_to_be_spread_or_doubled() {
        let mut backoff = Backoff::new(Duration::MAX, Duration::MAX);
        let least = Duration::MAX / 1000 * 799;
        assert!(backoff.delay() > least && backoff.delay() > least);
        let backoff = Backoff::exact(Duration::MAX, Duration::MAX);
        assert_eq!(backoff.after(u32::MAX).delay(), Duration::MAX);
    }

    proptest! {
        #[test]
        fn failures_may_be_counted_elsewhere(first in 0_u64..10_000, longest in 0_u64..10_000_000, count in 0_u32..40) {
            let (first, longest) = (Duration::from_millis(first), Duration::from_millis(longest));
            let mut counting = Backoff::exact(first, longest);
            for _ in 0..count {
                prop_assert!(counting.delay() <= longest);
            }
            prop_assert_eq!(counting.delay(), Backoff::exact(first, longest).after(count).delay());
        }
    }
}
