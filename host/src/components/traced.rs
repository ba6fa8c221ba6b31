//! A span for each call that leaves a component, with the road it took.

use std::sync::Arc;

use lattice_core::RoadCounts;
use lattice_rpc::Invocation;
use tracing::field::Empty;
use tracing::{Level, Span};

use crate::links::Route;

/// The span of one call; it ends, and tells the road, when this is dropped.
#[derive(Debug)]
pub(super) struct Traced {
    span: Span,
    /// Counts this call alone, since those of the link mix it with others.
    own: Arc<RoadCounts>,
    link: Arc<RoadCounts>,
}

impl Traced {
    /// Has the road of a call counted for its link, and a span made when somebody looks at spans
    /// of that level. Otherwise there is nothing but a look at that.
    pub(super) fn begin(
        invocation: Invocation,
        route: &Route,
        function: &str,
    ) -> (Invocation, Option<Box<Self>>) {
        if !tracing::span_enabled!(Level::DEBUG) {
            return (invocation, None);
        }
        let link = Arc::clone(&route.roads);
        let own = Arc::new(RoadCounts::default());
        let span = tracing::debug_span!(
            "call",
            callee = route.target.as_str(),
            function,
            road = Empty,
            road.why = Empty,
        );
        let invocation = invocation.roads(Arc::clone(&own));
        (invocation, Some(Box::new(Self { span, own, link })))
    }
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
