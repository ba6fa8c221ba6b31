//! A message as a guest holds it: a handle.

use bytes::Bytes;

use super::own::OwnMessage;
use crate::imports::Budget;

/// What keeping a message takes beside its parts.
const MESSAGE: usize = 64;

/// `message`: it counts towards what the values of a call may hold.
pub(crate) struct Message {
    topic: Option<String>,
    /// Where an answer goes.
    reply_to: Option<String>,
    content_type: Option<String>,
    data: Bytes,
    metadata: Vec<(String, String)>,
    budget: Budget,
    /// How much of it is taken.
    held: usize,
}

/// The guest holds too much at once.
#[derive(Debug, thiserror::Error)]
#[error("the messages that the call holds would take more than it may buffer")]
pub(crate) struct TooMuch;

impl Message {
    /// One that the guest makes.
    pub(crate) fn new(data: Bytes, budget: Budget) -> Result<Self, TooMuch> {
        let mut message = Self {
            topic: None,
            reply_to: None,
            content_type: None,
            data,
            metadata: Vec::new(),
            budget,
            held: 0,
        };
        message.account()?;
        Ok(message)
    }

    /// One that came from a broker, which is there already, whatever it holds.
    pub(crate) fn arrived(message: OwnMessage, budget: Budget) -> Self {
        Self {
            topic: Some(message.subject),
            reply_to: message.reply_to,
            content_type: message.content_type,
            data: message.body,
            metadata: message.metadata,
            budget,
            held: 0,
        }
    }

    /// One of the answers to a request, of which the guest may keep many.
    pub(crate) fn answered(message: OwnMessage, budget: Budget) -> Result<Self, TooMuch> {
        let mut message = Self::arrived(message, budget);
        message.account()?;
        Ok(message)
    }

    /// The message as it goes to `topic`.
    pub(super) fn sent_to(&self, topic: String) -> OwnMessage {
        OwnMessage {
            subject: topic,
            reply_to: None,
            content_type: self.content_type.clone(),
            metadata: self.metadata.clone(),
            body: self.data.clone(),
        }
    }

    /// Whether it has nothing that the form of 1.x has no place for.
    pub(super) fn is_plain(&self) -> bool {
        self.metadata.is_empty() && self.content_type.is_none()
    }

    pub(crate) fn topic(&self) -> Option<String> {
        self.topic.clone()
    }

    pub(crate) fn reply_to(&self) -> Option<&str> {
        self.reply_to.as_deref()
    }

    pub(crate) fn content_type(&self) -> Option<String> {
        self.content_type.clone()
    }

    pub(crate) fn data(&self) -> Bytes {
        self.data.clone()
    }

    pub(crate) fn metadata(&self) -> &[(String, String)] {
        &self.metadata
    }

    pub(crate) fn set_content_type(&mut self, content_type: String) -> Result<(), TooMuch> {
        self.content_type = Some(content_type);
        self.account()
    }

    pub(crate) fn set_data(&mut self, data: Bytes) -> Result<(), TooMuch> {
        self.data = data;
        self.account()
    }

    pub(crate) fn set_metadata(&mut self, metadata: Vec<(String, String)>) -> Result<(), TooMuch> {
        self.metadata = metadata;
        self.account()
    }

    pub(crate) fn add_metadata(&mut self, key: String, value: String) -> Result<(), TooMuch> {
        self.metadata.push((key, value));
        self.account()
    }

    pub(crate) fn remove_metadata(&mut self, key: &str) -> Result<(), TooMuch> {
        self.metadata.retain(|(known, _)| known != key);
        self.account()
    }

    /// Takes what the message holds now of the budget.
    fn account(&mut self) -> Result<(), TooMuch> {
        let pair = |(key, value): &(String, String)| key.len() + value.len() + MESSAGE;
        let texts = [&self.topic, &self.reply_to, &self.content_type];
        let texts: usize = texts.into_iter().flatten().map(String::len).sum();
        let pairs: usize = self.metadata.iter().map(pair).sum();
        let holds = self.data.len() + texts + pairs + MESSAGE;
        self.budget.give_back(self.held);
        self.held = 0;
        if holds > self.budget.free() {
            return Err(TooMuch);
        }
        self.budget.take(holds);
        self.held = holds;
        Ok(())
    }
}

impl Drop for Message {
    fn drop(&mut self) {
        self.budget.give_back(self.held);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_hold_no_more_than_a_call_may() {
        let budget = Budget::new(1000);
        let kept = Message::new(vec![0; 500].into(), budget.clone()).unwrap();
        assert!(Message::new(vec![0; 500].into(), budget.clone()).is_err());
        drop(kept);
        let mut message = Message::new(vec![0; 500].into(), budget.clone()).unwrap();
        message.set_data(Bytes::new()).unwrap();
        message.add_metadata("k".into(), "v".repeat(700)).unwrap();
        assert!(message.add_metadata("l".into(), "v".repeat(700)).is_err());
        drop(message);
        assert_eq!(budget.free(), 1000);
    }

    #[test]
    fn answers_count_towards_what_a_call_holds() {
        let budget = Budget::new(1000);
        let answer = |bytes: usize| {
            let message = OwnMessage {
                subject: "inbox".to_owned(),
                reply_to: None,
                content_type: None,
                metadata: Vec::new(),
                body: vec![0; bytes].into(),
            };
            Message::answered(message, budget.clone())
        };
        let kept = answer(500).unwrap();
        assert!(answer(500).is_err());
        drop(kept);
        assert_eq!(budget.free(), 1000);
        assert!(answer(500).is_ok());
    }
}
