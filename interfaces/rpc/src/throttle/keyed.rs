//! What comes again and again in many kinds, and how much of it is told.

use std::collections::HashMap;
use std::hash::Hash;
use std::mem::take;

use tokio::time::Instant;

use super::THROTTLE_WINDOW;

/// The first of each kind is told at once, unless there is a bound to what is told; those that follow within a
/// second are counted, and one is told for all: the last, or what joins them.
///
/// As many kinds as there is room for are kept apart. With more at once, one who floods is at work:
/// further ones are only counted, and told as a number with the next new kind.
#[derive(Debug)]
pub struct KeyedThrottle<K, T> {
    room: usize,
    /// How many are told from one sweep to the next.
    most: usize,
    /// How many were told since the last sweep.
    told: usize,
    counted: HashMap<K, Counted<T>>,
    /// How many were of kinds for which there was no room.
    lost: u64,
}

/// What of one kind has come since it was told last.
#[derive(Debug)]
pub(super) struct Counted<T> {
    /// When it was told last, if it was.
    told: Option<Instant>,
    waiting: Option<Waiting<T>>,
}

/// What is to be told of a kind.
#[derive(Debug)]
struct Waiting<T> {
    /// The last one.
    one: T,
    /// How many have come.
    count: u64,
    /// When the first of them came.
    since: Instant,
}

impl<T> Counted<T> {
    fn is_due(&self, now: Instant) -> bool {
        self.told
            .is_none_or(|at| now.duration_since(at) >= THROTTLE_WINDOW)
    }

    fn count(&self) -> u64 {
        self.waiting.as_ref().map_or(0, |waiting| waiting.count)
    }

    /// Since when something waits to be told.
    pub(super) fn since(&self) -> Option<Instant> {
        self.waiting.as_ref().map(|waiting| waiting.since)
    }

    /// Takes one in that stands for `before` others, too. Gives it back if it is to be told now.
    fn add(
        &mut self,
        (one, before): (T, u64),
        now: Instant,
        may_tell: bool,
        join: impl FnOnce(T, T) -> T,
    ) -> Option<(T, u64)> {
        let (one, before, since) = match self.waiting.take() {
            Some(waiting) => {
                let before = before.saturating_add(waiting.count);
                (join(waiting.one, one), before, waiting.since)
            }
            None => (one, before, now),
        };
        if may_tell && self.is_due(now) {
            self.told = Some(now);
            return Some((one, before));
        }
        let count = before.saturating_add(1);
        self.waiting = Some(Waiting { one, count, since });
        None
    }

    /// What waits, with how many others were not told; it is told now.
    pub(super) fn tell(&mut self, now: Instant) -> Option<(T, u64)> {
        let waiting = self.waiting.take()?;
        self.told = Some(now);
        Some((waiting.one, waiting.count - 1))
    }
}

impl<K: Eq + Hash, T> KeyedThrottle<K, T> {
    /// Keeps `room` kinds apart.
    #[must_use]
    pub fn new(room: usize) -> Self {
        Self {
            room,
            most: usize::MAX,
            told: 0,
            counted: HashMap::new(),
            lost: 0,
        }
    }

    /// Tells so many at most from one sweep to the next; what is left waits.
    #[must_use]
    pub fn telling_at_most(self, most: usize) -> Self {
        Self { most, ..self }
    }

    /// Whether nothing is counted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.counted.is_empty()
    }

    /// How many kinds are kept apart now.
    #[must_use]
    pub fn len(&self) -> usize {
        self.counted.len()
    }

    /// Whether a kind is one of them.
    #[must_use]
    pub fn has(&self, kind: &K) -> bool {
        self.counted.contains_key(kind)
    }

    /// Whether further kinds are only counted.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.counted.len() >= self.room
    }

    /// Takes one in that stands for `before` others, too. Gives it back if it is to be told now, with how
    /// many others were not.
    pub fn note(&mut self, kind: K, one: T, before: u64, now: Instant) -> Option<(T, u64)> {
        self.note_joined(kind, one, before, now, |_, later| later)
    }

    /// The same; of one that waits and a later one, `join` makes the one that is told for both.
    pub fn note_joined(
        &mut self,
        kind: K,
        one: T,
        before: u64,
        now: Instant,
        join: impl FnOnce(T, T) -> T,
    ) -> Option<(T, u64)> {
        self.take_in(kind, (one, before), now, true, join)
    }

    /// The same; without leave to tell, it waits.
    pub(super) fn take_in(
        &mut self,
        kind: K,
        (one, before): (T, u64),
        now: Instant,
        may_tell: bool,
        join: impl FnOnce(T, T) -> T,
    ) -> Option<(T, u64)> {
        let may_tell = may_tell && self.told < self.most;
        if !self.has(&kind) && self.is_full() {
            self.lose(before.saturating_add(1));
            return None;
        }
        let counted = self.counted.entry(kind);
        let counted = counted.or_insert_with(|| Counted {
            told: None,
            waiting: None,
        });
        let is_new = counted.told.is_none() && counted.waiting.is_none();
        let lost = if is_new { take(&mut self.lost) } else { 0 };
        let one = (one, before.saturating_add(lost));
        let due = counted.add(one, now, may_tell, join);
        self.told += usize::from(due.is_some());
        due
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
        for (kind, counted) in self.due(now) {
            if let Some((one, untold)) = counted.tell(now) {
                tell(kind, one, untold);
            }
        }
        self.forget_told(now);
    }

    /// What was counted long enough, the one first that waits longest: as many as are told with this sweep.
    pub(super) fn due(&mut self, now: Instant) -> Vec<(&K, &mut Counted<T>)> {
        let is_due = |counted: &Counted<T>| counted.waiting.is_some() && counted.is_due(now);
        let counted = self.counted.iter_mut();
        let mut due: Vec<_> = counted.filter(|(_, counted)| is_due(counted)).collect();
        due.sort_by_key(|(_, counted)| counted.since());
        due.truncate(self.most);
        self.told = due.len();
        due
    }

    /// Forgets kinds of which nothing has come since they were told.
    pub(super) fn forget_told(&mut self, now: Instant) {
        self.counted
            .retain(|_, counted| counted.waiting.is_some() || !counted.is_due(now));
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
    fn what_waits_is_joined_with_what_comes_after_it_also_when_that_is_told_at_once() {
        let mut kinds: KeyedThrottle<u32, String> = KeyedThrottle::new(1);
        let now = Instant::now();
        let mut note = |one: &str, now| {
            let join = |earlier: String, later: String| earlier + &later;
            kinds.note_joined(1, one.to_owned(), 0, now, join)
        };
        assert_eq!(note("a", now), Some(("a".to_owned(), 0)));
        assert_eq!([note("b", now), note("c", now)], [None, None]);
        assert_eq!(
            note("d", now + THROTTLE_WINDOW),
            Some(("bcd".to_owned(), 2))
        );
    }

    #[test]
    fn no_more_are_told_than_may_be_and_those_first_that_wait_longest() {
        let mut kinds = KeyedThrottle::new(8).telling_at_most(2);
        let now = Instant::now();
        let at_once: Vec<_> = (0..5).map(|kind| kinds.note(kind, "", 0, now)).collect();
        assert_eq!(at_once, [Some(("", 0)), Some(("", 0)), None, None, None]);
        let soon = now + THROTTLE_WINDOW / 4;
        assert_eq!(kinds.note(0, "again", 0, soon), None);
        assert_eq!(kinds.note(4, "more", 0, soon), None);
        let mut first: Vec<_> = swept(&mut kinds, soon);
        first.extend(swept(&mut kinds, soon));
        first.sort_unstable();
        assert_eq!(first, [(2, "", 0), (3, "", 0), (4, "more", 1)]);
        assert_eq!(swept(&mut kinds, now + THROTTLE_WINDOW), [(0, "again", 0)]);
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
