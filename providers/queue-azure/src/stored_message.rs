//! A message as Azure keeps it.
//!
//! Azure keeps text and nothing else. A message that is only a body is its base64, as other programs
//! have it. One with attributes or a content type is `lattice1.`, the base64 of a JSON object with
//! them, `.`, and the base64 of the body; no base64 has dots. Text that is neither was sent by others
//! and is the body as it is.
//!
//! Text that others have sent may be base64 by chance, such as any word of four letters. Where a link
//! says that bodies are [`Encoding::Text`], no text is taken for base64, and none is written: a body
//! that is no text, or not one that every program would read as it is, is marked like one with
//! attributes.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use lattice_provider_sdk::queue::{Message, QueueError};
use serde::{Deserialize, Serialize};

/// What Azure takes as one message.
pub(crate) const MOST: usize = 64 << 10;
/// What is sent as one message: as a dead letter, with the reason, it has to fit too.
pub(crate) const MOST_SENT: usize = MOST - (4 << 10);
const MARK: &str = "lattice1.";

/// How the body of a message that is nothing else is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Encoding {
    /// As base64; what is none is read as text.
    #[default]
    Auto,
    /// The same, and text that is none is told to the log.
    Base64,
    /// As it is.
    Text,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Head {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    content_type: Option<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    attributes: BTreeMap<String, String>,
}

impl Encoding {
    /// What Azure gets for a message, of `most` bytes.
    pub(crate) fn write(self, message: &Message, most: usize) -> Result<String, QueueError> {
        for (feature, id) in [("groups", &message.group), ("dedup", &message.dedup_id)] {
            if id.is_some() {
                let why = format!("{feature}, which the queues of Azure do not have");
                return Err(QueueError::unsupported(why));
            }
        }
        let is_bare = message.content_type.is_none() && message.attributes.is_empty();
        let plain = match self {
            Self::Text if is_bare => plain(&message.body),
            _ => None,
        };
        let mut text = String::new();
        if !is_bare || (self == Self::Text && plain.is_none()) {
            let head = Head {
                content_type: message.content_type.clone(),
                attributes: message.attributes.iter().cloned().collect(),
            };
            // Texts are always JSON.
            let head = serde_json::to_vec(&head).unwrap_or_default();
            text = format!("{MARK}{}.", STANDARD.encode(head));
        }
        let room = most.saturating_sub(text.len()) / 4 * 3;
        if text.len() > most || message.body.len() > room {
            return Err(QueueError::TooLarge(room as u64));
        }
        match plain {
            Some(plain) => text.push_str(plain),
            None => STANDARD.encode_string(&message.body, &mut text),
        }
        Ok(text)
    }

    /// The message in what Azure gives.
    pub(crate) fn read(self, text: &str) -> Message {
        let (head, body) = marked(text).unwrap_or_else(|| (Head::default(), self.body(text)));
        Message {
            body: body.into(),
            content_type: head.content_type,
            attributes: head.attributes.into_iter().collect(),
            dedup_id: None,
            group: None,
        }
    }

    fn body(self, text: &str) -> Vec<u8> {
        let as_it_is = || text.as_bytes().to_vec();
        if self == Self::Text {
            return as_it_is();
        }
        STANDARD.decode(text).unwrap_or_else(|error| {
            if self == Self::Base64 {
                tracing::warn!(%error, "a message is no base64, and given as it is");
            }
            as_it_is()
        })
    }
}

fn marked(text: &str) -> Option<(Head, Vec<u8>)> {
    let (head, body) = text.strip_prefix(MARK)?.split_once('.')?;
    let head: Head = serde_json::from_slice(&STANDARD.decode(head).ok()?).ok()?;
    Some((head, STANDARD.decode(body).ok()?))
}

/// A body as text that comes back as it was: XML, in which it travels, has no control characters, and
/// its readers may drop white space around it and change ends of lines.
fn plain(body: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(body).ok()?;
    let is_lost = |c: char| (c.is_control() && c != '\n') || matches!(c, '\u{fffe}' | '\u{ffff}');
    let is_whole = !text.is_empty() && text.trim() == text && !text.contains(is_lost);
    (is_whole && !text.starts_with(MARK)).then_some(text)
}

#[cfg(test)]
mod tests {
    use lattice_provider_sdk::queue::dead_letter;
    use proptest::prelude::*;

    use super::*;

    fn write(message: &Message, most: usize) -> Result<String, QueueError> {
        Encoding::Auto.write(message, most)
    }

    fn read(text: &str) -> Message {
        Encoding::Auto.read(text)
    }

    fn message(body: Vec<u8>) -> Message {
        Message {
            body: body.into(),
            content_type: None,
            attributes: Vec::new(),
            dedup_id: None,
            group: None,
        }
    }

    #[test]
    fn what_others_send_is_read() {
        assert_eq!(
            write(&message(b"hello".to_vec()), MOST).unwrap(),
            "aGVsbG8="
        );
        assert_eq!(read("aGVsbG8=").body, "hello");
        assert_eq!(read("{\"n\": 1}").body, "{\"n\": 1}");
        assert_eq!(read("lattice1.x").body, "lattice1.x");
    }

    #[test]
    fn text_that_looks_like_base64_is_text_where_the_link_says_so() {
        assert_eq!(read("ping").body, [0xa6, 0x29, 0xe0].as_slice());
        assert_eq!(Encoding::Base64.read("ping!").body, "ping!");
        assert_eq!(Encoding::Text.read("ping").body, "ping");
        let written = |body: &[u8]| Encoding::Text.write(&message(body.to_vec()), MOST).unwrap();
        assert_eq!(written("ping\nür".as_bytes()), "ping\nür");
        for body in [&b""[..], b" x", b"a\rb", b"a\0", b"lattice1.x.y", &[0xff]] {
            let text = written(body);
            assert!(text.starts_with(MARK), "{text}");
            assert_eq!(Encoding::Text.read(&text).body, body);
        }
    }

    #[test]
    fn what_is_too_large_is_told_how_much_would_fit() {
        let error = write(&message(vec![0; 49_153]), MOST).unwrap_err();
        assert_eq!(error, QueueError::TooLarge(49_152));
        assert!(write(&message(vec![0; 49_152]), MOST).unwrap().len() <= MOST);
        let mut large = message(vec![0; 49_152]);
        large.attributes = vec![("a".to_owned(), "x".repeat(100))];
        let QueueError::TooLarge(room) = write(&large, MOST).unwrap_err() else {
            panic!("it fits");
        };
        large.body.truncate(usize::try_from(room).unwrap());
        assert!(write(&large, MOST).unwrap().len() <= MOST);
    }

    #[test]
    fn attributes_that_are_too_large_are_refused_without_a_body_too() {
        let mut large = message(Vec::new());
        large.attributes = vec![("a".to_owned(), "x".repeat(MOST))];
        assert_eq!(write(&large, MOST), Err(QueueError::TooLarge(0)));
    }

    #[test]
    fn what_was_sent_fits_as_a_dead_letter() {
        let mut sent = message(Vec::new());
        for attributes in [vec![], vec![("a".to_owned(), "x".repeat(100))]] {
            (sent.attributes, sent.body) = (attributes, vec![0; MOST].into());
            let QueueError::TooLarge(room) = write(&sent, MOST_SENT).unwrap_err() else {
                panic!("it fits");
            };
            sent.body.truncate(usize::try_from(room).unwrap());
            assert!(write(&sent, MOST_SENT).is_ok());
            for reason in ["\u{1}", "\"", "\u{10ffff}"].map(|char| char.repeat(2000)) {
                let dead = dead_letter(sent.clone(), &"q".repeat(63), u32::MAX, &reason);
                assert!(write(&dead, MOST).is_ok());
            }
        }
    }

    #[test]
    fn what_azure_does_not_have_is_refused_by_name() {
        let mut grouped = message(Vec::new());
        grouped.group = Some("g".to_owned());
        let error = write(&grouped, MOST).unwrap_err();
        assert!(matches!(error, QueueError::Unsupported(why) if why.starts_with("groups")));
        let mut named = message(Vec::new());
        named.dedup_id = Some("d".to_owned());
        let error = write(&named, MOST).unwrap_err();
        assert!(matches!(error, QueueError::Unsupported(why) if why.starts_with("dedup")));
    }

    proptest! {
        #[test]
        fn messages_come_back(
            body in proptest::collection::vec(any::<u8>(), 0..100),
            kind in proptest::option::of(".*"),
            encoding in proptest::sample::select(vec![Encoding::Auto, Encoding::Base64, Encoding::Text]),
            attributes in proptest::collection::btree_map("[A-Za-z.-]{1,8}", ".*", 0..20),
        ) {
            let mut message = message(body);
            message.content_type = kind;
            message.attributes = attributes.into_iter().collect();
            prop_assert_eq!(encoding.read(&encoding.write(&message, MOST).unwrap()), message);
        }

        #[test]
        fn any_text_is_read(text in ".*") {
            for encoding in [Encoding::Auto, Encoding::Base64, Encoding::Text] {
                encoding.read(&text);
                encoding.read(&format!("{MARK}{text}"));
            }
        }
    }
}
