//! The one way in which the table changes.

use std::sync::Arc;

use lattice_core::record::ComponentSpec;
use lattice_core::{ComponentId, Link};
use lattice_store::LatticeSnapshot;

use super::LinkTable;
use super::diff::LinkDiff;
use super::source::Source;

/// The records that take the place of those of their entities, in order; none for one that is gone.
pub(crate) type Changes = Vec<(ComponentId, Option<ComponentSpec>)>;

impl LinkTable {
    /// Takes changes over, and tells what they come to. They are made here, while nobody else changes
    /// anything: what a change was made from is still so when it is taken over.
    pub(crate) fn change(&self, make: impl FnOnce() -> Changes) -> LinkDiff {
        let changing = self.changing.lock();
        let changes = make();
        let is_any = !changes.is_empty();
        let mut diff = LinkDiff::default();
        for (id, spec) in changes {
            diff.append(self.set(&id, spec));
        }
        if is_any {
            // Before the next one, which may have to know whether there was one.
            self.version.send_modify(|version| *version += 1);
        }
        drop(changing);
        diff
    }

    /// What a complete state of the store changes. What is missing in it is gone, unless the store was
    /// lost: then the last good state of what was not deleted since is kept.
    pub(crate) fn as_in(&self, snapshot: &mut LatticeSnapshot) -> Changes {
        let specs = std::mem::take(&mut snapshot.specs);
        let lost = |id: &ComponentId| snapshot.fresh && !snapshot.deleted.contains(id);
        let kept = |id: &ComponentId| {
            lost(id) || specs.contains_key(id) || snapshot.unreadable.contains(id)
        };
        let gone = self.sources().into_iter().filter(|id| !kept(id));
        let mut changes: Changes = gone.map(|id| (id, None)).collect();
        changes.extend(specs.into_iter().map(|(id, spec)| (id, Some(spec))));
        changes
    }

    /// What it changes that a source has some of its links no more.
    pub(crate) fn without(&self, id: &ComponentId, is_meant: impl Fn(&Link) -> bool) -> Changes {
        let Some(mut spec) = self.spec(id) else {
            return Changes::new();
        };
        spec.links.retain(|link| !is_meant(link));
        vec![(id.clone(), Some(spec))]
    }

    /// Puts another source, or none, in the place of one; the caller holds `changing`.
    fn set(&self, id: &ComponentId, spec: Option<ComponentSpec>) -> LinkDiff {
        let old = self.source(id);
        let is_same = match (&old, &spec) {
            (Some(old), Some(spec)) => old.is(spec),
            (old, spec) => old.is_none() && spec.is_none(),
        };
        if is_same {
            return LinkDiff::default();
        }
        let old = old.as_deref();
        let new = spec.map(|spec| Arc::new(Source::new(&self.lattice, id, spec, old)));
        if let Some(old) = old {
            // Before calls find nothing any more.
            self.relink_grace.add(id, old.lost_in(new.as_deref()));
        }
        let diff = LinkDiff::between(links(old), links(new.as_deref()));
        self.deleted_links.add(&diff.removed);
        let mut sources = self.sources.write();
        match new {
            Some(new) => sources.insert(id.clone(), new),
            None => sources.remove(id),
        };
        diff
    }
}

fn links(source: Option<&Source>) -> &[Link] {
    source.map_or(&[][..], |source| source.links())
}
