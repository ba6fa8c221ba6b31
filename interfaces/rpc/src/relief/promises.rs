//! The room that was promised to others, for calls that they hand on.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use super::VALID;

/// For how long one who has asked is taken for one who needs room: longer than those pause who got none.
const REMEMBERED: Duration = Duration::from_secs(1);

/// How many who ask are kept apart; further ones share what one of them may have.
const MOST_ASKERS: usize = 64;

/// The room that others were told of.
#[derive(Debug, Default)]
pub(super) struct Promises {
    ending: bool,
    last: Option<Instant>,
    /// For how many calls, since `since`, that have not come yet.
    open: usize,
    /// The most room that there was since then, which is what is shared out.
    total: usize,
    since: Option<Instant>,
    askers: HashMap<Box<str>, Asker>,
}

/// One who has asked for room.
#[derive(Debug)]
struct Asker {
    asked: Instant,
    /// What it was promised since then.
    promised: usize,
    /// Whether it was promised some the time before.
    had_some: bool,
}

impl Promises {
    /// Promises what of `room` is not promised already: all of it where nobody else asks, and a share where
    /// others do, or whoever is the first to ask would keep it from them. `arrived` calls have come since it was
    /// last asked, that others handed on: what they take is missing in `room` by now.
    pub(super) fn make(&mut self, asker: &str, room: usize, arrived: usize) -> usize {
        let now = Instant::now();
        self.open = self.open.saturating_sub(arrived);
        if self.since.is_none_or(|since| now - since > VALID) {
            self.begin(now);
        }
        self.total = self.total.max(room);
        let name = self.note(asker, now);
        let all = self.askers.len();
        let free = room.saturating_sub(self.open);
        let Some(asker) = self.askers.get_mut(name).filter(|_| !self.ending) else {
            return 0;
        };
        // What cannot be shared out goes to those who had nothing.
        let share = match asker.had_some {
            true => self.total / all,
            false => self.total.div_ceil(all),
        };
        let more = free.min(share.saturating_sub(asker.promised));
        if more > 0 {
            asker.promised += more;
            self.open += more;
            self.last = Some(now);
        }
        more
    }

    /// Begins anew, as promises do not hold for long.
    fn begin(&mut self, now: Instant) {
        (self.open, self.total, self.since) = (0, 0, Some(now));
        self.askers.retain(|_, asker| {
            asker.had_some = asker.promised > 0;
            asker.promised = 0;
            now - asker.asked <= REMEMBERED
        });
    }

    /// Notes who asks; gives the name by which it is known.
    fn note<'a>(&mut self, asker: &'a str, now: Instant) -> &'a str {
        let is_apart = self.askers.contains_key(asker) || self.askers.len() < MOST_ASKERS;
        let name = if is_apart { asker } else { "" };
        let known = self.askers.entry(name.into()).or_insert(Asker {
            asked: now,
            promised: 0,
            had_some: false,
        });
        known.asked = now;
        name
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
        assert_eq!((promises.make("a", 4, 0), promises.make("a", 4, 0)), (4, 0));
        assert_eq!(promises.make("a", 6, 0), 2);
        tokio::time::advance(2 * VALID).await;
        assert_eq!(promises.make("a", 4, 0), 4);
        assert!(promises.end().is_some());
        assert_eq!(promises.make("a", 100, 0), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn room_that_others_take_is_not_that_of_a_promise() {
        for (arrived, left) in [(0, 0), (3, 3), (5, 5)] {
            let mut promises = Promises::default();
            assert_eq!((promises.make("a", 0, 0), promises.make("b", 0, 0)), (0, 0));
            tokio::time::advance(2 * VALID).await;
            assert_eq!(promises.make("a", 10, 0), 5);
            // Five calls have taken room, of which so many were promised it.
            assert_eq!(promises.make("b", 5, arrived), left, "{arrived}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_always_the_first_to_ask_leaves_others_their_share() {
        for room in [1, 8] {
            let mut promises = Promises::default();
            let mut got = [0, 0];
            for _ in 0..10 {
                // The calls come at once, and last until it is begun anew.
                let (mut left, mut arrived) = (room, 0);
                let mut ask = |asker| {
                    let more = promises.make(asker, left, arrived);
                    (left, arrived) = (left - more, more);
                    more
                };
                for _ in 0..100 {
                    got[0] += ask("flood");
                }
                got[1] += ask("busy");
                tokio::time::advance(2 * VALID).await;
            }
            assert!(got[1] >= 4 * room, "{got:?} of {room}");
            // Who asks no more is forgotten, and one has all again.
            tokio::time::advance(2 * REMEMBERED).await;
            assert_eq!(promises.make("busy", room, 0), room);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_than_some_who_ask_are_kept_apart() {
        let mut promises = Promises::default();
        for asker in 0..10 * MOST_ASKERS {
            promises.make(&asker.to_string(), 1000, 0);
        }
        assert_eq!(promises.askers.len(), MOST_ASKERS + 1);
    }
}
