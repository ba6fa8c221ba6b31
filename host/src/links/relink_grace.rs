//! Links that went a moment ago. A link moves to another target by being deleted and put: a call in
//! between is meant for the new target, so it waits for a short time instead of failing.

use std::time::Duration;

use lattice_core::ComponentId;
use parking_lot::Mutex;
use tokio::time::Instant;

/// How long after the deletion calls wait for another link: two commands of a shell take a part of it.
pub(super) const GRACE: Duration = Duration::from_secs(1);
/// How many are remembered; calls for more fail at once.
const MOST: usize = 4096;

/// What has just lost its target.
#[derive(Debug)]
struct RemovedImport {
    source: ComponentId,
    link_name: String,
    lookup: String,
    until: Instant,
}

/// What has lost its target in the last second.
#[derive(Debug, Default)]
pub(super) struct RelinkGrace(Mutex<Vec<RemovedImport>>);

impl RelinkGrace {
    /// Remembers interfaces of a source, each with the name of its link.
    pub(super) fn add(&self, source: &ComponentId, gone: impl Iterator<Item = (String, String)>) {
        let now = Instant::now();
        let mut known = self.0.lock();
        known.retain(|gone| gone.until > now);
        let room = MOST.saturating_sub(known.len());
        known.extend(gone.take(room).map(|(link_name, lookup)| RemovedImport {
            source: source.clone(),
            link_name,
            lookup,
            until: now + GRACE,
        }));
    }

    /// Until when a call waits for another link; `None` when it has no reason to.
    pub(super) fn until(
        &self,
        source: &ComponentId,
        link_name: &str,
        lookup: &str,
    ) -> Option<Instant> {
        let now = Instant::now();
        let mut known = self.0.lock();
        known.retain(|gone| gone.until > now);
        let same = known.iter().filter(|gone| {
            gone.source == *source && gone.link_name == link_name && gone.lookup == lookup
        });
        same.map(|gone| gone.until)
            .max()
            .filter(|until| *until > now)
    }
}
