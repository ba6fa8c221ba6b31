//! What comes again and again in many kinds, and how much of it is told.

use std::collections::HashMap;
use std::hash::Hash;

use tokio::time::Instant;

use super::THROTTLE_WINDOW;

/// The first of each kind is told at once; those that follow within a second are counted, and the last of
/// them is told for all.
///
/// As many kinds as there is room for are kept apart. With more at once, one who floods is at work:
/// further ones are only counted, and told as a number with the next new kind.
#[derive(Debug)]
pub struct KeyedThrottle<K, T> {
    room: usize,
    counted: HashMap<K, Counted<T>>,
    /// How many were of kinds for which there was no room.
    lost: u64,
}

/// What of one kind has come since it was told last.
#[derive(Debug)]
struct Counted<T> {
    since: Instant,
    /// The last one, and how many have come.
    waiting: Option<(T, u64)>,
}

impl<T> Counted<T> {
    fn is_due(&self, now: Instant) -> bool {
        now.duration_since(self.since) >= THROTTLE_WINDOW
    }

    fn count(&self) -> u64 {
        self.waiting.as_ref().map_or(0, |(_, count)| *count)
    }
}

impl<K: Eq + Hash, T> KeyedThrottle<K, T> {
    /// Keeps `room` kinds apart.
    #[must_use]
    pub fn new(room: usize) -> Self {
        Self {
            room,
            counted: HashMap::new(),
            lost: 0,
        }
    }

    /// Whether nothing is counted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.counted.is_empty()
    }

    /// Whether further kinds are only counted.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.counted.len() >= self.room
    }

    /// Takes one in that stands for `before` others, too. Gives it back if it is to be told now, with how
    /// many others were not.
    pub fn note(&mut self, kind: K, one: T, before: u64, now: Instant) -> Option<(T, u64)> {
        if let Some(counted) = self.counted.get_mut(&kind) {
            let before = before.saturating_add(counted.count());
            if counted.is_due(now) {
                let waiting = None;
                *counted = Counted {
                    since: now,
                    waiting,
                };
                return Some((one, before));
            }
            counted.waiting = Some((one, before.saturating_add(1)));
            return None;
        }
        if self.is_full() {
            self.lose(before.saturating_add(1));
            return None;
        }
        let (since, waiting) = (now, None);
        self.counted.insert(kind, Counted { since, waiting });
        Some((one, before.saturating_add(std::mem::take(&mut self.lost))))
    }

    /// The same, but of a kind of which there are `most` at a time that are `like` it.
    pub fn note_of_some(
        &mut self,
        kind: K,
        one: T,
        now: Instant,
        most: usize,
        like: impl Fn(&K) -> bool,
    ) -> Option<(T, u64)> {
        let is_new = !self.counted.contains_key(&kind);
        if is_new && self.counted.keys().filter(|kind| like(kind)).count() >= most {
            self.lose(1);
            return None;
        }
        self.note(kind, one, 0, now)
    }

    /// Hands over what was counted long enough, with how many others were not told, and forgets kinds that
    /// have become quiet.
    pub fn sweep(&mut self, now: Instant, mut tell: impl FnMut(&K, T, u64)) {
        self.counted.retain(|kind, counted| {
            if !counted.is_due(now) {
                return true;
            }
            let Some((one, count)) = counted.waiting.take() else {
                return false;
            };
            counted.since = now;
            tell(kind, one, count - 1);
            true
        });
    }

    /// Forgets kinds that have become quiet, for those who do not sweep: what was counted of
    /// them is told as a number with the next new kind.
    pub fn forget_quiet(&mut self, now: Instant) {
        let mut lost = 0_u64;
        self.counted.retain(|_, counted| {
            let is_quiet = counted.is_due(now);
            if is_quiet {
                lost = lost.saturating_add(counted.count());
            }
            !is_quiet
        });
        self.lose(lost);
    }

    fn lose(&mut self, count: u64) {
        self.lost = self.lost.saturating_add(count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::time::Duration;

    fn swept(
        kinds: &mut KeyedThrottle<u32, &'static str>,
        now: Instant,
    ) -> Vec<(u32, &'static str, u64)> {
        let mut told = Vec::new();
        kinds.sweep(now, |kind, one, untold| told.push((*kind, one, untold)));
        told
    }

    #[test]
    fn the_first_of_a_kind_is_told_and_the_last_of_those_that_follow() {
        let (mut kinds, now) = (KeyedThrottle::new(8), Instant::now());
        assert_eq!(kinds.note(1, "a", 0, now), Some(("a", 0)));
        assert_eq!(kinds.note(2, "b", 3, now), Some(("b", 3)));
        assert_eq!(kinds.note(1, "c", 0, now), None);
        assert_eq!(kinds.note(1, "d", 4, now), None);
        assert_eq!(swept(&mut kinds, now), []);
        assert_eq!(swept(&mut kinds, now + THROTTLE_WINDOW), [(1, "d", 5)]);
        assert_eq!(swept(&mut kinds, now + 2 * THROTTLE_WINDOW), []);
        assert!(kinds.is_empty());
    }

    #[test]
    fn what_is_not_swept_is_told_with_the_next_of_its_kind_or_of_a_new_one() {
        let (mut kinds, now) = (KeyedThrottle::new(2), Instant::now());
        for kind in [1, 1, 1, 2, 2, 3, 3] {
            kinds.note(kind, "", 0, now);
        }
        assert!(kinds.is_full());
        assert_eq!(kinds.note(1, "", 0, now + THROTTLE_WINDOW), Some(("", 2)));
        kinds.forget_quiet(now + THROTTLE_WINDOW);
        assert_eq!(kinds.note(3, "", 0, now + THROTTLE_WINDOW), Some(("", 3)));
    }

    #[test]
    fn one_takes_some_of_the_room_only() {
        let (mut kinds, now) = (KeyedThrottle::new(8), Instant::now());
        let mut note =
            |kind: u32| kinds.note_of_some(kind, "", now, 2, |other| other / 10 == kind / 10);
        assert_eq!([note(10), note(11)], [Some(("", 0)); 2]);
        assert_eq!([note(12), note(13), note(11)], [None; 3]);
        assert_eq!(note(20), Some(("", 2)));
    }

    #[test]
    fn counts_that_come_from_others_do_not_overflow() {
        let (mut kinds, now) = (KeyedThrottle::new(1), Instant::now());
        assert_eq!(kinds.note(1, "", u64::MAX, now), Some(("", u64::MAX)));
        assert_eq!(kinds.note(1, "", u64::MAX, now), None);
        assert_eq!(kinds.note(2, "", u64::MAX, now), None);
        let later = now + THROTTLE_WINDOW + Duration::from_millis(1);
        assert_eq!(swept(&mut kinds, later), [(1, "", u64::MAX - 1)]);
    }
}
