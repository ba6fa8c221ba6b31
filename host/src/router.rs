//! Decides for each call where it goes.

use std::sync::Arc;

use lattice_core::ComponentId;

use crate::links::{LinkTable, Route};

/// The way a call takes to its target.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub(crate) enum Road {
    /// Over NATS, to whoever serves the target.
    Bus(Arc<Route>),
}

impl Road {
    /// The id of the called entity.
    pub(crate) fn target(&self) -> &ComponentId {
        match self {
            Self::Bus(route) => &route.target,
        }
    }
}

/// The source has no link for what it calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NoLink;

/// Finds the road of a call from the links as they are at this moment.
#[derive(Debug, Clone)]
pub(crate) struct Router {
    links: Arc<LinkTable>,
}

impl Router {
    pub(crate) fn new(links: Arc<LinkTable>) -> Self {
        Self { links }
    }

    /// Decides about one call of `source` for the interface `lookup`.
    pub(crate) fn decide(
        &self,
        source: &ComponentId,
        link_name: &str,
        lookup: &str,
    ) -> Result<Road, NoLink> {
        self.links
            .resolve(source, link_name, lookup)
            .map(Road::Bus)
            .ok_or(NoLink)
    }
}
