//! Growing pauses between attempts, spread out by chance.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

/// Pauses that double up to a limit.
#[derive(Debug)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
    next: Duration,
}

impl Backoff {
    /// Pauses from about `first` to about `longest`.
    #[must_use]
    pub fn new(first: Duration, longest: Duration) -> Self {
        Self {
            first,
            longest,
            next: first,
        }
    }

    /// The next pause: between half of and the whole present step.
    ///
    /// Writers that collided once would collide again if they all waited equally long.
    pub fn pause(&mut self) -> Duration {
        let step = self.next;
        self.next = (step * 2).min(self.longest);
        step.mul_f64(0.5 + 0.5 * chance())
    }

    /// Starts over after a success.
    pub fn reset(&mut self) {
        self.next = self.first;
    }
}

/// A number from 0 to 1.
///
/// Every `RandomState` has keys of its own; that is random enough to spread pauses and needs no
/// further crate.
#[expect(
    clippy::cast_precision_loss,
    reason = "the lowest bits do not matter for a pause"
)]
fn chance() -> f64 {
    RandomState::new().hash_one(0_u8) as f64 / u64::MAX as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_the_limit_and_start_over() {
        let (first, longest) = (Duration::from_millis(8), Duration::from_millis(50));
        let mut backoff = Backoff::new(first, longest);
        for step in [8, 16, 32, 50, 50] {
            let step = Duration::from_millis(step);
            let pause = backoff.pause();
            assert!(pause >= step / 2 && pause <= step, "{pause:?} for {step:?}");
        }
        backoff.reset();
        assert!(backoff.pause() <= first);
    }
}
