//! A message as RabbitMQ keeps it.
//!
//! The body and the content type are those of AMQP, the id is the message id, and attributes are
//! headers. An attribute whose name means something else here, or whose value is not taken back as
//! it is, does not occur: any text is a header of AMQP, and names that begin with `x-` or `lattice-`
//! stand behind `lattice-attribute-`.

use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable, LongString, ShortString};
use lattice_provider_sdk::queue::{Message, QueueError};

const ESCAPED: &str = "lattice-attribute-";
/// How often a message was delivered before it was sent again by a provider.
const ATTEMPTS: &str = "lattice-attempts";
/// When it was first sent, in milliseconds of Unix time.
const ENQUEUED: &str = "lattice-enqueued-at";
/// How often a quorum queue has given it back.
const DELIVERIES: &str = "x-delivery-count";
/// What is about one delivery, or would have the message go to further queues again.
const ONCE: [&str; 5] = [ATTEMPTS, ENQUEUED, DELIVERIES, "CC", "BCC"];
const RESERVED: [&str; 2] = ["x-", "lattice-"];

/// A message that is kept when the server restarts.
const PERSISTENT: u8 = 2;

/// The longest short text of AMQP, in bytes.
const LONGEST: usize = 255;

/// Refuses what has no place in a message of AMQP.
pub(crate) fn possible(message: &Message) -> Result<(), QueueError> {
    let kind = message.content_type.as_ref().map_or(0, String::len);
    if kind > LONGEST {
        return Err(QueueError::Invalid(format!(
            "a content type of {kind} bytes, of which RabbitMQ takes {LONGEST}"
        )));
    }
    // Others may have sent it to a queue that it comes from.
    let mut names = message.attributes.iter();
    match names.find(|(name, _)| name.len() + ESCAPED.len() > LONGEST) {
        Some(_) => Err(QueueError::Invalid(format!(
            "an attribute whose name is longer than {} bytes",
            LONGEST - ESCAPED.len()
        ))),
        None => Ok(()),
    }
}

/// What is known of a message besides what its sender says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct History {
    pub(crate) id: String,
    /// How often it was delivered before, as far as that was not in the queue it is in.
    pub(crate) attempts: u32,
    pub(crate) enqueued_at_ms: u64,
}

impl History {
    /// That of a new message.
    pub(crate) fn new(id: String) -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = since.unwrap_or_default().as_millis();
        Self {
            id,
            attempts: 0,
            enqueued_at_ms: u64::try_from(now).unwrap_or(u64::MAX),
        }
    }
}

/// Whether the queue that a message is in has delivered it before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Seen {
    Never,
    /// At least once: a classic queue says no more.
    Before,
    /// As often as it has counted.
    Counted,
}

/// The properties of a message.
pub(crate) fn properties(message: &Message, history: &History) -> BasicProperties {
    let mut headers = FieldTable::default();
    for (name, value) in &message.attributes {
        let name = match is_reserved(name) {
            true => ShortString::from(format!("{ESCAPED}{name}")),
            false => ShortString::from(name.as_str()),
        };
        headers.insert(
            name,
            AMQPValue::LongString(LongString::from(value.as_str())),
        );
    }
    stamp(&mut headers, history);
    let properties = BasicProperties::default()
        .with_delivery_mode(PERSISTENT)
        .with_message_id(history.id.as_str().into())
        .with_timestamp(history.enqueued_at_ms / 1000)
        .with_headers(headers);
    match &message.content_type {
        Some(text) => properties.with_content_type(text.as_str().into()),
        None => properties,
    }
}

/// The properties of a message that is sent once more: as they were, also what others have put there that
/// means nothing here.
pub(crate) fn again(
    known: &BasicProperties,
    message: &Message,
    history: &History,
) -> BasicProperties {
    // RabbitMQ takes no message in the name of another user, and it cannot be taken out.
    if known.user_id().is_some() {
        return properties(message, history);
    }
    let mut headers = FieldTable::default();
    for (name, value) in table(known).filter(|(name, _)| !ONCE.contains(&name.as_str())) {
        headers.insert(name.clone(), value.clone());
    }
    stamp(&mut headers, history);
    known
        .clone()
        .with_headers(headers)
        .with_delivery_mode(PERSISTENT)
}

fn stamp(headers: &mut FieldTable, history: &History) {
    let number = |number: u64| AMQPValue::LongLongInt(i64::try_from(number).unwrap_or(i64::MAX));
    headers.insert(ENQUEUED.into(), number(history.enqueued_at_ms));
    if history.attempts > 0 {
        headers.insert(ATTEMPTS.into(), number(history.attempts.into()));
    }
}

/// The message of a delivery.
pub(crate) fn read(properties: &BasicProperties, body: Bytes) -> Message {
    let mut attributes = Vec::new();
    for (name, value) in table(properties) {
        let name = name.as_str();
        let Some(value) = text(value) else { continue };
        match name.strip_prefix(ESCAPED) {
            Some(name) => attributes.push((name.to_owned(), value)),
            None if is_reserved(name) => {}
            None => attributes.push((name.to_owned(), value)),
        }
    }
    let content_type = properties.content_type().as_ref();
    Message {
        body,
        content_type: content_type.map(|text| text.as_str().to_owned()),
        attributes,
        dedup_id: None,
        group: None,
    }
}

/// What a delivery tells of the message, and which attempt it is.
pub(crate) fn history(properties: &BasicProperties, seen: Seen) -> (History, u32) {
    let number = |wanted: &str| {
        let mut fields = table(properties);
        let found = fields.find(|(name, _)| name.as_str() == wanted);
        found.and_then(|(_, value)| integer(value))
    };
    let attempts = number(ATTEMPTS).unwrap_or(0);
    // A count that is not of this queue is of the one where the message has waited, which the server moves
    // messages out of by the same means.
    let here = match seen {
        Seen::Never => 0,
        Seen::Before => 1,
        Seen::Counted => number(DELIVERIES).unwrap_or(1),
    };
    let total = attempts.saturating_add(here).saturating_add(1);
    let seconds = properties.timestamp().unwrap_or(0);
    let id = properties.message_id().as_ref();
    let history = History {
        id: id.map(|id| id.as_str().to_owned()).unwrap_or_default(),
        attempts: u32::try_from(attempts).unwrap_or(u32::MAX),
        enqueued_at_ms: number(ENQUEUED).unwrap_or(seconds.saturating_mul(1000)),
    };
    (history, u32::try_from(total).unwrap_or(u32::MAX))
}

fn table(properties: &BasicProperties) -> impl Iterator<Item = (&ShortString, &AMQPValue)> {
    let headers = properties.headers().as_ref();
    headers.into_iter().flat_map(|headers| headers.inner())
}

fn is_reserved(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    RESERVED.iter().any(|start| name.starts_with(start))
}

/// A header of another program as an attribute, if it is a text or a number.
fn text(value: &AMQPValue) -> Option<String> {
    Some(match value {
        AMQPValue::LongString(text) => String::from_utf8_lossy(text.as_bytes()).into_owned(),
        AMQPValue::ShortString(text) => text.as_str().to_owned(),
        AMQPValue::Boolean(value) => value.to_string(),
        AMQPValue::Double(value) => value.to_string(),
        AMQPValue::Float(value) => value.to_string(),
        value => match value {
            AMQPValue::ShortShortInt(n) => n.to_string(),
            AMQPValue::ShortInt(n) => n.to_string(),
            AMQPValue::LongInt(n) => n.to_string(),
            AMQPValue::LongLongInt(n) => n.to_string(),
            value => integer(value)?.to_string(),
        },
    })
}

/// A number that is not below zero.
fn integer(value: &AMQPValue) -> Option<u64> {
    match value {
        AMQPValue::ShortShortInt(n) => u64::try_from(*n).ok(),
        AMQPValue::ShortShortUInt(n) => Some((*n).into()),
        AMQPValue::ShortInt(n) => u64::try_from(*n).ok(),
        AMQPValue::ShortUInt(n) => Some((*n).into()),
        AMQPValue::LongInt(n) => u64::try_from(*n).ok(),
        AMQPValue::LongUInt(n) => Some((*n).into()),
        AMQPValue::LongLongInt(n) => u64::try_from(*n).ok(),
        AMQPValue::Timestamp(n) => Some(*n),
        _ => None,
    }
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
            attributes in btree_map("[a-z._-]{1,12}|x-[a-z]{1,3}|Lattice-x", ".{0,20}", 0..5),
            content_type in option::of("[ -~]{1,20}"),
            attempts in 0_u32..9,
        ) {
            let mut attributes: Vec<_> = attributes.into_iter().collect();
            let message = Message {
                body: "body".into(),
                content_type,
                attributes: attributes.clone(),
                dedup_id: None,
                group: None,
            };
            let mut known = History::new("id".into());
            known.attempts = attempts;
            let properties = properties(&message, &known);
            let mut got = read(&properties, "body".into());
            got.attributes.sort();
            attributes.sort();
            prop_assert_eq!(got, Message { attributes, ..message });
            prop_assert_eq!(history(&properties, Seen::Never), (known.clone(), attempts + 1));
            prop_assert_eq!(history(&properties, Seen::Counted), (known, attempts + 2));
        }
    }

    #[test]
    fn what_is_too_long_for_amqp_is_refused_and_the_longest_is_written() {
        let message = |kind: usize, name: usize| Message {
            body: Bytes::new(),
            content_type: Some("k".repeat(kind)),
            attributes: vec![(format!("x-{}", "n".repeat(name)), String::new())],
            dedup_id: None,
            group: None,
        };
        assert!(possible(&message(256, 1)).is_err());
        assert!(possible(&message(1, 236)).is_err());
        let longest = message(255, 235);
        possible(&longest).unwrap();
        let properties = properties(&longest, &History::new("id".into()));
        assert_eq!(read(&properties, Bytes::new()), longest);
    }

    #[test]
    fn what_is_sent_again_is_as_it_was() {
        let mut headers = FieldTable::default();
        for name in ["CC", DELIVERIES, ATTEMPTS, "x-own", "list"] {
            headers.insert(name.into(), AMQPValue::LongInt(7));
        }
        let known = BasicProperties::default()
            .with_headers(headers)
            .with_reply_to("answers".into())
            .with_correlation_id("7".into())
            .with_priority(3)
            .with_expiration("9000".into());
        let history = History {
            attempts: 2,
            ..History::new("id".to_owned())
        };
        let message = read(&known, Bytes::new());
        let sent = again(&known, &message, &history);
        assert_eq!(sent.reply_to(), known.reply_to());
        assert_eq!(sent.correlation_id(), known.correlation_id());
        assert_eq!(sent.priority(), known.priority());
        assert_eq!(sent.expiration(), known.expiration());
        let names: Vec<_> = table(&sent).map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, [ATTEMPTS, ENQUEUED, "list", "x-own"]);
        assert_eq!(super::history(&sent, Seen::Never).0.attempts, 2);
        let of_another = known.with_user_id("other".into());
        assert_eq!(again(&of_another, &message, &history).user_id(), &None);
    }

    #[test]
    fn the_count_of_the_queue_itself_is_heeded_alone() {
        let mut headers = FieldTable::default();
        headers.insert(DELIVERIES.into(), AMQPValue::LongLongInt(3));
        headers.insert("count".into(), AMQPValue::LongInt(-7));
        let properties = BasicProperties::default().with_headers(headers);
        assert_eq!(history(&properties, Seen::Counted).1, 4);
        assert_eq!(history(&properties, Seen::Never).1, 1);
        assert_eq!(history(&properties, Seen::Before).1, 2);
        let attributes = read(&properties, Bytes::new()).attributes;
        assert_eq!(attributes, [("count".to_owned(), "-7".to_owned())]);
    }
}
