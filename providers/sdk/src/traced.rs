//! Spans of the calls that a provider serves.

use futures::future::Either;
use lattice_core::ComponentId;
use lattice_rpc::{Context, IncomingCall, TraceContext};
use lattice_telemetry::{Begun, Parent, TARGET, is_on};
use tracing::field::Empty;
use tracing::{Instrument as _, Span};

/// Has each call that `handler` serves be a span where traces are exported, and be the parent of
/// the calls that it makes in turn with the trace context of its own.
pub(crate) fn traced<H, F>(
    handler: H,
    provider: ComponentId,
    operation: String,
) -> impl Fn(IncomingCall) -> Either<F, tracing::instrument::Instrumented<F>> + Send + Sync + 'static
where
    H: Fn(IncomingCall) -> F + Send + Sync + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    move |mut call| {
        if !is_on() {
            return Either::Left(handler(call));
        }
        let span = begin(&mut call.context, &provider, &operation);
        Either::Right(handler(call).instrument(span))
    }
}

fn begin(context: &mut Context, provider: &ComponentId, operation: &str) -> Span {
    let caller = context.source_id.as_deref().unwrap_or_default();
    let parent = context.trace.as_ref().map(|trace| Parent {
        traceparent: &trace.traceparent,
        tracestate: trace.tracestate.as_deref(),
    });
    let Begun { span, onward } = lattice_telemetry::begin(parent, || {
        tracing::info_span!(
            target: TARGET,
            "serve",
            otel.name = operation,
            otel.kind = "server",
            provider = provider.as_str(),
            operation,
            caller,
            link.name = &*context.link_name,
            otel.status_code = Empty,
            error.type = Empty,
        )
    });
    if let Some(onward) = onward {
        context.trace = Some(TraceContext {
            traceparent: onward.traceparent,
            tracestate: onward.tracestate,
        });
    }
    span
}
