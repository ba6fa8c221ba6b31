//! Finds for each call whom it goes to. By which road it gets there, `lattice-rpc` decides.

use std::sync::Arc;

use lattice_core::ComponentId;

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
}
