//! When parameters that were incomplete are decoded again.
//!
//! Decoding starts at the front, and only it can tell whether a caller that does not end its
//! parameters has sent them all. Once for each piece, it would be work without end for one who sends
//! much at once and then a byte at a time. So it is done again when the bytes are there without which
//! it cannot go on, and besides so many have come that the work stays in proportion; or after a pause,
//! which doubles. All of it together is a few times the size, and once more for each doubling of the
//! time that the call takes.

use std::time::Duration;

use tokio::time::Instant;

/// What is decoded for each piece that comes: no more work than to take the piece in.
const SMALL: usize = 4096;

/// Which part of what was there has to have come anew.
const PART: usize = 4;

/// How long the first pause is.
const PAUSE: Duration = Duration::from_millis(1);

/// What is known of the last time.
#[derive(Debug)]
pub(super) struct Pace {
    size: usize,
    needed: usize,
    /// When it is time again, however little has come.
    next: Instant,
    pause: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            size: 0,
            needed: 1,
            next: Instant::now(),
            pause: PAUSE,
        }
    }
}

impl Pace {
    /// So many bytes were incomplete; at least `needed` more are missing.
    pub(super) fn looked(&mut self, size: usize, needed: usize) {
        if !self.is_worth(size) {
            self.pause *= 2;
        }
        self.size = size;
        self.needed = needed.max(1);
        self.next = Instant::now() + self.pause;
    }

    /// When so many bytes are to be decoded; `None` if not before more have come.
    pub(super) fn due(&self, size: usize) -> Option<Instant> {
        let more = size - self.size;
        if more < self.needed {
            None
        } else if self.is_worth(size) {
            Some(Instant::now())
        } else {
            Some(self.next)
        }
    }

    fn is_worth(&self, size: usize) -> bool {
        size <= SMALL || size - self.size >= self.size / PART
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use tokio::time::advance;

    /// Sends pieces of one byte after `size` bytes, one every `apart`; how much is decoded in all.
    async fn work(size: usize, count: usize, apart: Duration) -> usize {
        let mut pace = Pace::default();
        pace.looked(size, 1);
        let mut all = size;
        for size in size + 1..=size + count {
            advance(apart).await;
            if pace.due(size).is_some_and(|at| at <= Instant::now()) {
                all += size;
                pace.looked(size, 1);
            }
        }
        all
    }

    #[tokio::test(start_paused = true)]
    async fn a_byte_at_a_time_after_much_costs_no_look_each() {
        let much = 60 << 20;
        for (count, apart) in [(600_000, 1), (6000, 100), (600, 1000)] {
            let all = work(much, count, Duration::from_millis(apart)).await;
            assert!(all < 25 * much, "{} times", all / much);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn all_that_comes_in_small_pieces_is_decoded_a_few_times() {
        let all = work(0, 1 << 20, Duration::ZERO).await;
        // And what is small once for each byte.
        let small = SMALL * SMALL / 2;
        assert!(all < small + (6 << 20), "{all}");
    }

    #[tokio::test(start_paused = true)]
    async fn it_waits_for_what_is_missing_and_shortly_where_little_comes() {
        let mut pace = Pace::default();
        pace.looked(1000, 50);
        assert_eq!(pace.due(1049), None);
        assert_eq!(pace.due(1050), Some(Instant::now()));
        pace.looked(1 << 20, 5000);
        assert_eq!(pace.due((1 << 20) + 4999), None);
        let last = (1 << 20) + 5000;
        assert_eq!(pace.due(last), Some(Instant::now() + PAUSE));
        advance(PAUSE).await;
        pace.looked(last, 1);
        assert_eq!(pace.due(last + 1), Some(Instant::now() + 2 * PAUSE));
        assert_eq!(pace.due(2 * last), Some(Instant::now()));
    }
}
