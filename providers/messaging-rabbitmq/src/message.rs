//! Messages of AMQP as components have them, and back.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use lapin::BasicProperties;
use lapin::message::Delivery;
use lapin::types::{AMQPValue, FieldArray, FieldTable, ShortString};
use lattice_provider_sdk::messaging::{Arriving, DeadLetter, Message, MessagingError};
use lattice_rpc::TraceContext;

use crate::publish_line::DIRECT;

const TRACEPARENT: &str = "traceparent";
const TRACESTATE: &str = "tracestate";
/// The subject that an answer should go to, where it is one of the exchange.
const REPLY_TO: &str = "reply-to-subject";
/// Headers by which the server sends copies to other queues.
const COPIES: [&str; 2] = ["CC", "BCC"];
/// How a `reply-to` begins that is a queue.
const TO_QUEUE: &str = "reply:";
/// The longest name of a header, and the longest content type.
const LONGEST: usize = u8::MAX as usize;
/// Messages that survive a restart of the server.
const PERSISTENT: u8 = 2;

/// Where a message goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Destination<'a> {
    /// To whoever is bound to the exchange by this key.
    Subject(&'a str),
    /// Into a queue, as the answer to a request.
    Queue { queue: &'a str, correlation: String },
}

/// Reads a subject that a component publishes to; `None` for a `reply-to` that is none.
pub(crate) fn destination(subject: &str) -> Option<Destination<'_>> {
    let Some(rest) = subject.strip_prefix(TO_QUEUE) else {
        return Some(Destination::Subject(subject));
    };
    let (correlation, queue) = rest.split_once(':')?;
    let correlation = String::from_utf8(unhex(correlation)?).ok()?;
    Some(Destination::Queue { queue, correlation })
}

/// What the component gets.
pub(crate) fn arriving(delivery: &Delivery) -> Arriving {
    let properties = &delivery.properties;
    let trace = text(properties, TRACEPARENT).map(|traceparent| TraceContext {
        traceparent,
        tracestate: text(properties, TRACESTATE),
    });
    Arriving {
        message: Message {
            subject: delivery.routing_key.to_string(),
            reply_to: reply_to(properties),
            content_type: properties.content_type().as_ref().map(ToString::to_string),
            metadata: metadata(properties),
            body: delivery.data.clone().into(),
        },
        trace,
    }
}

fn reply_to(properties: &BasicProperties) -> Option<String> {
    if let Some(subject) = text(properties, REPLY_TO) {
        return Some(subject);
    }
    let queue = properties.reply_to().as_ref()?;
    let correlation = properties.correlation_id().as_ref();
    let correlation = hex(correlation.map_or("", ShortString::as_str).as_bytes());
    Some(format!("{TO_QUEUE}{correlation}:{queue}"))
}

fn text(properties: &BasicProperties, name: &str) -> Option<String> {
    as_text(properties.headers().as_ref()?.inner().get(name)?)
}

fn as_text(value: &AMQPValue) -> Option<String> {
    match value {
        AMQPValue::LongString(text) => std::str::from_utf8(text.as_bytes()).ok().map(str::to_owned),
        AMQPValue::ShortString(text) => Some(text.to_string()),
        _ => None,
    }
}

/// The headers that are texts, or lists of such, and told in no other place.
fn metadata(properties: &BasicProperties) -> Vec<(String, String)> {
    let mut metadata = Vec::new();
    let headers = properties.headers().as_ref().map(FieldTable::inner);
    for (name, value) in headers.into_iter().flatten() {
        if is_reserved(name.as_str()) {
            continue;
        }
        let values = match value {
            AMQPValue::FieldArray(values) => values.as_slice(),
            one => std::slice::from_ref(one),
        };
        let texts = values.iter().filter_map(as_text);
        metadata.extend(texts.map(|text| (name.to_string(), text)));
    }
    metadata
}

/// Names that metadata cannot have: those by which the server sends copies to other queues or
/// tells of itself, and those that say something else.
fn is_reserved(name: &str) -> bool {
    COPIES.contains(&name)
        || [REPLY_TO, TRACEPARENT, TRACESTATE].contains(&name)
        || name.starts_with("x-")
}

/// Refuses what AMQP has no room for.
pub(crate) fn check(message: &Message) -> Result<(), MessagingError> {
    message.check_metadata(is_reserved)?;
    let refuse = |name: &str, why| {
        let name = name.chars().take(64).collect();
        Err(MessagingError::Metadata { name, why })
    };
    let mut names = message.metadata.iter().map(|(name, _)| name);
    if let Some(name) = names.find(|name| name.len() > LONGEST) {
        return refuse(name, "a header of AMQP has a name of 255 bytes at most");
    }
    match &message.content_type {
        Some(value) if value.len() > LONGEST => {
            refuse("content-type", "in AMQP it has 255 bytes at most")
        }
        _ => Ok(()),
    }
}

/// Metadata as headers, each name once: several values of one are a list.
fn headers_of(metadata: &[(String, String)]) -> FieldTable {
    let mut headers = BTreeMap::new();
    for (name, value) in metadata {
        let value = AMQPValue::LongString(value.as_str().into());
        append(&mut headers, name.as_str().into(), value);
    }
    FieldTable::from(headers)
}

/// Adds a header, behind the values that it has already.
fn append(headers: &mut BTreeMap<ShortString, AMQPValue>, name: ShortString, value: AMQPValue) {
    match headers.entry(name) {
        Entry::Vacant(place) => {
            place.insert(value);
        }
        Entry::Occupied(mut known) => match known.get_mut() {
            AMQPValue::FieldArray(values) => values.push(value),
            first => {
                let values = vec![first.clone(), value];
                *first = AMQPValue::FieldArray(FieldArray::from(values));
            }
        },
    }
}

/// The properties of a message that a component publishes, which has been checked. `reply_to` has
/// been read before.
pub(crate) fn properties(
    message: &Message,
    trace: Option<&TraceContext>,
    reply_to: Option<(&str, Destination<'_>)>,
) -> BasicProperties {
    let mut headers = headers_of(&message.metadata);
    if let Some(trace) = trace {
        put(&mut headers, TRACEPARENT, &trace.traceparent);
        if let Some(state) = &trace.tracestate {
            put(&mut headers, TRACESTATE, state);
        }
    }
    let mut properties = BasicProperties::default().with_delivery_mode(PERSISTENT);
    if let Some(Ok(content_type)) = message.content_type.as_deref().map(short) {
        properties = properties.with_content_type(content_type);
    }
    match reply_to {
        None => {}
        Some((subject, Destination::Subject(_))) => put(&mut headers, REPLY_TO, subject),
        Some((_, Destination::Queue { queue, correlation })) => {
            if let (Ok(queue), Ok(id)) = (short(queue), short(&correlation)) {
                properties = properties.with_reply_to(queue).with_correlation_id(id);
            }
        }
    }
    properties.with_headers(headers)
}

/// The properties of a dead letter: those of its message, if it carries them, and what is told of it.
/// What the server acts on is not meant for a letter.
pub(crate) fn of_letter(
    original: Option<&BasicProperties>,
    told: Vec<(&'static str, String)>,
) -> BasicProperties {
    let mut headers = BTreeMap::new();
    let theirs = original.and_then(|original| original.headers().as_ref());
    for (name, value) in theirs.map(FieldTable::inner).into_iter().flatten() {
        let is_other = COPIES.contains(&name.as_str()) || DeadLetter::is_own_header(name.as_str());
        let name = match is_other {
            true => ShortString::from(format!("{}{name}", DeadLetter::ORIGINAL)),
            false => name.clone(),
        };
        append(&mut headers, name, value.clone());
    }
    let mut headers = FieldTable::from(headers);
    for (name, value) in told {
        put(&mut headers, name, &value);
    }
    let kept = original.map(kept).unwrap_or_default();
    kept.with_headers(headers).with_delivery_mode(PERSISTENT)
}

/// Sets a property.
type With = fn(BasicProperties, ShortString) -> BasicProperties;

/// The properties that a letter has of its message, headers apart. The server takes none in the name of
/// another user, who cannot be taken out again; nor has a letter as little time as its message may have
/// had.
fn kept(original: &BasicProperties) -> BasicProperties {
    let texts: [(&Option<ShortString>, With); 7] = [
        (original.content_type(), BasicProperties::with_content_type),
        (
            original.content_encoding(),
            BasicProperties::with_content_encoding,
        ),
        (
            original.correlation_id(),
            BasicProperties::with_correlation_id,
        ),
        (original.message_id(), BasicProperties::with_message_id),
        (original.kind(), BasicProperties::with_type),
        (original.app_id(), BasicProperties::with_app_id),
        (original.cluster_id(), BasicProperties::with_cluster_id),
    ];
    let mut kept = BasicProperties::default();
    for (text, with) in texts {
        if let Some(text) = text {
            kept = with(kept, text.clone());
        }
    }
    // Who listens by this name is known of the channel of a request alone.
    let reply_to = original.reply_to().as_ref();
    if let Some(reply_to) = reply_to.filter(|reply_to| reply_to.as_str() != DIRECT) {
        kept = kept.with_reply_to(reply_to.clone());
    }
    if let Some(priority) = *original.priority() {
        kept = kept.with_priority(priority);
    }
    match *original.timestamp() {
        Some(timestamp) => kept.with_timestamp(timestamp),
        None => kept,
    }
}

fn put(headers: &mut FieldTable, name: &'static str, value: &str) {
    headers.insert(name.into(), AMQPValue::LongString(value.into()));
}

/// A short string, unless it is too long for one.
pub(crate) fn short(text: &str) -> Result<ShortString, lapin::types::ShortStringError> {
    ShortString::try_new(text)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let pairs = text.as_bytes().chunks(2).map(|pair| {
        let [high, low] = pair else { return None };
        let digit = |byte: u8| char::from(byte).to_digit(16);
        u8::try_from(digit(*high)? * 16 + digit(*low)?).ok()
    });
    pairs.collect()
}

#[cfg(test)]
mod tests {
    use lattice_rabbitmq::frame_size;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn subjects_are_told_from_queues() {
        assert_eq!(destination("a.b"), Some(Destination::Subject("a.b")));
        assert_eq!(destination("reply:zz:q"), None);
        assert_eq!(destination("reply:6162"), None);
    }

    #[test]
    fn metadata_and_content_type_survive_the_way() {
        let pairs = [("a", "1"), ("k", "1"), ("k", "ü\n"), ("k", "3"), ("l", "")];
        let sent = Message {
            content_type: Some("text/plain".into()),
            metadata: pairs.map(|(k, v)| (k.to_owned(), v.to_owned())).to_vec(),
            ..Message::new("a", "")
        };
        check(&sent).unwrap();
        let trace = TraceContext {
            traceparent: "00-1".to_owned(),
            tracestate: None,
        };
        let properties = properties(&sent, Some(&trace), None);
        assert_eq!(metadata(&properties), sent.metadata);
        assert_eq!(
            properties.content_type().as_ref().unwrap().as_str(),
            "text/plain"
        );
        for name in ["BCC", "x-death", "reply-to-subject"] {
            let metadata = vec![(name.to_owned(), "x".to_owned())];
            let error = check(&Message {
                metadata,
                ..sent.clone()
            })
            .unwrap_err();
            assert!(error.to_string().contains(&format!("`{name}`")), "{error}");
        }
    }

    #[test]
    fn what_the_server_acts_on_is_not_said_of_a_letter() {
        let mut theirs = FieldTable::default();
        for name in [
            "CC",
            "lattice-cause",
            "lattice-original-lattice-cause",
            "x-own",
            "k",
        ] {
            theirs.insert(name.into(), AMQPValue::LongString(name.into()));
        }
        let original = BasicProperties::default()
            .with_headers(theirs)
            .with_user_id("other".into())
            .with_expiration("2000".into())
            .with_content_type("text/plain".into())
            .with_reply_to("answers".into())
            .with_correlation_id("7".into())
            .with_type("order".into())
            .with_priority(3)
            .with_timestamp(9);
        let letter = of_letter(Some(&original), vec![("lattice-cause", "no".to_owned())]);
        let headers = letter.headers().clone().unwrap();
        let names: Vec<_> = headers.inner().keys().map(ShortString::as_str).collect();
        let moved = "lattice-original-lattice-cause";
        let expected = ["k", "lattice-cause", "lattice-original-CC", moved, "x-own"];
        assert_eq!(names, expected);
        assert_eq!(text(&letter, "lattice-cause").as_deref(), Some("no"));
        let causes = metadata(&letter);
        assert_eq!(causes.iter().filter(|(name, _)| name == moved).count(), 2);
        let expected = BasicProperties::default()
            .with_headers(headers)
            .with_delivery_mode(PERSISTENT)
            .with_content_type("text/plain".into())
            .with_reply_to("answers".into())
            .with_correlation_id("7".into())
            .with_type("order".into())
            .with_priority(3)
            .with_timestamp(9);
        assert_eq!(letter, expected);
        let direct = BasicProperties::default().with_reply_to(DIRECT.into());
        assert_eq!(of_letter(Some(&direct), Vec::new()).reply_to(), &None);
    }

    #[test]
    fn a_list_of_little_takes_more_than_its_bytes() {
        let pair = ("k".to_owned(), String::new());
        let sent = Message {
            metadata: vec![pair; 60_000],
            ..Message::new("a", "")
        };
        check(&sent).unwrap();
        assert!(frame_size(&properties(&sent, None, None)) > 5 * 60_000);
    }

    proptest! {
        #[test]
        fn an_answer_goes_to_the_queue_of_its_request(queue in "[a-z.:-]{1,30}", id in ".{0,40}") {
            let asked = BasicProperties::default()
                .with_reply_to(queue.as_str().into())
                .with_correlation_id(id.as_str().into());
            let subject = reply_to(&asked).unwrap();
            let expected = Destination::Queue { queue: &queue, correlation: id };
            prop_assert_eq!(destination(&subject), Some(expected));
        }

        #[test]
        fn any_reply_to_survives_the_way(subject in "[a-z.]{1,30}") {
            let read = destination(&subject).unwrap();
            let sent = properties(&Message::new("a", ""), None, Some((&subject, read)));
            prop_assert_eq!(reply_to(&sent), Some(subject.clone()));
        }
    }
}
