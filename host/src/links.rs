//! The links of the lattice as this host knows them, and the targets that calls find through them.

mod change;
mod deleted_links;
mod diff;
mod of_providers;
mod relink_grace;
mod source;

use std::collections::HashMap;
use std::sync::Arc;

use lattice_core::record::ComponentSpec;
use lattice_core::road::RoadReport;
use lattice_core::subject::RpcPrefix;
use lattice_core::{ComponentId, LatticeName, Link, Locality, RoadCounts};
use lattice_rpc::Invocation;
use parking_lot::{Mutex, RwLock};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::trust::rules::LinkGuard;
pub(crate) use change::Changes;
use deleted_links::DeletedLinks;
use relink_grace::RelinkGrace;
use source::{Kept, Source, beyond};

/// Where calls through one link of one source go. Everything that does not change from call to
/// call is made when the link becomes known.
#[derive(Debug)]
pub(crate) struct Route {
    pub(crate) target: ComponentId,
    /// Counts the roads that calls took.
    pub(crate) roads: Arc<RoadCounts>,
    /// Keeps the rules of the link, if it has some.
    pub(crate) gate: Option<Arc<LinkGuard>>,
    /// Greater than that of any link before; the same for as long as the link stays as it is.
    pub(crate) version: u64,
    source: ComponentId,
    link_name: Box<str>,
    /// The package of the link, where its name alone does not say which link it is.
    package: Option<Box<str>>,
    locality: Locality,
    prefix: RpcPrefix,
    /// Calls by instance and function; the functions that a source imports are few.
    calls: RwLock<Vec<Known>>,
}

#[derive(Debug)]
struct Known {
    instance: Box<str>,
    function: Box<str>,
    call: Invocation,
}

/// How many calls a route keeps; more than any component imports of one interface.
const MAX_CALLS: usize = 256;

impl Route {
    fn new(
        lattice: &LatticeName,
        source: &ComponentId,
        link: &Link,
        target: ComponentId,
        package: Option<Box<str>>,
        kept: &Kept,
    ) -> Self {
        let prefix = RpcPrefix::new(lattice, &target);
        Self {
            target,
            roads: Arc::clone(&kept.roads),
            gate: kept.gate.clone(),
            version: kept.version,
            source: source.clone(),
            link_name: link.name.as_str().into(),
            package,
            locality: link.locality,
            prefix,
            calls: RwLock::default(),
        }
    }

    /// Whether calls may be made with values as they are. Those that go to any server do not stay in
    /// the process, and rules are kept in one way only, where calls are as they stand on the wire.
    pub(crate) fn may_pass_values(&self) -> bool {
        self.gate.is_none() && self.locality != Locality::Spread
    }

    /// A call of a function of the target, to be done by `deadline`.
    pub(crate) fn call(&self, instance: &str, function: &str, deadline: Instant) -> Invocation {
        let known = self.calls.read();
        let same = |known: &&Known| *known.function == *function && *known.instance == *instance;
        if let Some(known) = known.iter().find(same) {
            return known.call.clone().until(deadline);
        }
        drop(known);
        let subject = self.prefix.invocation(instance, function);
        let call = Invocation::new(subject, deadline)
            .source(self.source.as_str())
            .of_function(function)
            .link_name(&self.link_name)
            .locality(self.locality)
            .roads(Arc::clone(&self.roads));
        let call = match &self.package {
            Some(package) => call.link_package(package),
            None => call,
        };
        let mut known = self.calls.write();
        if known.len() < MAX_CALLS {
            known.push(Known {
                instance: instance.into(),
                function: function.into(),
                call: call.clone(),
            });
        }
        call
    }
}

/// Owns the host's copy of all specs. It follows the store and is never written otherwise, but for links that
/// were deleted before they came back to a store that was lost. Both go through [`LinkTable::change`].
#[derive(Debug)]
pub(crate) struct LinkTable {
    lattice: LatticeName,
    /// Locked for no longer than it takes to look something up or to put it in its place: every call
    /// looks here.
    sources: RwLock<HashMap<ComponentId, Arc<Source>>>,
    /// Held by whoever changes the sources, while what is to take their place is made.
    changing: Mutex<()>,
    relink_grace: RelinkGrace,
    deleted_links: DeletedLinks,
    /// Told after each change, for those who wait until the table has caught up with the store.
    version: watch::Sender<u64>,
}

impl LinkTable {
    pub(crate) fn new(lattice: LatticeName) -> Self {
        Self {
            lattice,
            sources: RwLock::default(),
            changing: Mutex::default(),
            relink_grace: RelinkGrace::default(),
            deleted_links: DeletedLinks::default(),
            version: watch::Sender::new(0),
        }
    }

    fn source(&self, id: &ComponentId) -> Option<Arc<Source>> {
        self.sources.read().get(id).cloned()
    }

    /// The sources in the order of their ids.
    fn sorted(&self) -> Vec<(ComponentId, Arc<Source>)> {
        let mut sources: Vec<_> = {
            let sources = self.sources.read();
            let known = sources.iter();
            known
                .map(|(id, source)| (id.clone(), Arc::clone(source)))
                .collect()
        };
        sources.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        sources
    }

    /// Tells of every change from now on.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }

    /// Every link of the records, and why this host does not go by some of them, with their places
    /// among all.
    pub(crate) fn all(&self) -> (Vec<Link>, Vec<(usize, String)>) {
        let (mut all, mut refused) = (Vec::new(), Vec::new());
        for (_, source) in self.sorted() {
            let links = source.links();
            let places = all.len() + source.served().len()..all.len() + links.len();
            refused.extend(places.map(|place| (place, beyond(links.len()))));
            all.extend_from_slice(links);
        }
        (all, refused)
    }

    /// Links that are meant and went lately, for telling of it again.
    pub(crate) fn gone(&self, is_meant: impl Fn(&Link) -> bool) -> Vec<Link> {
        self.deleted_links.meant(is_meant)
    }

    /// Links with this entity at one of their ends that the host goes by.
    pub(crate) fn of(&self, id: &ComponentId) -> Vec<Link> {
        let sources = self.sorted();
        let links = sources.iter().flat_map(|(_, source)| source.served());
        let is_end = |link: &&Link| *id == *link.source_id || *id == *link.target;
        links.filter(is_end).cloned().collect()
    }

    /// The entities with links.
    pub(crate) fn sources(&self) -> Vec<ComponentId> {
        self.sources.read().keys().cloned().collect()
    }

    /// Whether an entity has links.
    pub(crate) fn has(&self, id: &ComponentId) -> bool {
        self.sources.read().contains_key(id)
    }

    /// The record of an entity, for a store that was lost.
    pub(crate) fn spec(&self, id: &ComponentId) -> Option<ComponentSpec> {
        Some(self.source(id)?.spec())
    }

    /// The roads that calls of components of this host have taken, in the order of sources.
    pub(crate) fn roads(&self) -> Vec<RoadReport> {
        let sources = self.sorted();
        let reports = sources.iter().flat_map(|(_, source)| source.reports());
        reports.collect()
    }

    /// Finds where calls of `source` for the interface `lookup` go.
    ///
    /// The answer is a snapshot: a call under way keeps the target it found.
    pub(crate) fn resolve(
        &self,
        source: &ComponentId,
        link_name: &str,
        lookup: &str,
    ) -> Option<Arc<Route>> {
        let sources = self.sources.read();
        sources.get(source)?.route(link_name, lookup).cloned()
    }

    /// As [`LinkTable::resolve`], for a call that found nothing: where the link went a moment ago, it
    /// waits for the one that takes its place, as long as such a call is let wait and no longer than
    /// until `deadline`.
    pub(crate) async fn resolve_soon(
        &self,
        source: &ComponentId,
        link_name: &str,
        lookup: &str,
        deadline: Instant,
    ) -> Option<Arc<Route>> {
        let mut version = self.version.subscribe();
        loop {
            let found = self.resolve(source, link_name, lookup);
            if found.is_some() {
                return found;
            }
            let until = self
                .relink_grace
                .until(source, link_name, lookup)?
                .min(deadline);
            if until <= Instant::now() {
                return None;
            }
            // Whether there is news or time is over shows above.
            let _ = tokio::time::timeout_at(until, version.changed()).await;
        }
    }

    /// Whether calls of `source` for an interface have a target, or may have one in a moment.
    pub(crate) fn leads_somewhere(
        &self,
        source: &ComponentId,
        link_name: &str,
        lookup: &str,
    ) -> bool {
        self.resolve(source, link_name, lookup).is_some()
            || self.relink_grace.until(source, link_name, lookup).is_some()
    }

    /// Waits until the links fulfil a condition.
    pub(crate) async fn until(&self, fulfilled: impl Fn(&[Link]) -> bool, source: &ComponentId) {
        let mut version = self.version.subscribe();
        loop {
            let known = self.source(source);
            if fulfilled(known.as_ref().map_or(&[], |source| source.links())) {
                return;
            }
            if version.changed().await.is_err() {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests;
