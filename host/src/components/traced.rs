//! Spans of the calls that a component serves, and of those that leave it.

use lattice_core::{ComponentId, TraceContext};
use lattice_rpc::{Context, Invocation, RoadOfCall};
use lattice_telemetry::{Begun, TARGET};
use tracing::field::Empty;
use tracing::{Level, Span};

use crate::links::Route;

/// Begins the span of a call that a component serves, named as in the semantic conventions for RPC, and makes it what the component's own calls
/// have as parent. To be asked for only where [traces are on](lattice_telemetry::is_on).
pub(super) fn served(
    id: &ComponentId,
    (service, method): (&str, &str),
    context: &mut Context,
) -> Span {
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
            component = id.as_str(),
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

/// Has the road of a call counted for its link, and a span made when its trace is sampled, or when
/// somebody looks at spans of that level. Otherwise there is nothing but a look at that. The span ends,
/// and tells the road, when what is returned is dropped.
pub(super) fn called(
    invocation: Invocation,
    parent: Option<&TraceContext>,
    route: &Route,
    function: (&str, &str),
) -> (Invocation, Option<Box<RoadOfCall>>) {
    let (invocation, mut span) = exported(invocation, parent, route, function);
    if span.is_none() {
        if !tracing::span_enabled!(Level::DEBUG) {
            return (invocation, None);
        }
        span = tracing::debug_span!(
            "call",
            rpc.service = function.0,
            rpc.method = function.1,
            callee = route.target.as_str(),
            road = Empty,
            road.why = Empty,
        );
    }
    let (invocation, road) = invocation.road_told(span);
    (invocation, Some(Box::new(road)))
}

/// The span of a call whose trace is sampled, which the call then carries along.
fn exported(
    invocation: Invocation,
    parent: Option<&TraceContext>,
    route: &Route,
    (service, method): (&str, &str),
) -> (Invocation, Span) {
    if !lattice_telemetry::is_on() {
        return (invocation, Span::none());
    }
    let Begun { span, onward } = lattice_telemetry::begin(parent, || {
        tracing::info_span!(
            target: TARGET,
            "call",
            otel.name = format!("{service}/{method}"),
            otel.kind = "client",
            rpc.system = "wrpc",
            rpc.service = service,
            rpc.method = method,
            callee = route.target.as_str(),
            road = Empty,
            road.why = Empty,
        )
    });
    (invocation.trace(onward.as_ref()), span)
}
