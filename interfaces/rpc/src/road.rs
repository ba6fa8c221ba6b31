//! The road of one call, for its span.

use std::sync::Arc;

use lattice_core::RoadCounts;
use tracing::Span;

use crate::call::Invocation;

/// Tells a span, once this is dropped, which road a call has taken and why: as `road` and `road.why`,
/// fields that the span has to have. To be kept until the call has been answered.
#[derive(Debug)]
pub struct RoadOfCall {
    span: Span,
    /// Counts this call alone, since those of the link mix it with others.
    own: Arc<RoadCounts>,
    link: Option<Arc<RoadCounts>>,
}

impl Invocation {
    /// Has the road of this call told to a span, beside being counted.
    #[must_use]
    pub fn road_told(self, span: Span) -> (Self, RoadOfCall) {
        let own = Arc::new(RoadCounts::default());
        let told = RoadOfCall {
            span,
            link: self.counts().cloned(),
            own: Arc::clone(&own),
        };
        (self.roads(own), told)
    }
}

impl Drop for RoadOfCall {
    fn drop(&mut self) {
        // There is none when the call could not be sent.
        if let Some((road, why)) = self.own.last() {
            if let Some(link) = &self.link {
                link.count(road, why);
            }
            self.span.record("road", road.as_str());
            self.span.record("road.why", why.as_str());
        }
        tracing::trace!(parent: &self.span, "a call ended");
    }
}
