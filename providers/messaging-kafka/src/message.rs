//! Messages of Kafka as components have them, and back.

use bytes::Bytes;
use lattice_provider_sdk::messaging::{Arriving, Message, MessagingError};
use lattice_rpc::TraceContext;
use rdkafka::Message as _;
use rdkafka::message::{Header, Headers as _, OwnedHeaders, OwnedMessage};

use crate::settings::is_topic;

pub(crate) const REPLY_TOPIC: &str = "reply-topic";
pub(crate) const CORRELATION_ID: &str = "correlation-id";
const TRACEPARENT: &str = "traceparent";
const TRACESTATE: &str = "tracestate";
const CONTENT_TYPE: &str = "content-type";
/// Headers that say something else than metadata.
const RESERVED: [&str; 5] = [
    REPLY_TOPIC,
    CORRELATION_ID,
    TRACEPARENT,
    TRACESTATE,
    CONTENT_TYPE,
];

/// Where a message goes, as a subject says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Destination {
    pub(crate) topic: String,
    pub(crate) key: Option<Vec<u8>>,
    /// The request that it answers.
    pub(crate) answers: Option<String>,
}

/// Reads `topic`, `topic#key`, or the `topic?id` of an answer.
pub(crate) fn destination(subject: &str) -> Result<Destination, MessagingError> {
    let (topic, key, answers) = match subject.find(['#', '?']) {
        None => (subject, None, None),
        Some(at) if subject[at..].starts_with('#') => (
            &subject[..at],
            Some(subject.as_bytes()[at + 1..].to_vec()),
            None,
        ),
        Some(at) => (&subject[..at], None, Some(subject[at + 1..].to_owned())),
    };
    if !is_topic(topic) {
        return Err(MessagingError::Subject {
            subject: subject.to_owned(),
            why: "a Kafka topic has 1 to 249 letters, digits, `.`, `_` and `-`; a key follows after a `#`",
        });
    }
    Ok(Destination {
        topic: topic.to_owned(),
        key,
        answers,
    })
}

/// What the component gets.
pub(crate) fn arriving(message: &OwnedMessage, keys_in_subject: bool) -> Arriving {
    let topic = message.topic();
    let key = message.key().filter(|_| keys_in_subject);
    let subject = match key {
        Some(key) => format!("{topic}#{}", String::from_utf8_lossy(key)),
        None => topic.to_owned(),
    };
    let reply_to = match header(message, REPLY_TOPIC) {
        Some(reply) => match header(message, CORRELATION_ID) {
            Some(id) => format!("{reply}?{id}"),
            None => reply,
        },
        None => format!("{topic}.reply"),
    };
    let trace = header(message, TRACEPARENT).map(|traceparent| TraceContext {
        traceparent,
        tracestate: header(message, TRACESTATE),
    });
    Arriving {
        message: Message {
            subject,
            reply_to: Some(reply_to),
            content_type: header(message, CONTENT_TYPE),
            metadata: metadata(message),
            body: Bytes::copy_from_slice(message.payload().unwrap_or_default()),
        },
        trace,
    }
}

/// The headers that are text, and told in no other place.
fn metadata(message: &OwnedMessage) -> Vec<(String, String)> {
    let headers = message.headers().into_iter();
    let texts = headers.flat_map(|headers| headers.iter()).map(|header| {
        let value = std::str::from_utf8(header.value?).ok()?;
        Some((header.key.to_owned(), value.to_owned()))
    });
    texts
        .flatten()
        .filter(|(key, _)| !is_reserved(key))
        .collect()
}

/// Names that metadata cannot have.
pub(crate) fn is_reserved(name: &str) -> bool {
    RESERVED.contains(&name)
}

/// The header of that name, if it is text.
pub(crate) fn header(message: &OwnedMessage, name: &str) -> Option<String> {
    let headers = message.headers()?;
    let found = headers.iter().find(|header| header.key == name)?;
    String::from_utf8(found.value?.to_vec()).ok()
}

/// The headers of a message that a component publishes, whose metadata has been checked.
pub(crate) fn headers(
    message: &Message,
    trace: Option<&TraceContext>,
    reply: Option<&Destination>,
    answers: Option<&str>,
) -> OwnedHeaders {
    let mut headers = OwnedHeaders::new();
    if let Some(content_type) = &message.content_type {
        headers = put(headers, CONTENT_TYPE, content_type);
    }
    for (name, value) in &message.metadata {
        headers = put(headers, name, value);
    }
    if let Some(trace) = trace {
        headers = put(headers, TRACEPARENT, &trace.traceparent);
        if let Some(state) = &trace.tracestate {
            headers = put(headers, TRACESTATE, state);
        }
    }
    if let Some(reply) = reply {
        headers = put(headers, REPLY_TOPIC, &reply.topic);
        if let Some(id) = &reply.answers {
            headers = put(headers, CORRELATION_ID, id);
        }
    }
    match answers {
        Some(id) => put(headers, CORRELATION_ID, id),
        None => headers,
    }
}

/// Adds a header.
pub(crate) fn put(headers: OwnedHeaders, key: &str, value: &str) -> OwnedHeaders {
    headers.insert(Header {
        key,
        value: Some(value),
    })
}

#[cfg(test)]
mod tests {
    use rdkafka::Timestamp;

    use super::*;

    #[test]
    fn subjects_are_topics_with_keys_or_answers() {
        let plain = destination("a.b-c_d").unwrap();
        assert_eq!(
            (&*plain.topic, plain.key, plain.answers),
            ("a.b-c_d", None, None)
        );
        let keyed = destination("a#k?#x").unwrap();
        assert_eq!(keyed.key.as_deref(), Some(&b"k?#x"[..]));
        let answer = destination("replies?7#").unwrap();
        assert_eq!(answer.answers.as_deref(), Some("7#"));
        for bad in ["", "a b", "a/b", "#key", "ä"] {
            assert!(destination(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_request_says_where_its_answer_goes() {
        let reply = destination("replies?id-1").unwrap();
        let sent = Message {
            content_type: Some("text/plain".into()),
            metadata: vec![("k".into(), "1".into()), ("k".into(), "2".into())],
            ..Message::new("t", "")
        };
        let headers = headers(&sent, None, Some(&reply), None);
        let time = Timestamp::NotAvailable;
        let message =
            |headers| OwnedMessage::new(None, Some(b"k".to_vec()), "t".into(), time, 0, 0, headers);
        let asked = arriving(&message(Some(headers)), true).message;
        assert_eq!(asked.subject, "t#k");
        assert_eq!(asked.reply_to.as_deref(), Some("replies?id-1"));
        assert_eq!(asked.content_type, sent.content_type);
        assert_eq!(asked.metadata, sent.metadata);
        assert!(is_reserved("reply-topic") && !is_reserved("Reply-Topic"));
        let plain = arriving(&message(None), false).message;
        assert_eq!(
            (&*plain.subject, plain.reply_to.as_deref()),
            ("t", Some("t.reply"))
        );
    }
}
