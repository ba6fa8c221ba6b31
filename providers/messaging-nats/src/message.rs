//! Messages of NATS as components have them, and back.

use async_nats::{HeaderMap, Message};
use lattice_provider_sdk::messaging::{Arriving, BrokerMessage};
use lattice_rpc::TraceContext;

const TRACEPARENT: &str = "traceparent";
const TRACESTATE: &str = "tracestate";

/// What the component gets. The reply subject of JetStream is not the message's own.
pub(crate) fn arriving(message: &Message, is_stored: bool) -> Arriving {
    let reply = message.reply.as_ref().filter(|_| !is_stored);
    Arriving {
        message: BrokerMessage {
            subject: message.subject.to_string(),
            body: message.payload.clone(),
            reply_to: reply.map(ToString::to_string),
        },
        trace: message.headers.as_ref().and_then(trace),
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
