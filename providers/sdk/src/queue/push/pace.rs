//! Slowing down when nobody takes calls.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::Backoff;

const FIRST: Duration = Duration::from_millis(50);
const LONGEST: Duration = Duration::from_secs(10);

/// When the next message may be fetched, for all calls of one link.
#[derive(Debug)]
pub(crate) struct Pace {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    not_before: Instant,
    backoff: Backoff,
    is_slow: bool,
}

impl Pace {
    pub(crate) fn new() -> Self {
        Self {
            state: Mutex::new(State {
                not_before: Instant::now(),
                backoff: Backoff::new(FIRST, LONGEST),
                is_slow: false,
            }),
        }
    }

    /// Waits until messages may be fetched.
    pub(crate) async fn turn(&self) {
        loop {
            let not_before = self.state.lock().not_before;
            if not_before <= Instant::now() {
                return;
            }
            tokio::time::sleep_until(not_before).await;
        }
    }

    /// A call found nobody to take it; gives the time after which to make it again, which is at
    /// least `asked`. Those that fail together count as one.
    pub(crate) fn slow_down(&self, asked: Duration) -> Instant {
        let now = Instant::now();
        let mut state = self.state.lock();
        state.is_slow = true;
        if state.not_before <= now {
            let delay = state.backoff.delay().max(asked.min(LONGEST));
            state.not_before = now + delay;
        }
        state.not_before
    }

    /// A call was taken.
    pub(crate) fn recover(&self) {
        let mut state = self.state.lock();
        if std::mem::take(&mut state.is_slow) {
            state.not_before = Instant::now();
            state.backoff = Backoff::new(FIRST, LONGEST);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn failures_slow_down_and_a_success_ends_it() {
        let pace = Pace::new();
        pace.turn().await;
        let start = Instant::now();
        let first = pace.slow_down(Duration::ZERO);
        assert_eq!(
            pace.slow_down(Duration::from_secs(5)),
            first,
            "they count as one"
        );
        pace.turn().await;
        assert!(Instant::now() >= first && first > start);
        assert!(pace.slow_down(Duration::from_secs(5)) >= Instant::now() + Duration::from_secs(5));
        pace.recover();
        let now = Instant::now();
        pace.turn().await;
        assert_eq!(Instant::now(), now);
        assert!(pace.slow_down(Duration::ZERO) <= now + FIRST * 2);
    }
}
