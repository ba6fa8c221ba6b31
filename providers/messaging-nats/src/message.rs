//! Messages of NATS as components have them, and back.

use async_nats::{HeaderMap, Message};
use lattice_provider_sdk::messaging::{Arriving, Message as Told, MessagingError};
use lattice_rpc::TraceContext;

use crate::settings::is_subject;

const TRACEPARENT: &str = "traceparent";
const TRACESTATE: &str = "tracestate";
const CONTENT_TYPE: &str = "content-type";
/// What names of headers begin with that servers act on.
pub(crate) const RESERVED: &str = "Nats-";

/// Where the answer to a message goes that was published to a stream; empty for nowhere. The reply
/// subject of such a message is where the stream acknowledges it, and is not stored with it.
pub(crate) const REPLY: &str = "lattice-reply";

/// What the component gets. The reply subject of JetStream is not the message's own.
pub(crate) fn arriving(message: &Message, is_stored: bool) -> Arriving {
    let headers = message.headers.as_ref();
    let reply = match headers.and_then(|headers| headers.get(REPLY)) {
        Some(told) => Some(told.as_str()).filter(|told| is_subject(told, false)),
        None if is_stored => None,
        None => message.reply.as_deref(),
    };
    Arriving {
        message: Told {
            subject: message.subject.to_string(),
            reply_to: reply.map(str::to_owned),
            content_type: headers.and_then(content_type),
            metadata: headers.map(metadata).unwrap_or_default(),
            body: message.payload.clone(),
        },
        trace: headers.and_then(trace),
    }
}

fn content_type(headers: &HeaderMap) -> Option<String> {
    let mut all = headers.iter();
    let (_, values) = all.find(|(name, _)| is(name.as_ref(), CONTENT_TYPE))?;
    values.first().map(|value| value.as_str().to_owned())
}

/// What is neither the server's business nor told in another place.
fn metadata(headers: &HeaderMap) -> Vec<(String, String)> {
    let mut metadata = Vec::new();
    for (name, values) in headers.iter() {
        let name = name.as_ref();
        if !is_reserved(name) {
            let values = values.iter();
            metadata.extend(values.map(|value| (name.to_owned(), value.as_str().to_owned())));
        }
    }
    metadata
}

fn is(name: &str, other: &str) -> bool {
    name.eq_ignore_ascii_case(other)
}

/// Names that metadata cannot have: those that servers act on, and those that say something else.
fn is_reserved(name: &str) -> bool {
    let begin = name.as_bytes().get(..RESERVED.len());
    begin.is_some_and(|begin| begin.eq_ignore_ascii_case(RESERVED.as_bytes()))
        || [CONTENT_TYPE, TRACEPARENT, TRACESTATE, REPLY]
            .iter()
            .any(|own| is(name, own))
}

/// Refuses what would not arrive as it is.
pub(crate) fn check(message: &Told) -> Result<(), MessagingError> {
    message.check_metadata(is_reserved)?;
    let refuse = |name: &str, why| {
        let name = name.to_owned();
        Err(MessagingError::Metadata { name, why })
    };
    let is_kept = |value: &str| !value.contains(['\r', '\n']) && value.trim() == value;
    let values = "a header of NATS has one line, without blanks at its ends";
    for (name, value) in &message.metadata {
        if name.contains(|c: char| !c.is_ascii_graphic() || c == ':') {
            let why = "a header of NATS has a name of ASCII without blanks and colons";
            return refuse(name, why);
        }
        if !is_kept(value) {
            return refuse(name, values);
        }
    }
    match &message.content_type {
        Some(value) if !is_kept(value) => refuse(CONTENT_TYPE, values),
        _ => Ok(()),
    }
}

/// Adds content type and metadata, which have been checked.
pub(crate) fn put_metadata(headers: &mut HeaderMap, message: &Told) {
    if let Some(value) = &message.content_type {
        put(headers, CONTENT_TYPE, value);
    }
    for (name, value) in &message.metadata {
        if let (Ok(name), Ok(value)) = (
            name.parse::<async_nats::HeaderName>(),
            value.parse::<async_nats::HeaderValue>(),
        ) {
            headers.append(name, value);
        }
    }
}

fn trace(headers: &HeaderMap) -> Option<TraceContext> {
    let text = |name: &str| Some(headers.get(name)?.as_str().to_owned());
    Some(TraceContext {
        traceparent: text(TRACEPARENT)?,
        tracestate: text(TRACESTATE),
    })
}

/// How many bytes headers take on the wire.
pub(crate) fn size_of(headers: &HeaderMap) -> usize {
    // Two line breaks and a colon with a blank for each, after a line with the version.
    let line = |name: &str, value: &str| name.len() + value.len() + 4;
    let lines = headers.iter().flat_map(|(name, values)| {
        let values = values.iter();
        values.map(move |value| line(name.as_ref(), value.as_str()))
    });
    match headers.is_empty() {
        true => 0,
        false => "NATS/1.0\r\n\r\n".len() + lines.sum::<usize>(),
    }
}

/// Adds the trace that a message belongs to.
pub(crate) fn put_trace(headers: &mut HeaderMap, trace: Option<&TraceContext>) {
    if let Some(trace) = trace {
        put(headers, TRACEPARENT, &trace.traceparent);
        if let Some(state) = &trace.tracestate {
            put(headers, TRACESTATE, state);
        }
    }
}

/// Adds a header, unless NATS does not take its value.
pub(crate) fn put(headers: &mut HeaderMap, name: &'static str, value: &str) {
    if let Ok(value) = value.parse::<async_nats::HeaderValue>() {
        headers.insert(name, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(content_type: Option<&str>, metadata: &[(&str, &str)]) -> Told {
        let pair = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        Told {
            content_type: content_type.map(str::to_owned),
            metadata: metadata.iter().map(pair).collect(),
            ..Told::new("a.b", "x")
        }
    }

    fn arrived(headers: HeaderMap) -> Told {
        let message = Message {
            subject: "a.b".into(),
            reply: None,
            payload: "x".into(),
            headers: Some(headers),
            status: None,
            description: None,
            length: 0,
        };
        arriving(&message, false).message
    }

    #[test]
    fn metadata_and_content_type_survive_the_way() {
        let sent = told(Some("text/plain"), &[("k", "1"), ("k", "ü"), ("empty", "")]);
        check(&sent).unwrap();
        let trace = TraceContext {
            traceparent: "00-1".to_owned(),
            tracestate: None,
        };
        let mut headers = HeaderMap::new();
        put_trace(&mut headers, Some(&trace));
        put_metadata(&mut headers, &sent);
        headers.insert("Nats-Msg-Id", "7");
        let mut came = arrived(headers);
        came.metadata.sort_by(|a, b| b.0.cmp(&a.0));
        assert_eq!(came, sent);
    }

    #[test]
    fn what_nats_would_change_or_act_on_is_refused_by_name() {
        for (name, value) in [
            ("nats-rollup", "all"),
            ("Content-Type", "x"),
            ("traceparent", "x"),
            ("two words", "x"),
            ("a:b", "x"),
            ("ä", "x"),
            ("k", " x"),
            ("k", "x\ny"),
        ] {
            let error = check(&told(None, &[(name, value)])).unwrap_err();
            assert!(error.to_string().contains(&format!("`{name}`")), "{error}");
        }
        assert!(check(&told(Some("a\nb"), &[])).is_err());
    }

    fn reply_of(wire: Option<&str>, told: Option<&str>, is_stored: bool) -> Option<String> {
        let mut headers = HeaderMap::new();
        if let Some(told) = told {
            put(&mut headers, REPLY, told);
        }
        let message = Message {
            subject: "a".into(),
            reply: wire.map(Into::into),
            payload: "x".into(),
            headers: Some(headers),
            status: None,
            description: None,
            length: 0,
        };
        arriving(&message, is_stored).message.reply_to
    }

    #[test]
    fn the_reply_subject_of_jetstream_is_nobodys_who_asks() {
        let (acks, asker) = (Some("_INBOX.acks"), Some("_INBOX.asker"));
        let answers = Some("_INBOX.asker".to_owned());
        assert_eq!(reply_of(asker, None, false), answers);
        assert_eq!(reply_of(acks, None, true), None);
        for is_stored in [true, false] {
            assert_eq!(reply_of(acks, asker, is_stored), answers);
            assert_eq!(reply_of(acks, Some(""), is_stored), None);
            assert_eq!(reply_of(acks, Some("a b"), is_stored), None);
        }
    }
}
