//! What changed between two versions of the links of a source.

use std::collections::HashSet;

use lattice_core::Link;

/// What changed between two versions of a spec.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct LinkDiff {
    pub(crate) removed: Vec<Link>,
    pub(crate) added: Vec<Link>,
}

impl LinkDiff {
    pub(super) fn between(old: &[Link], new: &[Link]) -> Self {
        if old == new {
            return Self::default();
        }
        Self {
            removed: missing_in(new, old),
            added: missing_in(old, new),
        }
    }

    pub(super) fn append(&mut self, other: Self) {
        self.removed.extend(other.removed);
        self.added.extend(other.added);
    }
}

/// Those of `links` that are not among `others`. Rules have no hash, so that links are found by their
/// JSON, in which equal ones are the same.
fn missing_in(others: &[Link], links: &[Link]) -> Vec<Link> {
    // Links always encode.
    let json = |link: &Link| serde_json::to_vec(link).unwrap_or_default();
    let others: HashSet<_> = others.iter().map(json).collect();
    let missing = links.iter().filter(|link| !others.contains(&json(link)));
    missing.cloned().collect()
}
