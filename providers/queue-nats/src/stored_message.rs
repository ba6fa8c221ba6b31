//! A message as NATS keeps it.
//!
//! The body is the payload. The content type is the header `Content-Type`, the dedup id
//! `Nats-Msg-Id`, or `Lattice-Dedup-Id` where a message was moved under another one, the group
//! `Lattice-Group`. An attribute is the header of its name, so that other programs read and write it as
//! they are used to. One whose name means something else, or whose value no header can have, is
//! `Lattice-Attribute-` with its name, and `%` with two hex digits stands for each byte of its value that
//! is not plain.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_nats::HeaderMap;
use bytes::Bytes;
use lattice_provider_sdk::queue::{Message, QueueError};

/// The server's header for ids that are stored once.
pub(crate) const DEDUP_ID: &str = "Nats-Msg-Id";
const CONTENT_TYPE: &str = "Content-Type";
const GROUP: &str = "Lattice-Group";
const ESCAPED: &str = "Lattice-Attribute-";
/// The id of a message that is stored under another one.
pub(crate) const OWN_DEDUP_ID: &str = "Lattice-Dedup-Id";
/// The id of a message that was moved, which it had before.
pub(crate) const MOVED_ID: &str = "Lattice-Message-Id";
/// When a message was first stored, in milliseconds of Unix time, if it was moved since.
pub(crate) const MOVED_TIME: &str = "Lattice-Enqueued-At";
/// Before when a message is not to be delivered, in milliseconds of Unix time.
pub(crate) const NOT_BEFORE: &str = "Lattice-Not-Before";

/// How much longer a dead letter may be than its message: by the reason, of which every byte may
/// become three, and by the names of the queue.
pub(crate) const DEAD_ROOM: usize = 4096;
/// How much longer a message may be once it was moved, without what says where and when: by its id, twice,
/// by a time, twice, and by the names of headers.
pub(crate) const MOVED_ROOM: usize = 128;

/// What names of headers begin with that servers act on.
const FOR_SERVER: &str = "nats-";
/// What names of headers begin with that are no attributes.
const RESERVED: [&str; 3] = [FOR_SERVER, "lattice-", "content-type"];

/// Headers for a message.
pub(crate) fn headers(message: &Message) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in &message.attributes {
        if is_plain(value) && !is_reserved(name) {
            headers.insert(name.as_str(), value.as_str());
        } else {
            headers.insert(format!("{ESCAPED}{name}"), escape(value).as_str());
        }
    }
    let mut set = |name: &str, value: &Option<String>| {
        if let Some(value) = value {
            headers.insert(name, escape_id(value).as_str());
        }
    };
    set(CONTENT_TYPE, &message.content_type);
    set(DEDUP_ID, &message.dedup_id);
    set(GROUP, &message.group);
    headers
}

/// The message of a payload with headers.
pub(crate) fn read(headers: Option<&HeaderMap>, body: Bytes) -> Message {
    let empty = HeaderMap::new();
    let headers = headers.unwrap_or(&empty);
    let moved = text(headers, MOVED_ID);
    // One that was given to move the message is not its own.
    let dedup_id = text(headers, DEDUP_ID).filter(|id| moved.as_ref() != Some(id));
    let dedup_id = text(headers, OWN_DEDUP_ID).or(dedup_id);
    let mut attributes = Vec::new();
    for (name, values) in headers.iter() {
        let name: &str = name.as_ref();
        let Some(value) = values.first() else {
            continue;
        };
        if let Some(name) = name.strip_prefix(ESCAPED) {
            attributes.push((name.to_owned(), unescape(value.as_str())));
        } else if !is_reserved(name) {
            attributes.push((name.to_owned(), value.as_str().to_owned()));
        }
    }
    attributes.sort_unstable();
    Message {
        body,
        content_type: text(headers, CONTENT_TYPE),
        attributes,
        dedup_id,
        group: text(headers, GROUP),
    }
}

/// The value of a header that was written by [`headers`].
pub(crate) fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name).map(|value| unescape(value.as_str()))
}

/// The number in a header.
pub(crate) fn number(headers: Option<&HeaderMap>, name: &str) -> Option<u64> {
    headers?.get(name)?.as_str().parse().ok()
}

/// Refuses a message that is larger than the server takes.
pub(crate) fn fits(headers: &HeaderMap, body: usize, most: usize) -> Result<(), QueueError> {
    let lines = headers.iter().map(|(name, values)| {
        let name: &str = name.as_ref();
        let values = values.iter();
        values
            .map(|value| name.len() + value.as_str().len() + 4)
            .sum::<usize>()
    });
    // The line of the version and the empty one at the end.
    let head = 12 + 2 + lines.sum::<usize>();
    if head + body <= most {
        return Ok(());
    }
    Err(QueueError::TooLarge(most.saturating_sub(head) as u64))
}

/// Whether a header says something to the server, such as which message is expected before.
pub(crate) fn is_for_server(name: &str) -> bool {
    name.to_ascii_lowercase().starts_with(FOR_SERVER)
}

/// Unix time in milliseconds.
pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    millis(since.unwrap_or_default())
}

pub(crate) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn is_reserved(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    RESERVED.iter().any(|start| name.starts_with(start))
}

/// Whether a header can have the value as it is, and everybody reads it back so.
fn is_plain(value: &str) -> bool {
    let edges = value.trim().len() == value.len() && !value.is_empty();
    edges && value.bytes().all(|byte| (b' '..=b'~').contains(&byte))
}

fn escape_id(value: &str) -> String {
    match is_plain(value) && !value.contains('%') {
        true => value.to_owned(),
        false => escape(value),
    }
}

fn escape(value: &str) -> String {
    let mut escaped = String::with_capacity(value.len());
    for byte in value.bytes() {
        match byte {
            b'!'..=b'~' if byte != b'%' => escaped.push(char::from(byte)),
            _ => {
                escaped.push('%');
                escaped.extend([byte >> 4, byte & 15].map(hex));
            }
        }
    }
    escaped
}

fn hex(digit: u8) -> char {
    char::from_digit(digit.into(), 16).unwrap_or('0')
}

/// What was escaped; a `%` that stands for nothing is left as it is.
fn unescape(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let digits = bytes.get(at + 1..at + 3).filter(|_| byte == b'%');
        let digits = digits.and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(value) => {
                out.push(value);
                at += 3;
            }
            None => {
                out.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use proptest::collection::btree_map;
    use proptest::option;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_written_is_read(
            attributes in btree_map("[a-z._-]{1,12}|Nats-[a-z]{1,3}|lattice-x|content-type", ".{0,20}", 0..5),
            content_type in option::of("[ -~&&[^\r\n]]{1,20}"),
            dedup_id in option::of(".{1,20}"),
            group in option::of(".{1,20}"),
        ) {
            let message = Message {
                body: "body".into(),
                content_type,
                attributes: attributes.into_iter().collect(),
                dedup_id,
                group,
            };
            prop_assert_eq!(read(Some(&headers(&message)), "body".into()), message);
        }

        #[test]
        fn any_text_is_unescaped(text in ".{0,40}") {
            unescape(&text);
            prop_assert_eq!(unescape(&escape(&text)), text);
        }
    }

    #[test]
    fn headers_of_others_are_attributes() {
        let mut headers = HeaderMap::new();
        headers.insert("Traceparent", "00-1");
        headers.insert("Nats-Expected-Stream", "x");
        let message = read(Some(&headers), Bytes::new());
        assert_eq!(
            message.attributes,
            [("Traceparent".to_owned(), "00-1".to_owned())]
        );
    }

    #[test]
    fn the_room_for_a_body_is_told() {
        let mut headers = HeaderMap::new();
        headers.insert("a", "1");
        assert_eq!(fits(&headers, 100, 120), Ok(()));
        assert_eq!(fits(&headers, 101, 120), Err(QueueError::TooLarge(100)));
    }
}
