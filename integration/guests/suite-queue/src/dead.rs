//! Dead letters.

use crate::bindings::exports::lattice::conformance::suite::Failure;
use crate::bindings::lattice::queue::consumer;
use crate::bindings::lattice::queue::types::{Message, Outcome};
use crate::kit::{Good as _, Kit, LONG_MS, body, text};
use crate::{Case, same};

pub(crate) const CASES: &[Case] = &[
    (
        "a-rejected-message-is-a-dead-letter-with-its-reason",
        rejected,
    ),
    ("a-dead-letter-tells-its-attempts", attempts),
];

fn rejected(kit: &Kit) -> Result<(), Failure> {
    let message = Message {
        attributes: vec![("kept".into(), "yes".into())],
        content_type: Some("text/plain".into()),
        ..text("bad")
    };
    kit.send(&message)?;
    let got = kit.one(LONG_MS)?;
    let done = kit.try_settle(&got, &Outcome::Reject("no such order".into()));
    if kit.feature("dead-letter").is_none() {
        return kit.refused("dead-letter", done);
    }
    done.good("reject")?;
    same!(kit.receive(1, LONG_MS)?, Vec::new());
    let queue = format!("{}-dead", kit.queue);
    let dead = kit.one_of(&queue, LONG_MS)?;
    same!(body(&dead), "bad");
    same!(dead.message.content_type, message.content_type);
    let value = |name: &str| {
        let mut attributes = dead.message.attributes.iter();
        let found = attributes.find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    };
    same!(value("kept"), Some("yes"));
    same!(value("dead-letter-reason"), Some("no such order"));
    same!(value("dead-letter-attempts"), Some("1"));
    same!(value("dead-letter-queue").is_some(), true);
    consumer::settle(&queue, &dead.receipt, &Outcome::Ack).good("settle a dead letter")
}

fn attempts(kit: &Kit) -> Result<(), Failure> {
    kit.send(&text("worse"))?;
    let first = kit.one(LONG_MS)?;
    kit.settle(&first, &Outcome::Retry(None))?;
    let second = kit.one(LONG_MS)?;
    let done = kit.try_settle(&second, &Outcome::Reject("twice".into()));
    if kit.feature("dead-letter").is_none() {
        return kit.refused("dead-letter", done);
    }
    done.good("reject")?;
    let queue = format!("{}-dead", kit.queue);
    let dead = kit.one_of(&queue, LONG_MS)?;
    let mut attributes = dead.message.attributes.iter();
    let told = attributes.find(|(name, _)| name == "dead-letter-attempts");
    same!(told.map(|(_, value)| value.as_str()), Some("2"));
    consumer::settle(&queue, &dead.receipt, &Outcome::Ack).good("settle a dead letter")
}
