//! Which of several links has a place that all of them want: the one that was put in the lattice first.
//!
//! That is the order of the links in the record of their source, in which a link that changes keeps its
//! place, and the order in which hosts tell of them: it is the same on all hosts and after every start, as in
//! 1.x. No other order that a provider could choose by itself is: by name, a link that is put later would
//! take the place of one that is served, or hosts that were started at different times would not agree.
//!
//! Links are put side by side, though, each in its own time, and one may come late, when what it needs is
//! there at last or its config was mended. Who has a place keeps it then: only those that come at about the
//! same time are brought into that order.

use std::collections::HashMap;
use std::time::Duration;

use lattice_provider_sdk::LinkKey;
use parking_lot::Mutex;
use tokio::time::Instant;

/// How long a link has to have had its turn so that none comes before it any more. In a start, and when the
/// config of the provider changes, links come within that time.
const SETTLED: Duration = Duration::from_secs(10);

/// Numbers links in the order in which they came.
#[derive(Default)]
pub(crate) struct Order(Mutex<Numbers>);

#[derive(Default)]
struct Numbers {
    last: u64,
    of: HashMap<LinkKey, u64>,
}

impl Order {
    /// A link has come, or has come back.
    pub(crate) fn comes(&self, link: &LinkKey) {
        let mut numbers = self.0.lock();
        numbers.last += 1;
        let last = numbers.last;
        numbers.of.insert(link.clone(), last);
    }

    /// A link is gone.
    pub(crate) fn forget(&self, link: &LinkKey) {
        self.0.lock().of.remove(link);
    }

    /// The number of a link; one of which nobody has said that it comes, comes now.
    pub(crate) fn number(&self, link: &LinkKey) -> u64 {
        let mut numbers = self.0.lock();
        let Numbers { last, of } = &mut *numbers;
        *of.entry(link.clone()).or_insert_with(|| {
            *last += 1;
            *last
        })
    }
}

/// Where a link stands among those that want the same place.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Turn {
    number: u64,
    since: Instant,
}

impl Turn {
    pub(crate) fn new(number: u64, since: Instant) -> Self {
        Self { number, since }
    }

    /// How many of those that are there go before this one, which comes now.
    pub(crate) fn after<'a>(self, others: impl IntoIterator<Item = &'a Self>) -> usize {
        let goes_before = |other: &Self| {
            other.number < self.number || self.since.duration_since(other.since) >= SETTLED
        };
        let others = others.into_iter().enumerate();
        let before = others.filter(|(_, other)| goes_before(other)).last();
        before.map_or(0, |(at, _)| at + 1)
    }

    /// Who leads those that share something: the first in order of those that came at about the same time as
    /// the one that has been there for longest.
    pub(crate) fn leading<T>(all: impl Iterator<Item = (Self, T)> + Clone) -> Option<T> {
        let since = all.clone().map(|(turn, _)| turn.since).min()?;
        let early = all.filter(|(turn, _)| turn.since.duration_since(since) < SETTLED);
        let leading = early.min_by_key(|(turn, _)| turn.number);
        leading.map(|(_, one)| one)
    }
}

#[cfg(test)]
mod tests {
    use lattice_core::{ComponentId, LinkName, WitName};
    use lattice_provider_sdk::LinkRole;

    use super::*;

    #[test]
    fn those_that_come_at_once_stand_in_their_order_whenever_they_are_put() {
        let now = Instant::now();
        let soon = |number| Turn::new(number, now + Duration::from_millis(number));
        for order in [[1, 2, 3], [3, 2, 1], [2, 3, 1], [3, 1, 2]] {
            let mut turns: Vec<Turn> = Vec::new();
            for number in order {
                let turn = soon(number);
                turns.insert(turn.after(&turns), turn);
            }
            let numbers: Vec<_> = turns.iter().map(|turn| turn.number).collect();
            assert_eq!(numbers, [1, 2, 3], "{order:?}");
        }
    }

    #[test]
    fn who_has_a_place_keeps_it() {
        let now = Instant::now();
        let owner = Turn::new(2, now);
        let late = Turn::new(1, now + SETTLED);
        assert_eq!(late.after([&owner]), 1);
        // Nobody goes before one that waits behind it either.
        let young = Turn::new(3, now + SETTLED);
        assert_eq!(late.after([&owner, &young]), 1);
        assert_eq!(Turn::new(4, now).after([&owner, &young]), 2);
        assert_eq!(late.after([]), 0);
    }

    #[test]
    fn who_has_led_for_a_while_leads_on() {
        let now = Instant::now();
        let led = |turns: &[(u64, Duration)]| {
            let turns = turns.iter().map(|(number, after)| {
                let turn = Turn::new(*number, now + *after);
                (turn, *number)
            });
            Turn::leading(turns)
        };
        let (first, soon) = (Duration::ZERO, SETTLED / 2);
        assert_eq!(led(&[(2, first), (1, soon), (3, soon)]), Some(1));
        assert_eq!(led(&[(2, first), (1, SETTLED)]), Some(2));
        assert_eq!(led(&[(1, SETTLED), (3, soon), (2, first)]), Some(2));
        assert_eq!(led(&[]), None);
    }

    #[test]
    fn a_link_that_comes_back_is_the_last() {
        let key = |peer: &str| LinkKey {
            role: LinkRole::Source,
            peer: ComponentId::new(peer).unwrap(),
            namespace: WitName::new("wasi").unwrap(),
            package: WitName::new("http").unwrap(),
            name: LinkName::new("default").unwrap(),
        };
        let (order, z, a) = (Order::default(), key("z"), key("a"));
        order.comes(&z);
        order.comes(&a);
        assert!(order.number(&z) < order.number(&a));
        order.comes(&z);
        assert!(order.number(&a) < order.number(&z));
        order.forget(&a);
        assert!(order.number(&z) < order.number(&a));
        assert_eq!(order.number(&a), order.number(&a));
    }
}
