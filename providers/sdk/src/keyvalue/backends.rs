//! Which store a call means.

use std::collections::HashMap;
use std::sync::Arc;

use lattice_core::{ComponentId, LinkName};
use lattice_rpc::Context;
use parking_lot::RwLock;

use crate::keyvalue::KeyValueError;
use crate::link::ProviderLink;

/// The stores of one component by the names of its links, of which there are few.
type OfComponent<B> = Vec<(LinkName, Arc<B>)>;

/// The stores of a provider by the component and the name of its link.
#[derive(Debug)]
pub struct Backends<B> {
    table: RwLock<HashMap<ComponentId, OfComponent<B>>>,
}

impl<B> Default for Backends<B> {
    fn default() -> Self {
        Self {
            table: RwLock::default(),
        }
    }
}

impl<B> Backends<B> {
    /// An empty table.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Uses `backend` for calls through `link`.
    pub fn put(&self, link: &ProviderLink, backend: Arc<B>) {
        let mut table = self.table.write();
        let of_peer = table.entry(link.peer.clone()).or_default();
        match of_peer.iter_mut().find(|(name, _)| *name == link.name) {
            Some((_, known)) => *known = backend,
            None => of_peer.push((link.name.clone(), backend)),
        }
    }

    /// Stops using the store of `link` and returns it.
    pub fn delete(&self, link: &ProviderLink) -> Option<Arc<B>> {
        let mut table = self.table.write();
        let of_peer = table.get_mut(&link.peer)?;
        let at = of_peer.iter().position(|(name, _)| *name == link.name)?;
        let (_, backend) = of_peer.swap_remove(at);
        if of_peer.is_empty() {
            table.remove(&link.peer);
        }
        Some(backend)
    }

    /// Every store.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<B>> {
        let table = self.table.read();
        let stores = table.values().flatten();
        stores.map(|(_, backend)| Arc::clone(backend)).collect()
    }

    /// The store that a call means.
    ///
    /// # Errors
    ///
    /// [`KeyValueError::Other`] naming the link that is missing.
    pub fn of(&self, context: &Context) -> Result<Arc<B>, KeyValueError> {
        let source = context.source_id.as_deref().unwrap_or("<unknown>");
        let name = context.link_name.as_str();
        let table = self.table.read();
        table
            .get(source)
            .and_then(|links| links.iter().find(|(known, _)| known.as_str() == name))
            .map(|(_, backend)| Arc::clone(backend))
            .ok_or_else(|| {
                KeyValueError::other(format!(
                    "`{source}` has no working link `{name}` to this provider; see `wash get links`"
                ))
            })
    }
}
