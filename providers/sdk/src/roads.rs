//! Counts the calls that a provider makes through its links.

use std::collections::HashMap;
use std::sync::Arc;

use lattice_core::RoadCounts;
use lattice_core::road::RoadTally;
use parking_lot::Mutex;

use crate::link::LinkKey;

/// What counts the calls of each link that was called through. Clones share everything.
#[derive(Debug, Clone, Default)]
pub(crate) struct Roads {
    counts: Arc<Mutex<HashMap<LinkKey, Arc<RoadCounts>>>>,
}

impl Roads {
    /// What counts the calls of a link.
    pub(crate) fn of(&self, link: LinkKey) -> Arc<RoadCounts> {
        Arc::clone(self.counts.lock().entry(link).or_default())
    }

    /// What was counted for a link.
    pub(crate) fn tally(&self, link: &LinkKey) -> RoadTally {
        let counts = self.counts.lock();
        counts
            .get(link)
            .map(|counts| counts.report())
            .unwrap_or_default()
    }

    /// Begins anew for a link that takes the place of what it was: its calls go on being counted here.
    pub(crate) fn begin_anew(&self, link: &LinkKey) {
        if let Some(counts) = self.counts.lock().get(link) {
            counts.begin_anew();
        }
    }

    /// Begins anew for a link that is put again, or gone.
    pub(crate) fn forget(&self, link: &LinkKey) {
        self.counts.lock().remove(link);
    }
}
