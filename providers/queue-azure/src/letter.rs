//! A message as Azure keeps it.
//!
//! Azure keeps text and nothing else. A message that is only a body is its base64, as other programs
//! have it. One with attributes or a content type is `lattice1.`, the base64 of a JSON object with
//! them, `.`, and the base64 of the body; no base64 has dots. Text that is neither was sent by others
//! and is the body as it is.

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

#[derive(Debug, Serialize, Deserialize)]
struct Head {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    content_type: Option<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    attributes: BTreeMap<String, String>,
}

/// What Azure gets for a message, of `most` bytes.
pub(crate) fn write(message: &Message, most: usize) -> Result<String, QueueError> {
    for (feature, id) in [("groups", &message.group), ("dedup", &message.dedup_id)] {
        if id.is_some() {
            let why = format!("{feature}, which the queues of Azure do not have");
            return Err(QueueError::unsupported(why));
        }
    }
    let mut text = String::new();
    if message.content_type.is_some() || !message.attributes.is_empty() {
        let head = Head {
            content_type: message.content_type.clone(),
            attributes: message.attributes.iter().cloned().collect(),
        };
        // Texts are always JSON.
        let head = serde_json::to_vec(&head).unwrap_or_default();
        text = format!("{MARK}{}.", STANDARD.encode(head));
    }
    let room = most.saturating_sub(text.len()) / 4 * 3;
    if message.body.len() > room {
        return Err(QueueError::TooLarge(room as u64));
    }
    STANDARD.encode_string(&message.body, &mut text);
    Ok(text)
}

/// The message in what Azure gives.
pub(crate) fn read(text: &str) -> Message {
    let marked = text.strip_prefix(MARK).and_then(|rest| {
        let (head, body) = rest.split_once('.')?;
        let head: Head = serde_json::from_slice(&STANDARD.decode(head).ok()?).ok()?;
        Some((head, STANDARD.decode(body).ok()?))
    });
    let (head, body) = marked.unwrap_or_else(|| {
        let head = Head {
            content_type: None,
            attributes: BTreeMap::new(),
        };
        let body = STANDARD.decode(text);
        (head, body.unwrap_or_else(|_| text.as_bytes().to_vec()))
    });
    Message {
        body: body.into(),
        content_type: head.content_type,
        attributes: head.attributes.into_iter().collect(),
        dedup_id: None,
        group: None,
    }
}

#[cfg(test)]
mod tests {
    use lattice_provider_sdk::queue::dead_letter;
    use proptest::prelude::*;

    use super::*;

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
            attributes in proptest::collection::btree_map("[A-Za-z.-]{1,8}", ".*", 0..20),
        ) {
            let mut message = message(body);
            message.content_type = kind;
            message.attributes = attributes.into_iter().collect();
            prop_assert_eq!(read(&write(&message, MOST).unwrap()), message);
        }

        #[test]
        fn any_text_is_read(text in ".*") {
            read(&text);
            read(&format!("{MARK}{text}"));
        }
    }
}
