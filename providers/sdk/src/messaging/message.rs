//! Messages, whichever package they come by.

use lattice_core::text::clipped;

use super::{BrokerMessage, Message, MessagingError};

/// How many bytes the metadata of one message may have, names and values together.
pub const LARGEST_METADATA: usize = 64 * 1024;

impl Message {
    /// A message with nothing but a subject and a body.
    #[must_use]
    pub fn new(subject: impl Into<String>, body: impl Into<bytes::Bytes>) -> Self {
        Self {
            subject: subject.into(),
            reply_to: None,
            content_type: None,
            metadata: Vec::new(),
            body: body.into(),
        }
    }

    /// How many bytes it has beside its body and its subjects.
    #[must_use]
    pub fn header_size(&self) -> usize {
        let content_type = self.content_type.as_ref().map_or(0, String::len);
        let pairs = self.metadata.iter();
        content_type
            + pairs
                .map(|(name, value)| name.len() + value.len())
                .sum::<usize>()
    }

    /// How many bytes are not to be more than the broker takes.
    #[must_use]
    pub fn size(&self) -> usize {
        self.body.len() + self.header_size()
    }

    /// Refuses metadata that no broker keeps, and names that `is_reserved` says mean something to
    /// this one.
    ///
    /// # Errors
    ///
    /// [`MessagingError::Metadata`] names the first that is refused.
    pub fn check_metadata(&self, is_reserved: impl Fn(&str) -> bool) -> Result<(), MessagingError> {
        let refuse = |name: &str, why| {
            Err(MessagingError::Metadata {
                name: shown(name),
                why,
            })
        };
        if self.header_size() > LARGEST_METADATA {
            let why = "all of it together has more than 64 KiB";
            return refuse(self.metadata.first().map_or("", |(name, _)| name), why);
        }
        for (name, value) in &self.metadata {
            if name.is_empty() || name.chars().any(char::is_control) {
                return refuse(name, "a name is one line, and not empty");
            }
            if is_reserved(name) {
                return refuse(name, "the name means something to the broker");
            }
            if value.contains('\0') {
                return refuse(name, "a value has no zero byte");
            }
        }
        Ok(())
    }
}

/// As much of a name as an error shows.
fn shown(name: &str) -> String {
    clipped(name, 64)
}

impl From<BrokerMessage> for Message {
    fn from(message: BrokerMessage) -> Self {
        Self {
            reply_to: message.reply_to,
            ..Self::new(message.subject, message.body)
        }
    }
}

impl From<Message> for BrokerMessage {
    /// Metadata and content type have no place there.
    fn from(message: Message) -> Self {
        Self {
            subject: message.subject,
            body: message.body,
            reply_to: message.reply_to,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_that_cannot_be_kept_is_refused_by_name() {
        let refused = |name: &str, value: &str| {
            let mut message = Message::new("a", "");
            message.metadata = vec![("ok".into(), "1".into()), (name.into(), value.into())];
            message.check_metadata(|name| name == "reply").err()
        };
        assert_eq!(refused("k", "any text,\nof two lines"), None);
        for (name, value) in [("", "v"), ("a\nb", "v"), ("reply", "v"), ("k", "\0")] {
            let error = refused(name, value).unwrap().to_string();
            assert!(error.contains(&format!("`{name}`")), "{error}");
        }
        let error = refused("k", &"v".repeat(LARGEST_METADATA)).unwrap();
        assert!(error.to_string().contains("64 KiB"), "{error}");
    }
}
