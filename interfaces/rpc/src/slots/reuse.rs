//! Subjects for answers that are used again.
//!
//! A nats-server remembers where the messages of a few hundred subjects go, and has to search for
//! every other. An answer to a subject of its own each time is a search each time, so a slot keeps
//! its subject for the next call of the same function, as long as nothing should come for the call
//! before: that one was answered by one message of a peer of our kind, whose end never had a place
//! of its own.
//!
//! Who answers twice all the same answers nobody else's call: each answer carries the turn of its
//! call. When one with another turn comes, or one for a slot that rests, that function gets a new
//! subject for each call.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use async_nats::Subject;
use tokio::time::Instant;

/// How many slots rest in all. A server remembers no more.
const MOST: usize = 1024;

/// How long slots are kept for a function that nobody calls.
const KEPT: Duration = Duration::from_secs(10);

/// How long a function that was answered twice, or by a 1.9 peer, gets a new subject for each call.
const DISTRUSTED: Duration = Duration::from_secs(600);

#[derive(Debug)]
struct Pool {
    resting: VecDeque<u32>,
    used: Instant,
    distrusted: bool,
}

impl Pool {
    fn is_over(&self, now: Instant) -> bool {
        let kept = if self.distrusted { DISTRUSTED } else { KEPT };
        now - self.used > kept
    }
}

/// The slots that keep their subjects, by the function that was called.
#[derive(Debug, Default)]
pub(super) struct Reuse {
    /// By the text of the subject, which cannot be a key itself.
    pools: HashMap<Box<str>, Pool>,
    resting: usize,
}

impl Reuse {
    /// A slot for a call of `function`, if one rests: that which has rested longest.
    pub(super) fn take(&mut self, function: &Subject) -> Option<u32> {
        let pool = self.pools.get_mut(function.as_str())?;
        let index = pool.resting.pop_front()?;
        self.resting -= 1;
        Some(index)
    }

    fn pool(&mut self, function: &Subject) -> &mut Pool {
        let pool = self.pools.entry(function.as_str().into());
        pool.or_insert_with(|| Pool {
            resting: VecDeque::new(),
            used: Instant::now(),
            distrusted: false,
        })
    }

    /// Keeps a slot for the next calls of `function`; false when it is to be used for others, with
    /// another subject.
    pub(super) fn keep(&mut self, function: &Subject, index: u32) -> bool {
        if self.resting == MOST {
            return false;
        }
        let pool = self.pool(function);
        if pool.distrusted {
            return false;
        }
        pool.used = Instant::now();
        pool.resting.push_back(index);
        self.resting += 1;
        true
    }

    /// Notes that a peer of our kind answers a function, whose name is not kept.
    pub(super) fn trust(&mut self, function: &Subject) {
        let pool = self.pool(function);
        if !pool.distrusted {
            pool.used = Instant::now();
        }
    }

    /// Whether a function was answered lately, and by peers of our kind only.
    pub(super) fn trusts(&self, function: &Subject) -> bool {
        let pool = self.pools.get(function.as_str());
        pool.is_some_and(|pool| !pool.distrusted)
    }

    /// Gives up the subjects of a function for a while, and returns their slots.
    pub(super) fn distrust(&mut self, function: &Subject) -> Vec<u32> {
        let pool = self.pool(function);
        pool.distrusted = true;
        pool.used = Instant::now();
        let given_up = Vec::from(std::mem::take(&mut pool.resting));
        self.resting -= given_up.len();
        given_up
    }

    /// The slots that were kept for functions which nobody has called for a while.
    pub(super) fn expire(&mut self, now: Instant) -> Vec<u32> {
        let over = self.pools.extract_if(|_, pool| pool.is_over(now));
        let given_up: Vec<u32> = over.flat_map(|(_, pool)| pool.resting).collect();
        self.resting -= given_up.len();
        given_up
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COUNT: Subject = Subject::from_static("count");

    fn filled(slots: u32) -> Reuse {
        let mut reuse = Reuse::default();
        for index in 0..slots {
            assert!(reuse.keep(&COUNT, index));
        }
        reuse
    }

    #[test]
    fn slots_take_turns_within_their_function() {
        let mut reuse = filled(2);
        assert_eq!(reuse.take(&Subject::from_static("other")), None);
        assert_eq!(reuse.take(&COUNT), Some(0));
        assert!(reuse.keep(&COUNT, 0));
        assert_eq!(reuse.take(&COUNT), Some(1));
        assert_eq!(reuse.take(&COUNT), Some(0));
        assert_eq!(reuse.take(&COUNT), None);
    }

    #[test]
    fn no_more_rest_than_a_server_remembers() {
        let mut reuse = filled(MOST as u32);
        assert!(!reuse.keep(&COUNT, 5000));
        assert!(reuse.take(&COUNT).is_some());
        assert!(reuse.keep(&Subject::from_static("other"), 5000));
    }

    #[test]
    fn a_function_that_was_answered_twice_is_distrusted_for_a_while() {
        let mut reuse = filled(100);
        assert_eq!(reuse.distrust(&COUNT).len(), 100);
        assert!(!reuse.keep(&COUNT, 0));
        assert_eq!(reuse.take(&COUNT), None);
        assert!(reuse.expire(Instant::now() + DISTRUSTED / 2).is_empty());
        assert!(!reuse.keep(&COUNT, 0));
        reuse.expire(Instant::now() + 2 * DISTRUSTED);
        assert!(reuse.keep(&COUNT, 0));
    }

    #[test]
    fn what_nobody_calls_any_more_gives_its_slots_back() {
        let mut reuse = filled(3);
        assert!(reuse.expire(Instant::now()).is_empty());
        assert_eq!(reuse.expire(Instant::now() + 2 * KEPT), [0, 1, 2]);
        assert_eq!(reuse.resting, 0);
    }
}
