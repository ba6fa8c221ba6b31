//! How often messages have failed.

use std::collections::BTreeMap;

use async_nats::jetstream::consumer::PullConsumer;
use parking_lot::Mutex;

/// Of how many messages it is remembered: of as many as a consumer that we make has under way.
pub(super) const REMEMBERED: usize = 100_000;

/// How many deliveries there may be for each attempt that a message is given. JetStream counts those
/// that reached no component as well, and copies of the provider do not know of each other's attempts: a
/// message outlasts many a restart, and yet no number of copies tries it without end.
const DELIVERIES_PER_ATTEMPT: i64 = 3;

/// The failed attempts at the messages of one consumer, as far as this process made them.
///
/// JetStream counts deliveries, among them those that reached no component: of a link that went, of
/// a provider that ended. So a message that comes from before this process counts as new, unless it was
/// delivered much too often; see [`delivered_too_often`].
#[derive(Debug, Default)]
pub(super) struct Failures {
    counted: Mutex<Counted>,
}

#[derive(Debug, Default)]
struct Counted {
    /// When the consumer was made; another one of the name may have messages of the same numbers.
    made: i128,
    /// By the number of the message in its stream.
    attempts: BTreeMap<u64, u32>,
}

/// Whether a message that is delivered for the time number `delivered` is tried for the last time,
/// whoever tried it before, where it is given `attempts`.
pub(super) fn delivered_too_often(delivered: i64, attempts: u32) -> bool {
    delivered >= i64::from(attempts) * DELIVERIES_PER_ATTEMPT
}

impl Failures {
    /// Goes on with a consumer that was found.
    pub(super) fn go_on_with(&self, consumer: &PullConsumer) {
        let made = consumer.cached_info().created.unix_timestamp_nanos();
        self.go_on(made);
    }

    fn go_on(&self, made: i128) {
        let mut counted = self.counted.lock();
        if counted.made != made {
            *counted = Counted {
                made,
                attempts: BTreeMap::new(),
            };
        }
    }

    /// How many attempts have failed.
    pub(super) fn of(&self, message: u64) -> u32 {
        let counted = self.counted.lock();
        counted.attempts.get(&message).copied().unwrap_or_default()
    }

    /// One more attempt has failed.
    pub(super) fn add(&self, message: u64) {
        let attempts = &mut self.counted.lock().attempts;
        let count = attempts.entry(message).or_default();
        *count = count.saturating_add(1);
        if attempts.len() > REMEMBERED {
            // The oldest one was most likely settled elsewhere.
            attempts.pop_first();
        }
    }

    /// The message does not come again.
    pub(super) fn forget(&self, message: u64) {
        self.counted.lock().attempts.remove(&message);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_message_has_a_count_of_its_own_until_it_is_forgotten() {
        let failures = Failures::default();
        failures.add(7);
        failures.add(7);
        failures.add(8);
        assert_eq!([7, 8, 9].map(|n| failures.of(n)), [2, 1, 0]);
        failures.forget(7);
        assert_eq!([7, 8].map(|n| failures.of(n)), [0, 1]);
    }

    #[test]
    fn no_number_of_copies_tries_a_message_without_end() {
        for attempts in [1, 5, 10_000] {
            let last = i64::from(attempts) * DELIVERIES_PER_ATTEMPT;
            assert!(!delivered_too_often(last - 1, attempts));
            assert!(delivered_too_often(last, attempts));
            assert!(delivered_too_often(i64::MAX, attempts));
        }
    }

    #[test]
    fn another_consumer_of_the_name_begins_anew() {
        let failures = Failures::default();
        failures.go_on(1);
        failures.add(7);
        failures.go_on(1);
        assert_eq!(failures.of(7), 1);
        failures.go_on(2);
        assert_eq!(failures.of(7), 0);
    }

    #[test]
    fn what_is_remembered_has_a_bound() {
        let failures = Failures::default();
        for message in 0..=REMEMBERED as u64 {
            failures.add(message);
        }
        assert_eq!([0, 1].map(|n| failures.of(n)), [0, 1]);
    }
}
