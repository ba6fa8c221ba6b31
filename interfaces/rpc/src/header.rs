//! The headers of invocations and answers.
//!
//! `source-id`, `link-name`, `target-id` and the trace headers are those of the 1.9 lattice
//! (protocol page, 4.3). All others are ours; a 1.9 peer ignores them.

mod terms;

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use async_nats::{HeaderMap, HeaderName, HeaderValue, Message, Subject};
use lattice_codec::Path;
use lattice_core::TraceContext;
use lattice_core::id::MAX_NAME_BYTES;
use lattice_core::identity::CallProof;

pub use terms::Terms;
pub(crate) use terms::{LEFT, LONGEST_PROOF, split_proof, write_left};

/// The name of a link for which none is told.
pub(crate) const DEFAULT_LINK: &str = "default";

/// [`DEFAULT_LINK`], shared by all calls that tell none.
static UNNAMED: LazyLock<Arc<str>> = LazyLock::new(|| DEFAULT_LINK.into());

/// Who calls: the id of a component or provider.
pub const SOURCE_ID: &str = "source-id";
/// The name of the link that the call uses.
pub const LINK_NAME: &str = "link-name";
/// The WIT package of the link, such as `wasi:keyvalue`, where the caller has several links of that
/// name to the called entity.
pub const LINK_PACKAGE: &str = "link-package";
/// The entity that is called.
pub const TARGET_ID: &str = "target-id";
/// W3C trace context.
pub const TRACEPARENT: &str = "traceparent";
/// W3C trace context, vendor part.
pub const TRACESTATE: &str = "tracestate";
/// On a request: the [`Terms`] of the call, and after them what [proves](proof) who makes it.
pub const CALL: &str = "wrpc-call";
/// On an accept: the sender grants credit for async data; the value is the first window in bytes
/// per path.
pub const WINDOW: &str = "wrpc-window";
/// On an accept: where the sender reads what comes after the first 64 KiB of a stream, if that is not
/// where it reads the beginning.
pub const BULK: &str = "wrpc-bulk";
/// On a part of a stream that is sent there, and on the last part of one that is not and has several:
/// how many bytes come before it, and after a `/` how many of them were sent over another connection.
pub const OFFSET: &str = "wrpc-offset";
/// On an answer: paths, joined by commas, that are written as pending but have already ended
/// without data.
pub const ENDED: &str = "wrpc-ended";
/// On an answer: more result messages follow, up to an empty one.
pub const MORE: &str = "wrpc-more";
/// On an answer: the call failed. The value is the error code; the payload is the error as JSON.
pub const ERROR: &str = "wrpc-error";
/// Where a call is to be sent to that goes back to its caller over a socket: the place of a server with room.
pub(crate) const PLACE: &str = "wrpc-place";
/// The numeric status that goes with [`ERROR`] (protocol page, 12, row 2).
pub const STATUS: &str = "Status";
/// One line of text that goes with [`STATUS`].
pub const DESCRIPTION: &str = "Description";

/// The longest name of a caller, a link, its package or a target that is taken, in bytes: far more than
/// that of anything in a lattice of ours, since 1.9 has no bound.
pub(crate) const LONGEST_NAME: usize = 4 * MAX_NAME_BYTES;

/// How long the names are that a client of NATS makes up for places that nobody else has.
const UNIQUE: usize = 22;

/// The longest trace context that is passed on, in bytes; W3C asks for 512.
const LONGEST_TRACE: usize = 4096;

pub(crate) fn write_trace(trace: &TraceContext, headers: &mut HeaderMap) {
    put(headers, TRACEPARENT, &trace.traceparent);
    if let Some(state) = &trace.tracestate {
        put(headers, TRACESTATE, state);
    }
}

/// What the headers of a request tell, read in one pass: a lookup by name in a header map costs an
/// allocation each.
#[derive(Debug, Default)]
pub(crate) struct Told {
    pub(crate) source_id: Option<Arc<str>>,
    pub(crate) link_name: Option<Arc<str>>,
    pub(crate) link_package: Option<Arc<str>>,
    pub(crate) target_id: Option<Arc<str>>,
    pub(crate) trace: Option<TraceContext>,
    /// `None` if the caller is a peer of 1.9.
    pub(crate) terms: Option<Terms>,
    /// A name that is longer than any, by its header and length; it is not read.
    pub(crate) too_long: Option<(&'static str, usize)>,
}

impl Told {
    pub(crate) fn read(headers: Option<&HeaderMap>) -> Self {
        let mut told = Self::default();
        let (mut parent, mut state) = (None, None);
        for (name, values) in headers.into_iter().flat_map(HeaderMap::iter) {
            let Some(value) = values.first().map(HeaderValue::as_str) else {
                continue;
            };
            match AsRef::<str>::as_ref(name) {
                SOURCE_ID => told.source_id = told.name(SOURCE_ID, value),
                LINK_NAME => told.link_name = told.name(LINK_NAME, value),
                LINK_PACKAGE => told.link_package = told.name(LINK_PACKAGE, value),
                TARGET_ID => told.target_id = told.name(TARGET_ID, value),
                TRACEPARENT => parent = trace(value),
                TRACESTATE => state = trace(value),
                CALL => told.terms = Some(Terms::read(value)),
                _ => {}
            }
        }
        told.trace = parent.map(|traceparent| TraceContext {
            traceparent,
            tracestate: state,
        });
        told
    }

    fn name(&mut self, header: &'static str, value: &str) -> Option<Arc<str>> {
        if value.len() > LONGEST_NAME {
            self.too_long = Some((header, value.len()));
            return None;
        }
        Some(value.into())
    }

    /// The name of the link in use.
    pub(crate) fn link(&mut self) -> Arc<str> {
        let told = self.link_name.take();
        told.unwrap_or_else(|| Arc::clone(&UNNAMED))
    }

    /// Whether the caller surely takes a stream whose items stand in the answer itself. Those of our
    /// kind do, and those of the 1.9 lattice that are made with its Rust crates, which name
    /// themselves and the link or target, and call from an inbox below that of their connection.
    /// The bindings for Go want a byte before the items that nobody else reads (protocol page, 4.6),
    /// so that a stream which follows is all that every caller understands.
    pub(crate) fn takes_items(&self, caller: &str) -> bool {
        let names = self.link_name.is_some() || self.target_id.is_some();
        let is_unique = |token: &str| {
            let mut bytes = token.bytes();
            token.len() == UNIQUE && bytes.all(|byte| byte.is_ascii_alphanumeric())
        };
        let mut tokens = caller.rsplit('.');
        let own = tokens.next().is_some_and(is_unique);
        let below = tokens.next().is_some_and(is_unique);
        self.terms.is_some() || (self.source_id.is_some() && names && own && below)
    }

    /// How long the answer may take: what the caller told, at most `longest`, or `default` for a
    /// caller that tells none.
    pub(crate) fn time_left(&self, default: Duration, longest: Duration) -> Duration {
        let told = self.terms.as_ref().and_then(|terms| terms.left);
        told.unwrap_or(default).min(longest)
    }
}

/// A part of a trace context, unless it is longer than any.
fn trace(value: &str) -> Option<String> {
    (value.len() <= LONGEST_TRACE).then(|| value.to_owned())
}

/// Who makes a call, as it says.
pub(crate) fn source(call: &Message) -> Option<&str> {
    let headers = call.headers.iter().flat_map(HeaderMap::iter);
    let mut named = headers.filter(|(name, _)| AsRef::<str>::as_ref(*name) == SOURCE_ID);
    named.next()?.1.first().map(HeaderValue::as_str)
}

/// What the reply subject of an answer begins with. Nobody listens there.
pub(crate) const TURN: &str = "_TURN.";

/// The reply subject of an answer, which tells whose answer it is.
pub(crate) fn write_turn(turn: u32) -> Subject {
    [TURN, itoa::Buffer::new().format(turn)].concat().into()
}

/// Reads what [`write_turn`] has written.
pub(crate) fn turn_of(reply: &Subject) -> Option<u32> {
    reply.strip_prefix(TURN)?.parse().ok()
}

/// Names the place that a call is to be sent to which goes back to its caller.
pub(crate) fn write_place(headers: &mut HeaderMap, place: &Subject) {
    set(headers, PLACE, place.to_string());
}

/// Takes out what [`write_place`] has written.
pub(crate) fn take_place(headers: &mut Option<HeaderMap>) -> Option<Subject> {
    let place = text(headers.as_ref()?, PLACE).map(Subject::from)?;
    let mut others = HeaderMap::new();
    for (name, values) in headers.take()?.iter() {
        if AsRef::<str>::as_ref(name) != PLACE {
            let values = values.iter().cloned();
            values.for_each(|value| others.append(name.clone(), value));
        }
    }
    *headers = Some(others);
    Some(place)
}

/// What proves who makes a call, the text of a [`CallProof`], if anything does.
pub fn proof(headers: Option<&HeaderMap>) -> Option<&str> {
    let value = headers?.get(HeaderName::from_static(CALL))?;
    terms::split_proof(value.as_str()).1
}

/// Puts what proves who makes a call among its headers, in place of what is there.
pub(crate) fn write_proof(headers: &mut HeaderMap, proof: &CallProof) {
    let value = headers.get(HeaderName::from_static(CALL));
    let terms = value.map_or("", HeaderValue::as_str);
    let text = terms::with_proof(terms, proof);
    set(headers, CALL, text);
}

pub(crate) fn text(headers: &HeaderMap, name: &'static str) -> Option<String> {
    headers
        .get(HeaderName::from_static(name))
        .map(|value| value.as_str().to_owned())
}

pub(crate) fn number(headers: &HeaderMap, name: &'static str) -> Option<u64> {
    headers
        .get(HeaderName::from_static(name))?
        .as_str()
        .parse()
        .ok()
}

pub(crate) fn has(headers: Option<&HeaderMap>, name: &'static str) -> bool {
    headers.is_some_and(|h| h.get(HeaderName::from_static(name)).is_some())
}

/// Adds a header whose value is known to be allowed in one.
pub(crate) fn set(headers: &mut HeaderMap, name: &'static str, value: impl Into<HeaderValue>) {
    headers.insert(HeaderName::from_static(name), value.into());
}

/// Tells how much credit the sender grants per stream.
pub(crate) fn write_window(headers: &mut HeaderMap, window: u64) {
    set(headers, WINDOW, window);
}

/// Tells where the sender reads what is long.
pub(crate) fn write_bulk(headers: &mut HeaderMap, place: &Subject) {
    put(headers, BULK, place.as_str());
}

/// Reads what [`write_bulk`] has written.
pub(crate) fn read_bulk(headers: Option<&HeaderMap>) -> Option<Subject> {
    let value = headers?.get(HeaderName::from_static(BULK))?;
    Some(value.as_str().into())
}

/// Adds a header, unless the text cannot stand in one: a value chosen by a guest or taken from
/// another message must not end the header block early.
pub(crate) fn put(headers: &mut HeaderMap, name: &'static str, text: &str) {
    match text.parse::<HeaderValue>() {
        Ok(value) => set(headers, name, value),
        Err(_) => tracing::warn!(name, "left out a header whose value is not allowed in one"),
    }
}

pub(crate) fn write_ended(headers: &mut HeaderMap, ended: &[Path]) {
    if !ended.is_empty() {
        let mut text = String::new();
        terms::push_paths(&mut text, ended);
        set(headers, ENDED, text);
    }
}

/// Reads the ended paths of an answer.
pub(crate) fn read_ended(headers: Option<&HeaderMap>) -> Vec<Path> {
    let value = headers.and_then(|h| h.get(HeaderName::from_static(ENDED)));
    value
        .map(|value| terms::split(value.as_str()))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_longer_than_any_is_not_read() {
        let (long, longest) = ("x".repeat(LONGEST_NAME + 1), "x".repeat(LONGEST_NAME));
        for name in [SOURCE_ID, LINK_NAME, LINK_PACKAGE, TARGET_ID] {
            let mut headers = HeaderMap::new();
            set(&mut headers, name, longest.as_str());
            assert_eq!(Told::read(Some(&headers)).too_long, None);
            set(&mut headers, name, long.as_str());
            let told = Told::read(Some(&headers));
            assert_eq!(told.too_long, Some((name, long.len())));
            let names = [
                told.source_id,
                told.link_name,
                told.link_package,
                told.target_id,
            ];
            assert!(names.iter().all(Option::is_none));
        }
    }

    #[test]
    fn a_trace_that_is_longer_than_any_is_not_passed_on() {
        let mut headers = HeaderMap::new();
        set(&mut headers, TRACEPARENT, "00-1-2-01");
        set(&mut headers, TRACESTATE, "x".repeat(LONGEST_TRACE + 1));
        let trace = Told::read(Some(&headers)).trace.unwrap();
        assert_eq!((&*trace.traceparent, trace.tracestate), ("00-1-2-01", None));
    }
}
