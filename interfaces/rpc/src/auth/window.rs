//! Which calls of a session have been seen.
//!
//! Calls overtake one another, and of a queue group each member sees only some, so there is no next
//! number to expect. Every number of the last [`FRESH`](super::FRESH) is remembered; one from before
//! that is too old to be taken anyway.

use std::collections::VecDeque;

use tokio::time::Instant;

use super::FRESH;

/// How many numbers are remembered at most, of a peer of the cluster (128 KiB) and of one for which
/// nobody vouches (16 KiB). Who makes more calls in that time has those refused that come late.
pub(super) const OF_CLUSTER: u64 = 1 << 20;
pub(super) const OF_STRANGER: u64 = 1 << 17;

const BITS: u64 = 64;

/// The numbers that have been used.
#[derive(Debug)]
pub(super) struct Window {
    /// The first number that is remembered, a multiple of [`BITS`]; all before it count as used.
    base: u64,
    words: VecDeque<u64>,
    /// The number after the largest that was seen.
    next: u64,
    /// What `next` was at the last turn, and when that was.
    before: u64,
    turned: Instant,
    /// How many numbers are remembered, a multiple of [`BITS`].
    most: u64,
}

impl Window {
    pub(super) fn new(now: Instant, most: u64) -> Self {
        Self {
            base: 0,
            words: VecDeque::new(),
            next: 0,
            before: 0,
            turned: now,
            most,
        }
    }

    /// Uses a number; false when it was used before, or is too old for that to be known.
    pub(super) fn take(&mut self, number: u64, now: Instant) -> bool {
        self.turn(now);
        if number < self.base || number == u64::MAX {
            return false;
        }
        if number - self.base >= self.most {
            self.forget_before(number - self.most + BITS);
        }
        let offset = number - self.base;
        let (word, bit) = ((offset / BITS) as usize, 1 << (offset % BITS));
        if self.words.len() <= word {
            self.words.resize(word + 1, 0);
        }
        let used = self.words[word] & bit != 0;
        self.words[word] |= bit;
        self.next = self.next.max(number + 1);
        !used
    }

    /// Lets a number be used once more, if it is remembered.
    pub(super) fn give_back(&mut self, number: u64) {
        let Some(offset) = number.checked_sub(self.base) else {
            return;
        };
        if let Some(word) = self.words.get_mut((offset / BITS) as usize) {
            *word &= !(1 << (offset % BITS));
        }
    }

    /// Forgets, every now and then, what was sent before the last time.
    fn turn(&mut self, now: Instant) {
        if now.saturating_duration_since(self.turned) < 2 * FRESH {
            return;
        }
        self.forget_before(self.before);
        self.before = self.next;
        self.turned = now;
    }

    fn forget_before(&mut self, number: u64) {
        let base = number / BITS * BITS;
        if base <= self.base {
            return;
        }
        let gone = ((base - self.base) / BITS).min(self.words.len() as u64) as usize;
        self.words.drain(..gone);
        self.base = base;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::collections::HashSet;

    use proptest::prelude::*;

    fn window() -> (Window, Instant) {
        let now = Instant::now();
        (Window::new(now, OF_STRANGER), now)
    }

    #[test]
    fn each_number_is_taken_once_in_any_order() {
        let (mut window, now) = window();
        for number in [5, 0, 70, 1, 6400, 69, 64, 63] {
            assert!(window.take(number, now), "{number}");
            assert!(!window.take(number, now), "{number} again");
        }
        assert!(!window.take(u64::MAX, now));
    }

    #[test]
    fn a_number_that_is_given_back_is_taken_once_more() {
        let (mut window, now) = window();
        assert!(window.take(70, now) && window.take(71, now));
        for unknown in [3, 1000, u64::MAX] {
            window.give_back(unknown);
        }
        window.give_back(70);
        assert!(window.take(70, now));
        assert!(!window.take(70, now) && !window.take(71, now));
    }

    #[test]
    fn what_is_forgotten_counts_as_used() {
        let (mut window, mut now) = window();
        assert!(window.take(1000, now));
        for _ in 0..2 {
            now += 2 * FRESH;
            assert!(window.take(window.next, now));
        }
        assert!(!window.take(1, now), "never used, but too old");
        assert!(window.take(window.next, now));
        assert!(window.words.len() < 4);
    }

    #[test]
    fn a_number_far_ahead_takes_no_more_memory_than_all() {
        let (mut window, now) = window();
        assert!(window.take(3, now));
        assert!(window.take(u64::MAX - 1, now));
        assert!(!window.take(3, now));
        assert!(window.words.len() as u64 <= OF_STRANGER / BITS);
        assert!(window.take(u64::MAX - 2, now));
    }

    proptest! {
        #[test]
        fn it_agrees_with_a_set(numbers in prop::collection::vec(0..5000_u64, 0..300)) {
            let (mut window, now) = window();
            let mut seen = HashSet::new();
            for number in numbers {
                prop_assert_eq!(window.take(number, now), seen.insert(number));
            }
        }

        #[test]
        fn nothing_is_taken_twice(
            steps in prop::collection::vec((any::<u64>(), 0..100_u64), 0..60),
        ) {
            let (mut window, mut now) = window();
            let mut seen = HashSet::new();
            for (number, seconds) in steps {
                now += std::time::Duration::from_secs(seconds);
                if window.take(number, now) {
                    prop_assert!(seen.insert(number), "{} twice", number);
                }
            }
        }
    }
}
