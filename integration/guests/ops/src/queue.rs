//! Queues.

use crate::bindings::lattice::queue::types::{Message, Outcome};
use crate::bindings::lattice::queue::{consumer, producer};
use crate::{Amount, Done, told};

/// How long a message may take: others take the one that was sent here, and leave theirs.
const PATIENCE_MS: u32 = 10_000;

pub(crate) fn cycle(queue: &str, amount: Amount) -> Done {
    let message = Message {
        body: amount.bytes(),
        content_type: None,
        attributes: Vec::new(),
        dedup_id: None,
        group: None,
    };
    amount.each(|_| {
        producer::send(queue, &message, None).map_err(told)?;
        let got = consumer::receive(queue, 1, PATIENCE_MS, None).map_err(told)?;
        let first = got.first().ok_or("there is no message")?;
        consumer::settle(queue, &first.receipt, &Outcome::Ack).map_err(told)
    })
}
