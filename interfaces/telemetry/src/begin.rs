//! The beginning of a span: where it is decided whether there is one.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use lattice_core::TraceContext;
use opentelemetry::Context;
use opentelemetry::trace::{SpanContext, TraceContextExt as _, TraceId};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use crate::context::Told;
use crate::ids;
use crate::sampler::Sampler;

/// Whether this process exports traces. Read at each call, so it is a word of its own.
static ON: AtomicBool = AtomicBool::new(false);
static SAMPLER: OnceLock<Sampler> = OnceLock::new();

/// Whether this process exports traces; all that a call costs while it does not.
#[inline]
#[must_use]
pub fn is_on() -> bool {
    ON.load(Ordering::Relaxed)
}

/// Has [`begin`] decide by this sampler from now on. The first sampler of a process stays.
pub(crate) fn switch_on(sampler: Sampler) {
    SAMPLER.get_or_init(|| sampler);
    ON.store(true, Ordering::Relaxed);
}

pub(crate) fn switch_off() {
    ON.store(false, Ordering::Relaxed);
}

/// What [`begin`] made. The span ends when this and all clones of it are dropped.
#[derive(Debug)]
pub struct Begun {
    /// The span; none when the trace is not sampled.
    pub span: Span,
    /// The trace context for calls made inside; `None` to pass on what came in.
    pub onward: Option<TraceContext>,
}

impl Begun {
    fn nothing() -> Self {
        Self {
            span: Span::none(),
            onward: None,
        }
    }
}

/// Begins the span that `make` makes, with the target [`TARGET`](crate::TARGET), as a child of
/// `parent` or as the root of a trace; calls `make` only when the trace is sampled.
///
/// A root that is not sampled says so in its context, so that nobody who is called decides again.
pub fn begin(parent: Option<&TraceContext>, make: impl FnOnce() -> Span) -> Begun {
    let Some(sampler) = SAMPLER.get().filter(|_| is_on()) else {
        return Begun::nothing();
    };
    let told = parent.and_then(|parent| Told::read(&parent.traceparent));
    let tracestate = parent.and_then(|parent| parent.tracestate.as_deref());
    let (trace, id) = match told {
        Some(told) => (told.trace, None),
        None => {
            let (trace, span) = ids::random();
            (trace, Some(span))
        }
    };
    let said = told.map(|told| told.sampled);
    if sampler.decide(said, trace) {
        let span = match told {
            Some(told) => {
                let span = make();
                let context = Context::new().with_remote_span_context(told.context(tracestate));
                set_parent(&span, context);
                span
            }
            None => make(),
        };
        return sampled(span, told.is_none().then_some(trace));
    }
    if said == Some(false) {
        return Begun::nothing();
    }
    let span = id.unwrap_or_else(|| ids::random().1);
    let told = Told {
        trace,
        span,
        sampled: false,
    };
    Begun {
        span: Span::none(),
        onward: Some(TraceContext {
            traceparent: told.write(),
            tracestate: tracestate.map(str::to_owned),
        }),
    }
}

/// Has the exporter take the span up, which gives it its ids. `root` is the id of a new trace.
fn sampled(span: Span, root: Option<TraceId>) -> Begun {
    let context = match root {
        Some(trace) => {
            // Whatever span happens to be current here is not its parent.
            set_parent(&span, Context::new());
            ids::with_trace(trace, || span.context())
        }
        None => span.context(),
    };
    let onward = onward(context.span().span_context());
    Begun { span, onward }
}

/// The context of a span that is exported. There is none when its level is not traced.
fn onward(context: &SpanContext) -> Option<TraceContext> {
    let told = Told {
        trace: context.trace_id(),
        span: context.span_id(),
        sampled: context.is_sampled(),
    };
    let state = context.trace_state().header();
    context.is_valid().then(|| TraceContext {
        traceparent: told.write(),
        tracestate: (!state.is_empty()).then_some(state),
    })
}

fn set_parent(span: &Span, context: Context) {
    if let Err(error) = span.set_parent(context) {
        // A span whose level is not traced has nothing to set.
        tracing::trace!(%error, "a span has no parent to set");
    }
}

/// Marks the current span, if there is one, as that of work that has failed for the reason `code`.
/// The span has to have the fields `otel.status_code` and `error.type`.
pub fn failed(code: &str) {
    if is_on() {
        let span = Span::current();
        span.record("otel.status_code", "ERROR");
        span.record("error.type", code);
    }
}
