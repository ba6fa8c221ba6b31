//! The room that was promised to others, for calls that they hand on.

use tokio::time::Instant;

use super::VALID;

/// The room that others were told of.
#[derive(Debug, Default)]
pub(super) struct Promises {
    ending: bool,
    last: Option<Instant>,
    /// For how many calls, since `since`.
    open: usize,
    since: Option<Instant>,
}

impl Promises {
    /// Promises what of `room` is not promised already.
    pub(super) fn make(&mut self, room: usize) -> usize {
        let now = Instant::now();
        if self.since.is_none_or(|since| now - since > VALID) {
            (self.open, self.since) = (0, Some(now));
        }
        let more = room.saturating_sub(self.open);
        if self.ending || more == 0 {
            return 0;
        }
        self.open += more;
        self.last = Some(now);
        more
    }

    /// Promises nothing more from now on; gives when the last promise was made.
    pub(super) fn end(&mut self) -> Option<Instant> {
        self.ending = true;
        self.last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_same_room_is_not_promised_twice_and_none_at_the_end() {
        let mut promises = Promises::default();
        assert_eq!((promises.make(4), promises.make(4)), (4, 0));
        assert_eq!(promises.make(6), 2);
        tokio::time::advance(2 * VALID).await;
        assert_eq!(promises.make(4), 4);
        assert!(promises.end().is_some());
        assert_eq!(promises.make(100), 0);
    }
}
