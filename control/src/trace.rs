//! Trace context in the headers of requests and replies.

use async_nats::{HeaderMap, Message};
use lattice_rpc::TraceContext;
use lattice_rpc::header::{TRACEPARENT, TRACESTATE};

/// Reads the trace context of a message.
pub(crate) fn read(message: &Message) -> Option<TraceContext> {
    let headers = message.headers.as_ref()?;
    let text = |name: &str| headers.get(name).map(|value| value.as_str().to_owned());
    Some(TraceContext {
        traceparent: text(TRACEPARENT)?,
        tracestate: text(TRACESTATE),
    })
}

/// Headers that carry a trace context, if there is one.
pub(crate) fn headers(trace: Option<&TraceContext>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    if let Some(trace) = trace {
        headers.insert(TRACEPARENT, trace.traceparent.as_str());
        if let Some(state) = &trace.tracestate {
            headers.insert(TRACESTATE, state.as_str());
        }
    }
    headers
}
