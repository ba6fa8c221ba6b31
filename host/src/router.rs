//! Finds for each call whom it goes to. By which road it gets there, `lattice-rpc` decides.

use std::sync::Arc;

use lattice_core::ComponentId;
use tokio::time::Instant;

use crate::links::{LinkTable, Route};

/// The source has no link for what it calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NoLink;

/// Finds the target of a call from the links as they are at this moment.
#[derive(Debug, Clone)]
pub(crate) struct Router {
    links: Arc<LinkTable>,
}

impl Router {
    pub(crate) fn new(links: Arc<LinkTable>) -> Self {
        Self { links }
    }

    /// The route of one call of `source` for the interface `lookup`.
    pub(crate) fn resolve(
        &self,
        source: &ComponentId,
        link_name: &str,
        lookup: &str,
    ) -> Result<Arc<Route>, NoLink> {
        self.links.resolve(source, link_name, lookup).ok_or(NoLink)
    }

    /// The same for a call that found no route: while a link moves to another target, it waits.
    pub(crate) async fn resolve_soon(
        &self,
        source: &ComponentId,
        link_name: &str,
        lookup: &str,
        deadline: Instant,
    ) -> Result<Arc<Route>, NoLink> {
        let links = &self.links;
        let found = links.resolve_soon(source, link_name, lookup, deadline);
        found.await.ok_or(NoLink)
    }

    /// Whether a source has a link, or is about to get one in the place of one that went.
    pub(crate) fn is_linked(&self, source: &ComponentId, link_name: &str, lookup: &str) -> bool {
        self.links.leads_somewhere(source, link_name, lookup)
    }
}
