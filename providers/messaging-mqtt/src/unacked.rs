//! Messages that were not acknowledged yet, in the order in which they came.

use std::collections::VecDeque;

/// Messages that were not acknowledged yet. MQTT wants acknowledgements in the order of the
/// messages, so one that is done early waits for those before it. All of them come again should the
/// connection end, so that no more are begun than the broker was told to send, which brokers do not
/// always keep to: after a connection is made again, Mosquitto 2.0.11 sends all that it has.
#[derive(Debug)]
pub(crate) struct Unacked<M> {
    /// How many are begun at once, counted from the first.
    most: u64,
    /// Grows with each connection: what an earlier one brought comes again.
    connection: u64,
    /// The number of the first one.
    first: u64,
    /// The number of the first one that was not begun.
    next: u64,
    messages: VecDeque<(M, bool)>,
}

/// A message among those.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    connection: u64,
    number: u64,
}

impl<M: Clone> Unacked<M> {
    /// None, of which that many are begun at once.
    pub(crate) fn new(most: u64) -> Self {
        Self {
            most,
            connection: 0,
            first: 0,
            next: 0,
            messages: VecDeque::new(),
        }
    }

    /// Forgets all: the broker gives them again on the next connection.
    pub(crate) fn reconnect(&mut self) {
        self.connection += 1;
        (self.first, self.next) = (0, 0);
        self.messages.clear();
    }

    pub(crate) fn push(&mut self, message: M) {
        self.messages.push_back((message, false));
    }

    /// The next one that may be begun.
    pub(crate) fn begin(&mut self) -> Option<(Place, M)> {
        let ahead = self.next - self.first;
        if ahead >= self.most {
            return None;
        }
        let (message, _) = self.messages.get(usize::try_from(ahead).ok()?)?;
        let place = Place {
            connection: self.connection,
            number: self.next,
        };
        self.next += 1;
        Some((place, message.clone()))
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
        let mut unacked = Unacked::new(3);
        "abc".chars().for_each(|name| unacked.push(name));
        let places: Vec<_> = std::iter::from_fn(|| Some(unacked.begin()?.0)).collect();
        assert!(unacked.done(places[1]).is_empty());
        assert_eq!(unacked.done(places[0]), ['a', 'b']);
        assert_eq!(unacked.done(places[2]), ['c']);
        assert!(unacked.is_empty());
    }

    #[test]
    fn what_an_earlier_connection_brought_is_not_acknowledged() {
        let mut unacked = Unacked::new(1);
        unacked.push('a');
        let (old, _) = unacked.begin().unwrap();
        unacked.reconnect();
        unacked.push('a');
        let (new, _) = unacked.begin().unwrap();
        assert!(unacked.done(old).is_empty());
        assert_eq!(unacked.done(new), ['a']);
    }
    #[test]
    fn no_more_are_begun_than_may_come_twice() {
        let mut unacked = Unacked::new(2);
        "abcd".chars().for_each(|name| unacked.push(name));
        let (first, _) = unacked.begin().unwrap();
        let (second, name) = unacked.begin().unwrap();
        assert_eq!((name, unacked.begin()), ('b', None));
        // That it is done does not keep it from coming again.
        assert!(unacked.done(second).is_empty());
        assert_eq!(unacked.begin(), None);
        assert_eq!(unacked.done(first), ['a', 'b']);
        assert_eq!(unacked.begin().map(|(_, name)| name), Some('c'));
        assert_eq!(unacked.begin().map(|(_, name)| name), Some('d'));
        assert_eq!(unacked.begin(), None);
    }
}
