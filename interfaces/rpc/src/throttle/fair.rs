//! What comes again and again from many, none of whom is to hide what the others do.

use std::collections::HashMap;
use std::hash::Hash;

use tokio::time::Instant;

use super::{KeyedThrottle, MAX_TOLD, MAX_TOLD_OF_OWNER};

/// As [`KeyedThrottle`], with room for each of those who cause what is told.
///
/// Nothing is only counted: what there is no room to keep apart is told together, as a kind of its own for
/// each owner, and that of owners for whom there is no room as that of one. From one sweep to the next no more
/// is told than a reader can follow, of each and of all; what is left waits.
#[derive(Debug)]
pub struct FairThrottle<O, K, T> {
    most_owners: usize,
    of_one: usize,
    /// How many were told since the last sweep.
    told: usize,
    /// Without an owner, or a kind, that for which there is no room.
    owners: HashMap<Option<O>, KeyedThrottle<Option<K>, T>>,
}

impl<O: Eq + Hash, K: Eq + Hash, T> FairThrottle<O, K, T> {
    /// Keeps `most_owners` apart, and `of_one` kinds of each.
    #[must_use]
    pub fn new(most_owners: usize, of_one: usize) -> Self {
        Self {
            most_owners,
            of_one,
            told: 0,
            owners: HashMap::new(),
        }
    }

    /// Whether nothing is counted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.owners.is_empty()
    }

    /// Takes one in of an owner and kind that stands for `before` others, too. Gives it back if it is to be
    /// told now, with how many others were not. Of one that waits and a later one, `join` makes the one that
    /// is told for both.
    pub fn note(
        &mut self,
        (owner, kind): (O, K),
        one: T,
        before: u64,
        now: Instant,
        join: impl FnOnce(T, T) -> T,
    ) -> Option<(T, u64)> {
        let (owner, of_one) = (Some(owner), self.of_one);
        let has_room = self.owners.contains_key(&owner) || self.owners.len() < self.most_owners;
        let owner = if has_room { owner } else { None };
        let kinds = self.owners.entry(owner);
        // One more, for all that have no room.
        let kinds = kinds
            .or_insert_with(|| KeyedThrottle::new(of_one + 1).telling_at_most(MAX_TOLD_OF_OWNER));
        let kind = Some(kind);
        let has_room = kinds.has(&kind) || kinds.len() < of_one;
        let kind = if has_room { kind } else { None };
        let due = kinds.take_in(kind, (one, before), now, self.told < MAX_TOLD, join);
        self.told += usize::from(due.is_some());
        due
    }

    /// Hands over what was counted long enough, with how many others were not told, and forgets those of
    /// whom nothing comes any more.
    pub fn sweep(&mut self, now: Instant, mut tell: impl FnMut(T, u64)) {
        let mut due = Vec::new();
        for kinds in self.owners.values_mut() {
            due.extend(kinds.due(now).into_iter().enumerate());
        }
        // The first of each is told before the second of any.
        due.sort_by_key(|(place, (_, counted))| (*place, counted.since()));
        due.truncate(MAX_TOLD);
        self.told = due.len();
        for (_, (_, counted)) in due {
            if let Some((one, untold)) = counted.tell(now) {
                tell(one, untold);
            }
        }
        self.owners.retain(|_, kinds| {
            kinds.forget_told(now);
            !kinds.is_empty()
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use super::super::THROTTLE_WINDOW;

    fn last(_earlier: u32, later: u32) -> u32 {
        later
    }

    #[test]
    fn one_who_floods_in_ever_new_kinds_hides_nobody_else_and_is_counted_alone() {
        let (mut told, now) = (FairThrottle::new(8, 4), Instant::now());
        let at_once = (0..100).filter(|kind| {
            let noted = told.note(("loud", *kind), *kind, 0, now, last);
            noted.is_some()
        });
        // Four kinds, and the first of all others.
        assert_eq!(at_once.count(), 5);
        assert_eq!(told.note(("quiet", 7), 7, 0, now, last), Some((7, 0)));
        let mut later = Vec::new();
        told.sweep(now + THROTTLE_WINDOW, |one, untold| {
            later.push((one, untold));
        });
        assert_eq!(later, [(99, 94)]);
        told.sweep(now + 2 * THROTTLE_WINDOW, |one, _| panic!("{one} again"));
        assert!(told.is_empty());
    }

    #[test]
    fn many_who_flood_leave_room_for_one_who_comes_late_and_nothing_is_lost() {
        let (mut told, now) = (FairThrottle::new(8, 512), Instant::now());
        let mut count = 0;
        for number in 0..6 * 512 {
            let at_once = told.note((number % 6, number / 6), 0, 0, now, last);
            count += usize::from(at_once.is_some());
        }
        assert_eq!(count, MAX_TOLD);
        assert_eq!(told.note((7, 0), 7, 0, now, last), None);
        let mut first = Vec::new();
        told.sweep(now, |one, _| first.push(one));
        assert_eq!((first.len(), first.contains(&7)), (MAX_TOLD, true));
        count += first.len();
        for _ in 0..6 * 512 / MAX_TOLD {
            told.sweep(now, |_, untold| {
                count += 1 + usize::try_from(untold).unwrap();
            });
        }
        assert_eq!(count, 6 * 512 + 1);
    }

    #[test]
    fn owners_that_are_too_many_are_told_together() {
        let (mut told, now) = (FairThrottle::new(2, 4), Instant::now());
        let mut note = |owner: u32| told.note((owner, "kind"), owner, 0, now, last);
        assert_eq!(
            [note(1), note(2), note(3)],
            [1, 2, 3].map(|it| Some((it, 0)))
        );
        assert_eq!([note(4), note(5)], [None, None]);
        let mut later = Vec::new();
        told.sweep(now + THROTTLE_WINDOW, |one, untold| {
            later.push((one, untold));
        });
        assert_eq!(later, [(5, 1)]);
    }
}
