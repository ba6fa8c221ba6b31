//! Queues where messages wait.
//!
//! A message whose time is over is moved to its own queue by the server. Servers look at the first
//! message of a queue only, so that one with a long time to wait would hold up those behind it: there
//! is a queue for each of a few times, and messages wait in the one whose time is next to theirs. Each
//! has its own time all the same, after which it goes if none that is before it has to wait on.
//!
//! They are quorum queues, whatever the queue is that their messages are for: no other keeps a message
//! until that queue has taken it, which it does not while it is full.
//!
//! They stay. A quorum queue with `x-expires` is deleted so long after it was made, with what is in it:
//! neither what is sent to it nor that it is declared again counts as use. And servers delete no quorum
//! queue on the condition that it is empty. So there have to be few.

use std::time::Duration;

use lapin::types::{AMQPValue, FieldTable, LongString};

/// The times of the queues, in steps of a third at most, up to ten times the first.
const STEPS: [u64; 10] = [10, 12, 15, 20, 25, 30, 40, 50, 60, 80];
/// What the steps of the shortest times are multiplied with, for milliseconds.
const SHORTEST: u64 = 10;

/// The time of the queue where a message waits for `delay`, which is not longer.
pub(crate) fn longest(delay: Duration) -> Duration {
    let millis = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
    let mut unit = SHORTEST;
    loop {
        let mut steps = STEPS.iter().map(|step| step.saturating_mul(unit));
        if let Some(step) = steps.find(|step| *step >= millis) {
            return Duration::from_millis(step);
        }
        unit = unit.saturating_mul(10);
    }
}

/// The name of the queue where messages for `queue` wait. Earlier versions called theirs `=hold=` and
/// `=later=`; a queue that is there with other arguments could not be declared.
pub(crate) fn name(queue: &str, longest: Duration) -> String {
    format!("{queue}=wait={}", longest.as_millis())
}

/// How such a queue is made.
pub(crate) fn arguments(queue: &str, longest: Duration) -> FieldTable {
    let text = |text: &str| AMQPValue::LongString(LongString::from(text));
    let mut arguments = FieldTable::default();
    let millis = i64::try_from(longest.as_millis()).unwrap_or(i64::MAX);
    arguments.insert("x-message-ttl".into(), AMQPValue::LongLongInt(millis));
    arguments.insert("x-dead-letter-exchange".into(), text(""));
    arguments.insert("x-dead-letter-routing-key".into(), text(queue));
    arguments.insert("x-queue-type".into(), text("quorum"));
    // The move is confirmed, for which the server wants the queue to refuse when it is full.
    arguments.insert("x-dead-letter-strategy".into(), text("at-least-once"));
    arguments.insert("x-overflow".into(), text("reject-publish"));
    arguments
}

/// For how long a message waits, as AMQP says it. The server takes it off when it moves the message.
pub(crate) fn expiration(delay: Duration) -> String {
    delay.as_millis().max(1).to_string()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const WEEK_MS: u64 = 7 * 24 * 60 * 60 * 1000;

    proptest! {
        #[test]
        fn times_are_longer_by_a_third_at_most(millis in 0..=WEEK_MS) {
            let longest = longest(Duration::from_millis(millis)).as_millis();
            let millis = u128::from(millis);
            prop_assert!(longest >= millis && longest <= (millis + millis.div_ceil(3)).max(100));
        }
    }

    #[test]
    fn there_are_few_queues_and_those_of_round_times_are_theirs() {
        let millis = std::iter::successors(Some(WEEK_MS), |millis| match millis {
            0 => None,
            millis => Some(millis - millis.div_ceil(200)),
        });
        let names: std::collections::BTreeSet<_> = millis
            .map(|millis| name("q", longest(Duration::from_millis(millis))))
            .collect();
        assert!(names.len() <= 70, "{}", names.len());
        for millis in [100, 800, 1000, 60_000] {
            let delay = Duration::from_millis(millis);
            assert_eq!(longest(delay), delay);
        }
        assert_eq!(longest(Duration::ZERO), Duration::from_millis(100));
        assert!(longest(Duration::MAX) > Duration::from_secs(1 << 40));
    }

    #[test]
    fn no_queue_is_deleted_with_what_waits_in_it() {
        let arguments = arguments("q", Duration::from_secs(1));
        assert!(!arguments.contains_key("x-expires"));
    }
}
