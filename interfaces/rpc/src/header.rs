//! The headers of invocations and answers.
//!
//! `source-id`, `link-name`, `target-id` and the trace headers are those of the 1.9 lattice
//! (protocol page, 4.3). All others are ours; a 1.9 peer ignores them.

use std::time::Duration;

use async_nats::{HeaderMap, HeaderValue};
use lattice_codec::Path;
use tokio::time::Instant;

/// Who calls: the id of a component or provider.
pub const SOURCE_ID: &str = "source-id";
/// The name of the link that the call uses.
pub const LINK_NAME: &str = "link-name";
/// The entity that is called.
pub const TARGET_ID: &str = "target-id";
/// W3C trace context.
pub const TRACEPARENT: &str = "traceparent";
/// W3C trace context, vendor part.
pub const TRACESTATE: &str = "tracestate";
/// On a request: the parameters are complete in this message, one message may be the answer.
pub const UNARY: &str = "wrpc-unary";
/// How much of the call's time is left, in milliseconds, when the request is sent.
pub const DEADLINE_MS: &str = "wrpc-deadline-ms";
/// The sender grants credit for async data; the value is the first window in bytes per path.
pub const WINDOW: &str = "wrpc-window";
/// Paths, joined by commas, that are written as pending but have already ended without data.
pub const ENDED: &str = "wrpc-ended";
/// On an answer: more result messages follow, up to an empty one.
pub const MORE: &str = "wrpc-more";
/// On an answer: the call failed. The value is the error code; the payload is the error as JSON.
pub const ERROR: &str = "wrpc-error";
/// The numeric status that goes with [`ERROR`] (protocol page, 12, row 2).
pub const STATUS: &str = "Status";
/// One line of text that goes with [`STATUS`].
pub const DESCRIPTION: &str = "Description";

/// Trace context that a call carries, passed on as received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceContext {
    /// The `traceparent` header.
    pub traceparent: String,
    /// The `tracestate` header, if there is one.
    pub tracestate: Option<String>,
}

impl TraceContext {
    pub(crate) fn read(headers: &HeaderMap) -> Option<Self> {
        Some(Self {
            traceparent: text(headers, TRACEPARENT)?,
            tracestate: text(headers, TRACESTATE),
        })
    }

    pub(crate) fn write(&self, headers: &mut HeaderMap) {
        put(headers, TRACEPARENT, &self.traceparent);
        if let Some(state) = &self.tracestate {
            put(headers, TRACESTATE, state);
        }
    }
}

pub(crate) fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name).map(|value| value.as_str().to_owned())
}

pub(crate) fn number(headers: &HeaderMap, name: &str) -> Option<u64> {
    headers.get(name)?.as_str().parse().ok()
}

/// Writes what is left until `deadline`, at least one millisecond.
pub(crate) fn write_deadline(headers: &mut HeaderMap, deadline: Instant) {
    let left = deadline
        .saturating_duration_since(Instant::now())
        .as_millis()
        .max(1);
    headers.insert(DEADLINE_MS, left.to_string());
}

/// Tells how much credit the sender grants per stream.
pub(crate) fn write_window(headers: &mut HeaderMap, window: u64) {
    headers.insert(WINDOW, HeaderValue::from(window));
}

/// Reads the deadline of a request: what the caller told, at most `longest` from now, or
/// `default` for a caller that tells none.
pub(crate) fn read_deadline(
    headers: Option<&HeaderMap>,
    default: Duration,
    longest: Duration,
) -> Instant {
    let told = headers
        .and_then(|h| number(h, DEADLINE_MS))
        .map(Duration::from_millis);
    Instant::now() + told.unwrap_or(default).min(longest)
}

/// Adds a header, unless the text cannot stand in one: a value chosen by a guest or taken from
/// another message must not end the header block early.
pub(crate) fn put(headers: &mut HeaderMap, name: &'static str, text: &str) {
    match text.parse::<HeaderValue>() {
        Ok(value) => headers.insert(name, value),
        Err(_) => tracing::warn!(name, "left out a header whose value is not allowed in one"),
    }
}

pub(crate) fn write_ended(headers: &mut HeaderMap, ended: &[Path]) {
    if !ended.is_empty() {
        let text = ended
            .iter()
            .map(Path::to_string)
            .collect::<Vec<_>>()
            .join(",");
        headers.insert(ENDED, text);
    }
}

/// Reads the ended paths; what cannot be read is left out, since it is only a shortcut.
pub(crate) fn read_ended(headers: Option<&HeaderMap>) -> Vec<Path> {
    let Some(value) = headers.and_then(|h| h.get(ENDED)) else {
        return Vec::new();
    };
    value
        .as_str()
        .split(',')
        .take(32)
        .filter_map(|path| path.parse().ok())
        .collect()
}
