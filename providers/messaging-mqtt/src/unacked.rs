//! Messages that were not acknowledged yet, in the order in which they came.

use std::collections::VecDeque;

/// Messages that were not acknowledged yet. MQTT wants acknowledgements in the order of the
/// messages, so one that is done early waits for those before it.
#[derive(Debug)]
pub(crate) struct Unacked<M> {
    /// Grows with each connection: what an earlier one brought comes again.
    connection: u64,
    /// The number of the first one.
    first: u64,
    messages: VecDeque<(M, bool)>,
}

/// A message among those.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    connection: u64,
    number: u64,
}

impl<M> Default for Unacked<M> {
    fn default() -> Self {
        Self {
            connection: 0,
            first: 0,
            messages: VecDeque::new(),
        }
    }
}

impl<M> Unacked<M> {
    /// Forgets all: the broker gives them again on the next connection.
    pub(crate) fn reconnect(&mut self) {
        self.connection += 1;
        self.first = 0;
        self.messages.clear();
    }

    pub(crate) fn push(&mut self, message: M) -> Place {
        let number = self.first + self.messages.len() as u64;
        self.messages.push_back((message, false));
        Place {
            connection: self.connection,
            number,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// Notes that a message is done, and takes out those that can be acknowledged now.
    pub(crate) fn done(&mut self, place: Place) -> Vec<M> {
        if place.connection != self.connection {
            return Vec::new();
        }
        let at = place.number.checked_sub(self.first);
        let at = at.and_then(|at| usize::try_from(at).ok());
        if let Some((_, done)) = at.and_then(|at| self.messages.get_mut(at)) {
            *done = true;
        }
        let mut ready = Vec::new();
        while let Some((_, true)) = self.messages.front() {
            ready.extend(self.messages.pop_front().map(|(message, _)| message));
            self.first += 1;
        }
        ready
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_done_early_waits_for_those_before_it() {
        let mut unacked = Unacked::default();
        let places: Vec<_> = "abc".chars().map(|name| unacked.push(name)).collect();
        assert!(unacked.done(places[1]).is_empty());
        assert_eq!(unacked.done(places[0]), ['a', 'b']);
        assert_eq!(unacked.done(places[2]), ['c']);
        assert!(unacked.is_empty());
    }

    #[test]
    fn what_an_earlier_connection_brought_is_not_acknowledged() {
        let mut unacked = Unacked::default();
        let old = unacked.push('a');
        unacked.reconnect();
        let new = unacked.push('a');
        assert!(unacked.done(old).is_empty());
        assert_eq!(unacked.done(new), ['a']);
    }
}
