//! How often messages have failed that went back to their queue.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};

use lattice_provider_sdk::messaging::Message;
use parking_lot::Mutex;

/// How many messages are known at once: as many as may be under way.
const MOST: usize = 4096;

/// How often messages have failed that went back to their queue. The server says of a message that it
/// was given before, and no more. So it is known again by what the component sees of it: those that look
/// the same fail alike.
#[derive(Debug, Default)]
pub(crate) struct GivenBack {
    // A secret one, so that nobody can make messages that are taken for others.
    names: RandomState,
    failures: Mutex<HashMap<u64, u32>>,
}

impl GivenBack {
    /// Notes a message that goes back, with the attempts that have failed.
    pub(crate) fn put(&self, message: &Message, attempts: u32) {
        if attempts == 0 {
            return;
        }
        let name = self.name(message);
        let mut failures = self.failures.lock();
        if failures.len() >= MOST && !failures.contains_key(&name) {
            // Other copies of the provider may have had some of them meanwhile.
            let any = failures.keys().next().copied();
            if let Some(any) = any {
                failures.remove(&any);
            }
        }
        let known = failures.entry(name).or_default();
        *known = attempts.max(*known);
    }

    /// How many attempts at a message have failed that comes again.
    pub(crate) fn of(&self, message: &Message) -> u32 {
        // Most of the time there is none, and nothing of the message need be looked at.
        if self.failures.lock().is_empty() {
            return 0;
        }
        let name = self.name(message);
        self.failures.lock().get(&name).copied().unwrap_or(0)
    }

    /// Forgets a message that does not come again.
    pub(crate) fn forget(&self, message: &Message) {
        if self.failures.lock().is_empty() {
            return;
        }
        let name = self.name(message);
        self.failures.lock().remove(&name);
    }

    fn name(&self, message: &Message) -> u64 {
        let Message {
            subject,
            reply_to,
            content_type,
            metadata,
            body,
        } = message;
        self.names
            .hash_one((subject, reply_to, content_type, metadata, body))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_that_comes_again_has_failed_as_often_as_before() {
        let known = GivenBack::default();
        let [one, other] = ["1", "2"].map(|body| Message::new("a", body));
        known.put(&one, 3);
        known.put(&other, 0);
        assert_eq!((known.of(&one), known.of(&other)), (3, 0));
        known.put(&one, 2);
        assert_eq!(known.of(&one), 3);
        known.forget(&one);
        assert_eq!(known.of(&one), 0);
    }

    #[test]
    fn no_more_are_known_than_may_be_under_way() {
        let known = GivenBack::default();
        for number in 0..=MOST {
            known.put(&Message::new("a", number.to_string()), 1);
        }
        assert_eq!(known.failures.lock().len(), MOST);
        assert_eq!(known.of(&Message::new("a", MOST.to_string())), 1);
    }
}
