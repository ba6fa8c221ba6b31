//! The trace context that calls and requests carry.

/// W3C trace context as text, passed on as received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceContext {
    /// The `traceparent` header.
    pub traceparent: String,
    /// The `tracestate` header, if there is one.
    pub tracestate: Option<String>,
}
