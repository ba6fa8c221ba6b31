//! Which backend a call means.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use lattice_core::ComponentId;
use lattice_core::id::MAX_NAME_BYTES;
use lattice_rpc::Context;
use parking_lot::{Mutex, RwLock};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::link::{LinkKey, ProviderLink};

/// A call came through a link that this provider does not have, or could not take.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{from}` has no working link `{name}` to this provider; see `wash get links`")]
pub struct NoLink {
    /// Who called.
    pub from: String,
    /// The name of the link.
    pub name: String,
}

/// The backends of one component by its links, of which there are few.
type OfComponent<B> = Vec<(LinkKey, Arc<B>)>;

/// How long a call waits for a link that is not there yet: a copy of a provider takes calls as soon
/// as it runs, and hosts learn of a new link a moment apart.
const ON_ITS_WAY: Duration = Duration::from_millis(1500);

/// How long calls through a link that did not come fail at once.
const GIVEN_UP: Duration = Duration::from_secs(5);

/// How many such links are remembered.
const MAX_GIVEN_UP: usize = 1024;

/// The backends of a provider by the component and the name of its link.
///
/// A component may have two links of the same name, such as one for `wasi:keyvalue` and one for
/// `wrpc:keyvalue`. Its calls tell the package of theirs then, and mean no other. Those that do not
/// tell it, as the calls of old hosts, mean the one whose package is last in the order of letters, in
/// every copy of a provider alike, and the other when that one goes.
#[derive(Debug)]
pub struct Backends<B> {
    table: RwLock<HashMap<ComponentId, OfComponent<B>>>,
    /// Told when a link is put.
    more: Notify,
    /// Links that calls have waited for in vain, and when.
    given_up: Mutex<HashMap<(String, String), Instant>>,
}

impl<B> Default for Backends<B> {
    fn default() -> Self {
        Self {
            table: RwLock::default(),
            more: Notify::new(),
            given_up: Mutex::default(),
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
        let key = link.key();
        match of_peer.iter_mut().find(|(known, _)| *known == key) {
            Some((_, known)) => *known = backend,
            None => of_peer.push((key, backend)),
        }
        drop(table);
        let key = (link.peer.to_string(), link.name.to_string());
        self.given_up.lock().remove(&key);
        self.more.notify_waiters();
    }

    /// Stops using the backend of `link` and returns it.
    pub fn delete(&self, link: &ProviderLink) -> Option<Arc<B>> {
        let mut table = self.table.write();
        let of_peer = table.get_mut(&link.peer)?;
        let key = link.key();
        let at = of_peer.iter().position(|(known, _)| *known == key)?;
        let (_, backend) = of_peer.remove(at);
        if of_peer.is_empty() {
            table.remove(&link.peer);
        }
        Some(backend)
    }

    /// The backend of a link that was put.
    #[must_use]
    pub fn get(&self, link: &ProviderLink) -> Option<Arc<B>> {
        let key = link.key();
        let table = self.table.read();
        let mut of_peer = table.get(&link.peer)?.iter();
        let (_, backend) = of_peer.find(|(known, _)| *known == key)?;
        Some(Arc::clone(backend))
    }

    /// The backend of the link of that name that `source` has, if it has one. A call through another
    /// link may mean it.
    #[must_use]
    pub fn named(&self, source: &str, name: &str) -> Option<Arc<B>> {
        self.find(source, name, None)
    }

    /// Every backend.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<B>> {
        let table = self.table.read();
        let backends = table.values().flatten();
        backends.map(|(_, backend)| Arc::clone(backend)).collect()
    }

    /// The backend that a call means. A link that is on its way is waited for, shortly.
    ///
    /// # Errors
    ///
    /// [`NoLink`] names the link that is missing.
    pub async fn of(&self, context: &Context) -> Result<Arc<B>, NoLink> {
        let source = context.source_id.as_deref().unwrap_or("<unknown>");
        let name = &*context.link_name;
        let package = context.link_package.as_deref();
        if let Some(backend) = self.find(source, name, package) {
            return Ok(backend);
        }
        if may_exist(source, name) && !self.is_given_up(source, name) {
            let until = context.deadline.min(Instant::now() + ON_ITS_WAY);
            let arrival = self.arrival(source, name, package);
            if let Ok(backend) = tokio::time::timeout_at(until, arrival).await {
                return Ok(backend);
            }
            self.give_up(source, name);
        }
        Err(NoLink {
            from: source.to_owned(),
            name: name.to_owned(),
        })
    }

    fn find(&self, source: &str, name: &str, told: Option<&str>) -> Option<Arc<B>> {
        let table = self.table.read();
        let of_name = table
            .get(source)?
            .iter()
            .filter(|(known, _)| known.name.as_str() == name)
            .filter(|(known, _)| told.is_none_or(|told| known.is_for(told)));
        let package = |key: &LinkKey| (key.namespace.to_string(), key.package.to_string());
        let mut found: Option<&(LinkKey, Arc<B>)> = None;
        for entry in of_name {
            if found.is_none_or(|(known, _)| package(known) < package(&entry.0)) {
                found = Some(entry);
            }
        }
        found.map(|(_, backend)| Arc::clone(backend))
    }

    async fn arrival(&self, source: &str, name: &str, package: Option<&str>) -> Arc<B> {
        loop {
            let more = self.more.notified();
            tokio::pin!(more);
            // Registered before the look, so that a put in between is not missed.
            more.as_mut().enable();
            if let Some(backend) = self.find(source, name, package) {
                return backend;
            }
            more.await;
        }
    }

    fn is_given_up(&self, source: &str, name: &str) -> bool {
        let given_up = self.given_up.lock();
        let key = (source.to_owned(), name.to_owned());
        given_up.get(&key).is_some_and(|at| at.elapsed() < GIVEN_UP)
    }

    fn give_up(&self, source: &str, name: &str) {
        let mut given_up = self.given_up.lock();
        if given_up.len() >= MAX_GIVEN_UP {
            given_up.retain(|_, at| at.elapsed() < GIVEN_UP);
        }
        if given_up.len() < MAX_GIVEN_UP {
            given_up.insert((source.to_owned(), name.to_owned()), Instant::now());
        }
    }
}

/// Whether a link may have such names. What anybody can write into a call is not kept otherwise, nor
/// waited for.
fn may_exist(source: &str, name: &str) -> bool {
    source.len().max(name.len()) <= MAX_NAME_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::LinkRole;
    use crate::link::tests::bare;

    fn link(namespace: &str) -> ProviderLink {
        bare(LinkRole::Target, (namespace, "keyvalue"), "cart", "default")
    }

    #[tokio::test(start_paused = true)]
    async fn a_link_with_names_that_none_has_is_neither_waited_for_nor_remembered() {
        let backends = Backends::<i32>::new();
        let began = Instant::now();
        let call = |source: &str, name: &str| {
            let mut context = Context::alone(began + 10 * ON_ITS_WAY);
            context.source_id = Some(source.into());
            context.link_name = name.into();
            context
        };
        let long = "x".repeat(MAX_NAME_BYTES + 1);
        for call in [call(&long, "default"), call("cart", &long)] {
            backends.of(&call).await.unwrap_err();
        }
        assert_eq!(began.elapsed(), Duration::ZERO);
        assert!(backends.given_up.lock().is_empty());
        let longest = "x".repeat(MAX_NAME_BYTES);
        backends.of(&call(&longest, "default")).await.unwrap_err();
        assert!(began.elapsed() >= ON_ITS_WAY);
        assert_eq!(backends.given_up.lock().len(), 1);
    }

    #[test]
    fn links_of_one_name_do_not_take_each_other_along() {
        let backends = Backends::new();
        let [wasi, ours] = ["wasi", "lattice"].map(link);
        backends.put(&wasi, Arc::new(1));
        backends.put(&ours, Arc::new(2));
        assert_eq!(backends.get(&wasi).as_deref(), Some(&1));
        assert_eq!(backends.get(&ours).as_deref(), Some(&2));
        let find = |package| backends.find("cart", "default", package);
        assert_eq!(find(None).as_deref(), Some(&1));
        assert_eq!(backends.named("cart", "default").as_deref(), Some(&1));
        assert!(backends.named("cart", "other").is_none());
        assert!(backends.named("shop", "default").is_none());
        backends.put(&wasi, Arc::new(3));
        assert_eq!(find(None).as_deref(), Some(&3));
        assert_eq!(find(Some("wasi:keyvalue")).as_deref(), Some(&3));
        assert_eq!(find(Some("lattice:keyvalue")).as_deref(), Some(&2));
        assert_eq!(find(Some("wasi:blobstore")), None);
        assert_eq!(backends.delete(&wasi).as_deref(), Some(&3));
        assert_eq!(find(None).as_deref(), Some(&2));
        // A call that tells its link gets none that belongs to another.
        assert_eq!(find(Some("wasi:keyvalue")), None);
        backends.put(&wasi, Arc::new(1));
        assert_eq!(backends.delete(&ours).as_deref(), Some(&2));
        assert_eq!(backends.delete(&ours), None);
        assert_eq!(backends.delete(&wasi).as_deref(), Some(&1));
        assert!(find(None).is_none());
    }
}
