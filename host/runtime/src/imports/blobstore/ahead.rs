//! Data of an object that has come before the guest reads it.

use std::collections::VecDeque;

use bytes::Bytes;

use super::budget::{Budget, Held};

/// What was read to be counted, and is still to be given to the guest, with what it takes of all that the
/// call has in memory.
#[derive(Default)]
pub(super) struct Ahead(VecDeque<(Bytes, Held)>);

impl Ahead {
    pub(super) fn push(&mut self, bytes: Bytes, budget: &Budget) {
        let held = budget.hold_all(bytes.len());
        self.0.push_back((bytes, held));
    }

    pub(super) fn pop(&mut self) -> Option<Bytes> {
        let (bytes, _held) = self.0.pop_front()?;
        Some(bytes)
    }

    pub(super) fn bytes(&self) -> usize {
        self.0.iter().map(|(_, held)| held.bytes()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_ahead_is_held_until_it_is_given_or_dropped() {
        let budget = Budget::new(10);
        let mut ahead = Ahead::default();
        for (part, free) in [("abc", 7), ("defghijkl", 0)] {
            ahead.push(Bytes::from_static(part.as_bytes()), &budget);
            assert_eq!(budget.free(), free);
        }
        assert_eq!(ahead.bytes(), 12);
        assert_eq!(ahead.pop().unwrap(), "abc");
        assert_eq!((ahead.bytes(), budget.free()), (9, 1));
        drop(ahead);
        assert_eq!(budget.free(), 10);
    }
}
