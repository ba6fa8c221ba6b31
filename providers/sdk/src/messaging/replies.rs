//! The answers to one request.

use super::{LARGEST_BODY, Message};

/// The most answers that are waited for. Who expects more gets these.
pub const MOST_REPLIES: usize = 1024;

/// The answers that a request has got so far, and how many it waits for.
#[derive(Debug)]
pub struct Replies {
    expected: usize,
    messages: Vec<Message>,
    bytes: usize,
}

impl Replies {
    /// Has none yet.
    pub(super) fn new(expected: u32) -> Self {
        let expected = usize::try_from(expected).unwrap_or(MOST_REPLIES);
        Self {
            expected: expected.min(MOST_REPLIES),
            messages: Vec::new(),
            bytes: 0,
        }
    }

    /// How many are waited for: one or more.
    #[must_use]
    pub fn expected(&self) -> usize {
        self.expected
    }

    /// Takes an answer; says whether it was the last one. What does not fit an answer to the
    /// component any more is left out, and nothing is waited for after it.
    pub fn take(&mut self, message: Message) -> bool {
        let size = message.size() + message.subject.len();
        if self.bytes + size > LARGEST_BODY && !self.messages.is_empty() {
            tracing::warn!(
                subject = message.subject,
                "left out answers to a request: together they have more bytes than a call carries"
            );
            return true;
        }
        self.bytes += size;
        self.messages.push(message);
        self.messages.len() >= self.expected
    }

    pub(super) fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    pub(super) fn into_messages(self) -> Vec<Message> {
        self.messages
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_are_taken_as_are_expected_and_fit() {
        let mut two = Replies::new(2);
        assert!(!two.take(Message::new("a", "1")));
        assert!(two.take(Message::new("a", "2")));
        assert_eq!(two.into_messages().len(), 2);
        assert_eq!(Replies::new(u32::MAX).expected(), MOST_REPLIES);
        let half = vec![0; LARGEST_BODY / 2];
        let mut many = Replies::new(9);
        assert!(!many.take(Message::new("a", half.clone())));
        assert!(many.take(Message::new("a", half)));
        assert_eq!(many.into_messages().len(), 1);
    }
}
