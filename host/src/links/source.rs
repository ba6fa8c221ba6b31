//! The links of one source, and what is made of them when they become known.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use lattice_core::record::{ComponentSpec, MAX_LINKS};
use lattice_core::road::RoadReport;
use lattice_core::{ComponentId, InvalidId, LatticeName, Link, RoadCounts};

use super::Route;
use crate::trust::rules::LinkGuard;

/// Routes by link name, then by the name interfaces are looked up by.
type Routes = HashMap<String, HashMap<String, Arc<Route>>>;

/// What goes with a link for as long as it stays.
#[derive(Debug, Clone, Default)]
pub(super) struct Kept {
    /// Counts the roads that calls took.
    pub(super) roads: Arc<RoadCounts>,
    /// Keeps the rules of the link, if it has some.
    pub(super) gate: Option<Arc<LinkGuard>>,
    /// Greater than that of any link before; the same for as long as the link stays as it is.
    pub(super) version: u64,
}

impl Kept {
    /// What goes with a link that takes the place of another one, if there was one.
    fn of(link: &Link, before: Option<(&Link, &Self)>) -> Self {
        // Under another locality the old figures would hide what the new one brings about.
        let counting = before.filter(|(known, _)| known.locality == link.locality);
        let same = before.filter(|(known, _)| *known == link);
        Self {
            roads: counting
                .map(|(_, kept)| Arc::clone(&kept.roads))
                .unwrap_or_default(),
            gate: Self::gate(link, before),
            version: same.map_or_else(next_version, |(_, kept)| kept.version),
        }
    }

    /// What keeps the rules of a link: the same as before, if they are the same now.
    fn gate(link: &Link, before: Option<(&Link, &Self)>) -> Option<Arc<LinkGuard>> {
        let Some((known, gate)) =
            before.and_then(|(known, kept)| Some((known, kept.gate.as_ref()?)))
        else {
            return LinkGuard::of(link, None);
        };
        if known.interfaces == link.interfaces && known.rules == link.rules {
            return Some(Arc::clone(gate));
        }
        LinkGuard::of(link, Some(gate.as_ref()))
    }
}

fn next_version() -> u64 {
    static LAST: AtomicU64 = AtomicU64::new(0);
    LAST.fetch_add(1, Ordering::Relaxed) + 1
}

/// What a link is put in the place of another by: its ends, package and name.
type Place<'a> = [&'a str; 5];

pub(super) fn place(link: &Link) -> Place<'_> {
    [
        &link.source_id,
        &link.target,
        &link.name,
        &link.wit_namespace,
        &link.wit_package,
    ]
}

/// The links of one source.
#[derive(Debug, Default)]
pub(super) struct Source {
    url: String,
    links: Vec<Link>,
    /// What goes with each of the links that are served, in the same order.
    kept: Vec<Kept>,
    routes: Routes,
}

impl Source {
    /// Takes over a spec; the links that were there `before` go on counting.
    pub(super) fn new(
        lattice: &LatticeName,
        id: &ComponentId,
        spec: ComponentSpec,
        before: Option<&Self>,
    ) -> Self {
        let ComponentSpec { url, mut links } = spec;
        // States belong to replies; a record should not hold them.
        links.iter_mut().for_each(|link| link.status.clear());
        let known = before.map(Self::by_place).unwrap_or_default();
        let kept: Vec<_> = links
            .iter()
            .take(MAX_LINKS)
            .map(|link| Kept::of(link, known.get(&place(link)).copied()))
            .collect();
        let routes = routes(lattice, id, &links, &kept);
        warn_of_refused(id, &links);
        Self {
            url,
            links,
            kept,
            routes,
        }
    }

    fn by_place(&self) -> HashMap<Place<'_>, (&Link, &Kept)> {
        let mut places = HashMap::with_capacity(self.kept.len());
        for (link, kept) in self.links.iter().zip(&self.kept) {
            // The first one counts, should records of old hosts hold two in one place.
            places.entry(place(link)).or_insert((link, kept));
        }
        places
    }

    /// Every link of the record.
    pub(super) fn links(&self) -> &[Link] {
        &self.links
    }

    /// The links that this host goes by.
    pub(super) fn served(&self) -> &[Link] {
        &self.links[..self.kept.len()]
    }

    /// The record.
    pub(super) fn spec(&self) -> ComponentSpec {
        ComponentSpec {
            url: self.url.clone(),
            links: self.links.clone(),
        }
    }

    /// Whether the record is the same.
    pub(super) fn is(&self, spec: &ComponentSpec) -> bool {
        self.url == spec.url && self.links == spec.links
    }

    pub(super) fn route(&self, link_name: &str, lookup: &str) -> Option<&Arc<Route>> {
        self.routes.get(link_name)?.get(lookup)
    }

    /// The interfaces that have a target here and none in `after`, with the names of their links.
    pub(super) fn lost_in(&self, after: Option<&Self>) -> impl Iterator<Item = (String, String)> {
        let all = self.routes.iter();
        let all = all.flat_map(|(name, routes)| routes.keys().map(move |lookup| (name, lookup)));
        all.filter(move |(name, lookup)| {
            after.is_none_or(|after| after.route(name, lookup).is_none())
        })
        .map(|(name, lookup)| (name.clone(), lookup.clone()))
    }

    /// What was counted for links that were called.
    pub(super) fn reports(&self) -> impl Iterator<Item = RoadReport> {
        let counted = self.links.iter().zip(&self.kept);
        counted.filter_map(|(link, kept)| {
            let roads = kept.roads.report();
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

fn routes(lattice: &LatticeName, id: &ComponentId, links: &[Link], kept: &[Kept]) -> Routes {
    let told = Told::of(&links[..kept.len()]);
    let mut routes = Routes::new();
    let mut ignored = Ignored::default();
    for (link, kept) in links.iter().zip(kept) {
        let target = match link.check().and_then(|_| ComponentId::new(&link.target)) {
            Ok(target) => target,
            Err(error) => {
                ignored.add(error);
                continue;
            }
        };
        let route = Arc::new(Route::new(
            lattice,
            id,
            link,
            target,
            told.package(link),
            kept,
        ));
        let named = routes.entry(link.name.clone()).or_default();
        for lookup in link.lookups() {
            // The first link wins, should records of old hosts hold two for one interface.
            named.entry(lookup).or_insert_with(|| Arc::clone(&route));
        }
    }
    ignored.warn(id);
    routes
}

/// Links with names that are none; a record with many is told of in one line.
#[derive(Debug, Default)]
struct Ignored {
    first: Option<InvalidId>,
    count: usize,
}

impl Ignored {
    fn add(&mut self, error: InvalidId) {
        self.first.get_or_insert(error);
        self.count += 1;
    }

    fn warn(self, id: &ComponentId) {
        if let Some(error) = self.first {
            let count = self.count;
            tracing::warn!(source = id.as_str(), count, %error, "ignored stored links");
        }
    }
}

/// Why a host does not go by the links at the end of a record.
pub(super) fn beyond(links: usize) -> String {
    format!("the record of its source has {links} links, and a host goes by the first {MAX_LINKS}")
}

fn warn_of_refused(id: &ComponentId, links: &[Link]) {
    if let Some(first) = links.get(MAX_LINKS) {
        tracing::error!(
            source = id.as_str(),
            target = first.target,
            name = first.name,
            refused = links.len() - MAX_LINKS,
            "does not go by this link and those behind it: {}",
            beyond(links.len())
        );
    }
}

/// Which calls tell the package of their link: the name of the link, which they tell always, does not
/// say which link is meant where one target has several of that name.
#[derive(Debug, Default)]
struct Told<'a> {
    /// By the name of a link and its target.
    packages: HashMap<(&'a str, &'a str), Packages<'a>>,
}

/// The packages for which one target has links of one name.
#[derive(Debug)]
struct Packages<'a> {
    first: (&'a str, &'a str),
    has_others: bool,
}

impl<'a> Told<'a> {
    fn of(links: &'a [Link]) -> Self {
        let mut told = Self::default();
        for link in links.iter().filter(|link| !is_question(link)) {
            let package = (&*link.wit_namespace, &*link.wit_package);
            let known = told.packages.entry((&link.name, &link.target));
            let known = known.or_insert(Packages {
                first: package,
                has_others: false,
            });
            known.has_others |= known.first != package;
        }
        told
    }

    /// The package that calls through a link tell.
    fn package(&self, link: &Link) -> Option<Box<str>> {
        let packages = self.packages.get(&(&*link.name, &*link.target))?;
        let is_told = packages.has_others && !is_question(link);
        is_told.then(|| format!("{}:{}", link.wit_namespace, link.wit_package).into())
    }
}

/// Whether a link is for a question about another of the same name, of which the provider does not hear.
fn is_question(link: &Link) -> bool {
    (&*link.wit_namespace, &*link.wit_package) == ("lattice", "provider")
}
