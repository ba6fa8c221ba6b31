//! Spans of the calls that a component serves, and of those that leave it.

use std::sync::Arc;

use lattice_core::{ComponentId, RoadCounts, TraceContext};
use lattice_rpc::{Context, Invocation};
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

/// The span of one call; it ends, and tells the road, when this is dropped.
#[derive(Debug)]
pub(super) struct Traced {
    span: Span,
    /// Counts this call alone, since those of the link mix it with others.
    own: Arc<RoadCounts>,
    link: Arc<RoadCounts>,
}

impl Traced {
    /// Has the road of a call counted for its link, and a span made when its trace is sampled, or
    /// when somebody looks at spans of that level. Otherwise there is nothing but a look at that.
    pub(super) fn begin(
        invocation: Invocation,
        parent: Option<&TraceContext>,
        route: &Route,
        function: (&str, &str),
    ) -> (Invocation, Option<Box<Self>>) {
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
        let link = Arc::clone(&route.roads);
        let own = Arc::new(RoadCounts::default());
        let invocation = invocation.roads(Arc::clone(&own));
        (invocation, Some(Box::new(Self { span, own, link })))
    }
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

impl Drop for Traced {
    fn drop(&mut self) {
        // There is none when the call could not be sent.
        if let Some((road, why)) = self.own.last() {
            self.link.count(road, why);
            self.span.record("road", road.as_str());
            self.span.record("road.why", why.as_str());
        }
        tracing::trace!(parent: &self.span, "a call ended");
    }
}
