//! Messages of NATS as components have them, and back.

use async_nats::{HeaderMap, Message};
use lattice_provider_sdk::messaging::{Arriving, BrokerMessage};
use lattice_rpc::TraceContext;

use crate::settings::is_subject;

const TRACEPARENT: &str = "traceparent";
const TRACESTATE: &str = "tracestate";

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
        message: BrokerMessage {
            subject: message.subject.to_string(),
            body: message.payload.clone(),
            reply_to: reply.map(str::to_owned),
        },
        trace: headers.and_then(trace),
    }
}

fn trace(headers: &HeaderMap) -> Option<TraceContext> {
    let text = |name: &str| Some(headers.get(name)?.as_str().to_owned());
    Some(TraceContext {
        traceparent: text(TRACEPARENT)?,
        tracestate: text(TRACESTATE),
    })
}

/// The headers of a message that a component publishes.
pub(crate) fn headers(trace: Option<&TraceContext>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    if let Some(trace) = trace {
        put(&mut headers, TRACEPARENT, &trace.traceparent);
        if let Some(state) = &trace.tracestate {
            put(&mut headers, TRACESTATE, state);
        }
    }
    headers
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
