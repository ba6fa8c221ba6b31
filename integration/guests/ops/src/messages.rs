//! Messages.

use crate::bindings::wasmcloud::messaging::consumer;
use crate::bindings::wasmcloud::messaging::types::BrokerMessage;
use crate::{Amount, Done};

/// How long an answer may take.
const PATIENCE_MS: u32 = 10_000;

pub(crate) fn publish(subject: &str, amount: Amount) -> Done {
    let message = BrokerMessage {
        subject: subject.to_owned(),
        body: amount.bytes(),
        reply_to: None,
    };
    amount.each(|_| consumer::publish(&message))
}

pub(crate) fn request(subject: &str, amount: Amount) -> Done {
    let body = amount.bytes();
    amount.each(|_| {
        let answer = consumer::request(subject, &body, PATIENCE_MS)?;
        match answer.body.len() == body.len() {
            true => Ok(()),
            false => Err(format!("the answer has {} bytes", answer.body.len())),
        }
    })
}
