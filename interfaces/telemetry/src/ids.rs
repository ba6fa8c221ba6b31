//! Ids of traces and spans.
//!
//! Whether a trace is sampled depends on its id and is decided before its first span is made. The
//! SDK makes the id together with the span, so that the one that was decided on waits for it here.

use std::cell::Cell;

use opentelemetry::trace::{SpanId, TraceId};
use opentelemetry_sdk::trace::{IdGenerator, RandomIdGenerator};

thread_local! {
    static DECIDED: Cell<Option<TraceId>> = const { Cell::new(None) };
}

/// Makes random ids, and gives a new trace the id that was decided on.
#[derive(Debug, Default)]
pub(crate) struct Ids(RandomIdGenerator);

impl IdGenerator for Ids {
    fn new_trace_id(&self) -> TraceId {
        DECIDED.take().unwrap_or_else(|| self.0.new_trace_id())
    }

    fn new_span_id(&self) -> SpanId {
        self.0.new_span_id()
    }
}

/// Random ids for a trace and a span.
pub(crate) fn random() -> (TraceId, SpanId) {
    let ids = RandomIdGenerator::default();
    (ids.new_trace_id(), ids.new_span_id())
}

/// Has the next trace that `make` begins on this thread get the id `trace`.
pub(crate) fn with_trace<T>(trace: TraceId, make: impl FnOnce() -> T) -> T {
    DECIDED.set(Some(trace));
    let made = make();
    // Not taken when no span was made.
    DECIDED.set(None);
    made
}
