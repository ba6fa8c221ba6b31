//! Where the calls of a function had better begin.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::start::LONG;

/// How many calls begin elsewhere once it is known that they compute for long.
const DETOUR: usize = 32;

/// What a long call weighs against short ones. One in as many may be long: it was interrupted by
/// the system then, rather than at work.
const HEAT: usize = 16;

/// Learns from the calls of a function whether they compute for long.
#[derive(Debug, Default)]
pub(crate) struct Detour {
    heat: AtomicUsize,
    left: AtomicUsize,
}

impl Detour {
    /// Whether the next call had better begin elsewhere.
    pub(crate) fn is_on(&self) -> bool {
        let fewer = |left: usize| left.checked_sub(1);
        self.left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, fewer)
            .is_ok()
    }

    /// Takes note of how long a call that began here has kept its thread.
    pub(crate) fn learn(&self, busy: Duration) {
        if busy > LONG {
            if self.heat.swap(HEAT, Ordering::Relaxed) > 0 {
                self.left.store(DETOUR, Ordering::Relaxed);
            }
        } else {
            let heat = self.heat.load(Ordering::Relaxed);
            // Two at once may count as one, which does no harm.
            self.heat.store(heat.saturating_sub(1), Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_long_calls_near_each_other_lead_elsewhere() {
        let detour = Detour::default();
        for _ in 0..10 {
            detour.learn(2 * LONG);
            (0..HEAT).for_each(|_| detour.learn(LONG / 2));
            assert!(!detour.is_on());
        }
        detour.learn(2 * LONG);
        detour.learn(2 * LONG);
        assert_eq!((0..100).filter(|_| detour.is_on()).count(), DETOUR);
        // The first that is tried here again is enough.
        detour.learn(2 * LONG);
        assert!(detour.is_on());
    }
}
