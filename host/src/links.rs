//! The links of the lattice as this host knows them, and the targets that calls find through them.

mod lately;
mod of_providers;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use lattice_core::record::ComponentSpec;
use lattice_core::road::RoadReport;
use lattice_core::subject::RpcPrefix;
use lattice_core::{ComponentId, LatticeName, Link, Locality, RoadCounts};
use lattice_rpc::Invocation;
use lattice_store::LatticeSnapshot;
use parking_lot::RwLock;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::trust::rules::Gate;
use lately::Lately;

/// Where calls through one link of one source go. Everything that does not change from call to
/// call is made when the link becomes known.
#[derive(Debug)]
pub(crate) struct Route {
    pub(crate) target: ComponentId,
    /// Counts the roads that calls took.
    pub(crate) roads: Arc<RoadCounts>,
    /// Keeps the rules of the link, if it has some.
    pub(crate) gate: Option<Arc<Gate>>,
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
        (roads, gate, version): (Arc<RoadCounts>, Option<Arc<Gate>>, u64),
    ) -> Self {
        let prefix = RpcPrefix::new(lattice, &target);
        Self {
            target,
            roads,
            gate,
            version,
            source: source.clone(),
            link_name: link.name.as_str().into(),
            package,
            locality: link.locality,
            prefix,
            calls: RwLock::default(),
        }
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

/// Routes by link name, then by the name interfaces are looked up by.
type Routes = HashMap<String, HashMap<String, Arc<Route>>>;

/// The links of one source.
#[derive(Debug, Default)]
struct Source {
    links: Vec<Link>,
    /// What counts the calls of each of the links, in the same order.
    roads: Vec<Arc<RoadCounts>>,
    /// What keeps the rules of each, likewise.
    gates: Vec<Option<Arc<Gate>>>,
    routes: Routes,
}

impl Source {
    /// Takes over links; those that were there `before` go on counting.
    fn new(
        lattice: &LatticeName,
        source: &ComponentId,
        links: Vec<Link>,
        before: Option<&Self>,
    ) -> Self {
        let counting = |link: &Link| before.and_then(|before| before.counting(link));
        let roads: Vec<_> = links
            .iter()
            .map(|link| counting(link).unwrap_or_default())
            .collect();
        let gates: Vec<_> = links.iter().map(|link| Self::gate(link, before)).collect();
        let mut routes = Routes::new();
        for ((link, roads), gate) in links.iter().zip(&roads).zip(&gates) {
            let target = match link.check().and_then(|_| ComponentId::new(&link.target)) {
                Ok(target) => target,
                Err(error) => {
                    tracing::warn!(source = link.source_id, %error, "ignored a stored link");
                    continue;
                }
            };
            let version = before.and_then(|before| before.version(link));
            let parts = (
                Arc::clone(roads),
                gate.clone(),
                version.unwrap_or_else(next_version),
            );
            let package = told_package(link, &links);
            let route = Route::new(lattice, source, link, target, package, parts);
            let route = Arc::new(route);
            let named = routes.entry(link.name.clone()).or_default();
            for lookup in link.lookups() {
                // The first link wins, should records of old hosts hold two for one interface.
                named.entry(lookup).or_insert_with(|| Arc::clone(&route));
            }
        }
        Self {
            links,
            roads,
            gates,
            routes,
        }
    }

    /// What keeps the rules of a link: the same as before, if they are the same now.
    fn gate(link: &Link, before: Option<&Self>) -> Option<Arc<Gate>> {
        let (known, gate) = before.and_then(|before| before.keeping(link)).unzip();
        let is_same =
            |known: &Link| known.interfaces == link.interfaces && known.rules == link.rules;
        match gate {
            Some(gate) if known.is_some_and(is_same) => Some(Arc::clone(gate)),
            gate => Gate::of(link, gate.map(AsRef::as_ref)),
        }
    }

    /// The link in whose place another is put, and what keeps its rules.
    fn keeping(&self, link: &Link) -> Option<(&Link, &Arc<Gate>)> {
        let place = self.links.iter().position(|known| known.replaces(link))?;
        let gate = self.gates.get(place)?.as_ref()?;
        Some((&self.links[place], gate))
    }

    /// What counts the calls of a link, if it goes the same ways now. Under another locality the
    /// old figures would hide what the new one brings about.
    fn counting(&self, link: &Link) -> Option<Arc<RoadCounts>> {
        let same = |known: &Link| known.replaces(link) && known.locality == link.locality;
        let place = self.links.iter().position(same)?;
        self.roads.get(place).cloned()
    }

    /// The version of a link, if it is the same now.
    fn version(&self, link: &Link) -> Option<u64> {
        let same = self.links.iter().find(|known| *known == link)?;
        let routes = self.routes.get(&same.name)?;
        let route = same.lookups().find_map(|lookup| routes.get(&lookup))?;
        Some(route.version)
    }

    /// The interfaces that have a target here and none in `after`, with the names of their links.
    fn lost_in(&self, after: Option<&Self>) -> impl Iterator<Item = (String, String)> {
        let all = self.routes.iter();
        let all = all.flat_map(|(name, routes)| routes.keys().map(move |lookup| (name, lookup)));
        all.filter(move |(name, lookup)| {
            let routes = after.and_then(|after| after.routes.get(*name));
            routes.is_none_or(|routes| !routes.contains_key(*lookup))
        })
        .map(|(name, lookup)| (name.clone(), lookup.clone()))
    }

    /// What was counted for links that were called.
    fn reports(&self) -> impl Iterator<Item = RoadReport> {
        let counted = self.links.iter().zip(&self.roads);
        counted.filter_map(|(link, counts)| {
            let roads = counts.report();
            (!roads.is_empty()).then(|| RoadReport {
                source_id: link.source_id.clone(),
                target: link.target.clone(),
                wit_namespace: link.wit_namespace.clone(),
                wit_package: link.wit_package.clone(),
                name: link.name.clone(),
                roads,
            })
        })
    }
}

fn next_version() -> u64 {
    static LAST: AtomicU64 = AtomicU64::new(0);
    LAST.fetch_add(1, Ordering::Relaxed) + 1
}

/// The package that calls through a link tell: the name of the link, which they tell always, does not
/// say which link is meant where one target has several of that name.
fn told_package(link: &Link, links: &[Link]) -> Option<Box<str>> {
    // A question about a link of the same name, of which the provider does not hear.
    let is_question =
        |link: &Link| (&*link.wit_namespace, &*link.wit_package) == ("lattice", "provider");
    let is_other = |other: &Link| {
        let same_place = other.name == link.name && other.target == link.target;
        let same_package =
            other.wit_namespace == link.wit_namespace && other.wit_package == link.wit_package;
        same_place && !same_package && !is_question(other)
    };
    let is_told = !is_question(link) && links.iter().any(is_other);
    is_told.then(|| format!("{}:{}", link.wit_namespace, link.wit_package).into())
}

/// What changed between two versions of a spec.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct LinkDiff {
    pub(crate) removed: Vec<Link>,
    pub(crate) added: Vec<Link>,
}

impl LinkDiff {
    fn between(old: &[Link], new: &[Link]) -> Self {
        let missing_in = |others: &[Link], link: &&Link| !others.contains(link);
        Self {
            removed: old
                .iter()
                .filter(|link| missing_in(new, link))
                .cloned()
                .collect(),
            added: new
                .iter()
                .filter(|link| missing_in(old, link))
                .cloned()
                .collect(),
        }
    }

    fn append(&mut self, other: Self) {
        self.removed.extend(other.removed);
        self.added.extend(other.added);
    }
}

/// Owns the host's copy of all specs. It follows the store and is never written otherwise.
#[derive(Debug)]
pub(crate) struct LinkTable {
    lattice: LatticeName,
    sources: RwLock<HashMap<ComponentId, Arc<Source>>>,
    lately: Lately,
    /// Told after each change, for those who wait until the table has caught up with the store.
    version: watch::Sender<u64>,
}

impl LinkTable {
    pub(crate) fn new(lattice: LatticeName) -> Self {
        Self {
            lattice,
            sources: RwLock::default(),
            lately: Lately::default(),
            version: watch::Sender::new(0),
        }
    }

    /// Takes over a spec.
    pub(crate) fn put(&self, id: &ComponentId, spec: ComponentSpec) -> LinkDiff {
        let mut sources = self.sources.write();
        let diff = self.put_locked(&mut sources, id, spec.links);
        drop(sources);
        self.changed();
        diff
    }

    /// Forgets a spec.
    pub(crate) fn remove(&self, id: &ComponentId) -> LinkDiff {
        let mut sources = self.sources.write();
        let removed = sources.remove(id);
        if let Some(removed) = &removed {
            self.lately.add(id, removed.lost_in(None));
        }
        drop(sources);
        self.changed();
        LinkDiff::between(removed.as_ref().map_or(&[], |source| &source.links), &[])
    }

    /// Takes over the complete state of the store. What is missing in it is gone, unless the store
    /// was lost: then the last good state is kept.
    pub(crate) fn resync(&self, snapshot: &mut LatticeSnapshot) -> LinkDiff {
        let specs = std::mem::take(&mut snapshot.specs);
        let mut sources = self.sources.write();
        let mut diff = LinkDiff::default();
        let kept = |id: &ComponentId| {
            snapshot.fresh || specs.contains_key(id) || snapshot.unreadable.contains(id)
        };
        let gone: Vec<_> = sources.keys().filter(|id| !kept(id)).cloned().collect();
        for id in gone {
            if let Some(source) = sources.remove(&id) {
                self.lately.add(&id, source.lost_in(None));
                diff.append(LinkDiff::between(&source.links, &[]));
            }
        }
        for (id, spec) in specs {
            diff.append(self.put_locked(&mut sources, &id, spec.links));
        }
        drop(sources);
        self.changed();
        diff
    }

    fn put_locked(
        &self,
        sources: &mut HashMap<ComponentId, Arc<Source>>,
        id: &ComponentId,
        mut links: Vec<Link>,
    ) -> LinkDiff {
        // States belong to replies; a record should not hold them.
        links.iter_mut().for_each(|link| link.status.clear());
        let old = sources.get(id);
        let diff = LinkDiff::between(old.map_or(&[], |source| &source.links), &links);
        if old.is_none_or(|source| source.links != links) {
            let source = Source::new(&self.lattice, id, links, old.map(AsRef::as_ref));
            if let Some(old) = old {
                self.lately.add(id, old.lost_in(Some(&source)));
            }
            sources.insert(id.clone(), Arc::new(source));
        }
        diff
    }

    fn changed(&self) {
        self.version.send_modify(|version| *version += 1);
    }

    /// Tells of every change from now on.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }

    /// Every link.
    pub(crate) fn all(&self) -> Vec<Link> {
        self.select(|_| true)
    }

    /// Links with this entity at one of their ends.
    pub(crate) fn of(&self, id: &ComponentId) -> Vec<Link> {
        self.select(|link| *id == *link.source_id || *id == *link.target)
    }

    /// The specs, for a store that was lost.
    pub(crate) fn sources(&self) -> Vec<ComponentId> {
        self.sources.read().keys().cloned().collect()
    }

    fn select(&self, wanted: impl Fn(&Link) -> bool) -> Vec<Link> {
        let sources = self.sources.read();
        let mut ids: Vec<_> = sources.keys().collect();
        ids.sort_unstable();
        let links = ids.into_iter().flat_map(|id| &sources[id].links);
        links.filter(|link| wanted(link)).cloned().collect()
    }

    /// The roads that calls of components of this host have taken, in the order of sources.
    pub(crate) fn roads(&self) -> Vec<RoadReport> {
        let mut sources: Vec<_> = {
            let sources = self.sources.read();
            let known = sources.iter();
            known
                .map(|(id, source)| (id.clone(), Arc::clone(source)))
                .collect()
        };
        sources.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        sources
            .iter()
            .flat_map(|(_, source)| source.reports())
            .collect()
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
        sources
            .get(source)?
            .routes
            .get(link_name)?
            .get(lookup)
            .cloned()
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
            let until = self.lately.until(source, link_name, lookup)?.min(deadline);
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
            || self.lately.until(source, link_name, lookup).is_some()
    }

    /// Waits until the links fulfil a condition.
    pub(crate) async fn until(&self, fulfilled: impl Fn(&[Link]) -> bool, source: &ComponentId) {
        let mut version = self.version.subscribe();
        loop {
            let known = self.sources.read().get(source).cloned();
            if fulfilled(known.as_ref().map_or(&[], |source| &source.links)) {
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
