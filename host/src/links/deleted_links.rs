//! Links that are gone, for those who delete one again. A provider of the 1.9 generation, or one that no
//! host has started, may have been away when it was told, and nobody tells it by itself.

use std::collections::{HashSet, VecDeque};

use lattice_core::Link;
use parking_lot::Mutex;

use super::source::place;

/// How many are remembered: the latest ones.
pub(super) const MOST: usize = 1024;

/// What was taken away last, each place once. Links that were only changed are among them: whoever
/// deletes a link that is there is not answered from here.
#[derive(Debug, Default)]
pub(super) struct DeletedLinks(Mutex<VecDeque<Link>>);

impl DeletedLinks {
    pub(super) fn add(&self, links: &[Link]) {
        if links.is_empty() {
            return;
        }
        let latest = &links[links.len().saturating_sub(MOST)..];
        let places: HashSet<_> = latest.iter().map(place).collect();
        let mut known = self.0.lock();
        known.retain(|link| !places.contains(&place(link)));
        known.extend(latest.iter().cloned());
        let beyond = known.len().saturating_sub(MOST);
        known.drain(..beyond);
    }

    /// Those that are meant, in the order in which they went.
    pub(super) fn meant(&self, is_meant: impl Fn(&Link) -> bool) -> Vec<Link> {
        let known = self.0.lock();
        known
            .iter()
            .filter(|link| is_meant(link))
            .cloned()
            .collect()
    }
}
