//! Spans of the calls that a provider serves.

use futures::future::Either;
use lattice_core::ComponentId;
use lattice_rpc::{Context, IncomingCall, Invocation, RoadOfCall};
use lattice_telemetry::{Begun, TARGET, is_on};
use tracing::field::Empty;
use tracing::{Instrument as _, Span};

/// Has each call that `handler` serves be a span where traces are exported, and be the parent of
/// the calls that it makes in turn with the trace context of its own.
pub(crate) fn traced<H, F>(
    handler: H,
    provider: ComponentId,
    (service, method): (String, String),
) -> impl Fn(IncomingCall) -> Either<F, tracing::instrument::Instrumented<F>> + Send + Sync + 'static
where
    H: Fn(IncomingCall) -> F + Send + Sync + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    move |mut call| {
        if !is_on() {
            return Either::Left(handler(call));
        }
        let span = begin(&mut call.context, &provider, (&service, &method));
        Either::Right(handler(call).instrument(span))
    }
}

fn begin(context: &mut Context, provider: &ComponentId, (service, method): (&str, &str)) -> Span {
    let caller = context.source_id.as_deref().unwrap_or_default();
    let Begun { span, onward } = lattice_telemetry::begin(context.trace.as_ref(), || {
        tracing::info_span!(
            target: TARGET,
            "serve",
            otel.name = format!("{service}/{method}"),
            otel.kind = "server",
            rpc.system = "wrpc",
            rpc.service = service,
            rpc.method = method,
            provider = provider.as_str(),
            caller,
            link.name = &*context.link_name,
            otel.status_code = Empty,
            error.type = Empty,
        )
    });
    if onward.is_some() {
        context.trace = onward;
    }
    span
}

/// Has the road of a call told to the current span, which needs the fields `road` and `road.why`, once
/// what is returned beside the call is dropped. Nothing is told where no traces are exported.
#[must_use]
pub fn road_told(call: Invocation) -> (Invocation, Option<RoadOfCall>) {
    if !is_on() {
        return (call, None);
    }
    let (call, road) = call.road_told(Span::current());
    (call, Some(road))
}
