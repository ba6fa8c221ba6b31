//! Queues where messages wait.
//!
//! A message whose time in such a queue is over is moved to its own queue by the server. All of one
//! queue wait equally long: servers look at the first message only, so that one with a long time to
//! live would hold up those behind it.
//!
//! They are quorum queues, whatever the queue is that their messages are for: no other keeps a message
//! until that queue has taken it, which it does not while it is full.

use std::time::Duration;

use lapin::types::{AMQPValue, FieldTable, LongString};

/// How much longer than its messages wait a queue stays that nobody uses. A message is sent right
/// after the queue was declared, which counts as use.
const STAYS: Duration = Duration::from_secs(30 * 60);

/// The delay that is used for `delay`: rounded up to two digits.
pub(crate) fn rounded(delay: Duration) -> Duration {
    let millis = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX).max(1);
    let mut unit = 1;
    while millis / unit >= 100 {
        unit *= 10;
    }
    Duration::from_millis(millis.div_ceil(unit).saturating_mul(unit))
}

/// The name of the queue where messages for `queue` wait.
pub(crate) fn name(queue: &str, delay: Duration) -> String {
    format!("{queue}=later={}", delay.as_millis())
}

/// How such a queue is made.
pub(crate) fn arguments(queue: &str, delay: Duration) -> FieldTable {
    let text = |text: &str| AMQPValue::LongString(LongString::from(text));
    let millis = |time: Duration| {
        AMQPValue::LongLongInt(i64::try_from(time.as_millis()).unwrap_or(i64::MAX))
    };
    let mut arguments = FieldTable::default();
    arguments.insert("x-message-ttl".into(), millis(delay));
    arguments.insert("x-expires".into(), millis(delay + STAYS));
    arguments.insert("x-dead-letter-exchange".into(), text(""));
    arguments.insert("x-dead-letter-routing-key".into(), text(queue));
    arguments.insert("x-queue-type".into(), text("quorum"));
    // The move is confirmed, for which the server wants the queue to refuse when it is full.
    arguments.insert("x-dead-letter-strategy".into(), text("at-least-once"));
    arguments.insert("x-overflow".into(), text("reject-publish"));
    arguments
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn delays_are_rounded_up_by_a_tenth_at_most(millis in 0_u64..700_000_000) {
            let rounded = rounded(Duration::from_millis(millis)).as_millis();
            let millis = u128::from(millis.max(1));
            prop_assert!(rounded >= millis && rounded <= millis + millis.div_ceil(10));
        }
    }

    #[test]
    fn there_are_few_delays() {
        let names: std::collections::BTreeSet<_> = (1..100_000)
            .map(|millis| name("q", rounded(Duration::from_millis(millis))))
            .collect();
        assert!(names.len() <= 99 + 3 * 90 + 1, "{}", names.len());
    }
}
