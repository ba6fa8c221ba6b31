//! How this guest speaks with a broker: messages are records that say where an answer goes.

use crate::bindings::exports::wasmcloud::messaging::handler::Guest;
use crate::bindings::wasmcloud::messaging::consumer;
use crate::bindings::wasmcloud::messaging::types::BrokerMessage;
use crate::{Case, Suite, handler};

/// Cases about what only messages of this shape have.
pub(crate) const CASES: &[Case] = &[];

/// What a handler sees of the place for an answer.
pub(crate) const REPLY_TO_OF_REQUESTS: &str = "true";

/// A message that the component is told of.
pub(crate) struct Arrived(BrokerMessage);

impl Arrived {
    pub(crate) fn subject(&self) -> String {
        self.0.subject.clone()
    }

    pub(crate) fn body(&self) -> Vec<u8> {
        self.0.body.clone()
    }

    /// What a handler sees of the place for an answer.
    pub(crate) fn reply_to(&self) -> String {
        self.0.reply_to.is_some().to_string()
    }

    /// Answers the one who asked.
    pub(crate) fn answer(&self, body: &[u8]) -> Result<(), String> {
        match &self.0.reply_to {
            Some(reply_to) => publish(reply_to, body),
            None => Err("the message asks for no answer".to_owned()),
        }
    }

    /// Publishes to another subject, and says there where the answer goes.
    pub(crate) fn relay(&self, to: &str, rest: &[u8]) -> Result<(), String> {
        let reply_to = self.0.reply_to.as_deref();
        let reply_to = reply_to.ok_or("no answer is wanted")?;
        publish(to, &[reply_to.as_bytes(), b"\n", rest].concat())
    }
}

impl Guest for Suite {
    fn handle_message(message: BrokerMessage) -> Result<(), String> {
        handler::handle(&Arrived(message))
    }
}

/// Publishes a message that asks for no answer.
pub(crate) fn publish(subject: &str, body: &[u8]) -> Result<(), String> {
    consumer::publish(&BrokerMessage {
        subject: subject.to_owned(),
        body: body.to_vec(),
        reply_to: None,
    })
}

/// Asks for one answer.
pub(crate) fn request(subject: &str, body: &[u8], timeout_ms: u32) -> Result<Answer, String> {
    let answer = consumer::request(subject, body, timeout_ms)?;
    Ok(Answer {
        subject: answer.subject,
        body: answer.body,
    })
}

/// An answer.
pub(crate) struct Answer {
    pub(crate) subject: String,
    pub(crate) body: Vec<u8>,
}

/// Answers the one who asked for a relay.
pub(crate) fn pass_on(place: &str, told: &[u8]) -> Result<(), String> {
    publish(place, told)
}

/// What the handler at the end of a relay told, which is the answer itself.
pub(crate) fn relayed(answer: String) -> Result<String, String> {
    Ok(answer)
}
