//! Telling of what is refused, as much of it as a reader can follow.
//!
//! It is done where the log is read: nothing waits in between that one could fill for the others. Each user
//! has room of their own, and of each sort of subjects ([`what`](super::what)) the first is told at once, and
//! those that follow within a second together, by name as far as there is room. What is more at a time than a
//! reader can follow waits for the next time.

use lattice_core::event::BusRefused;
use lattice_rpc::throttle::{FairThrottle, MAX_TOLD, THROTTLE_WINDOW};
use parking_lot::Mutex;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::line;
use super::what::{Known, What};
use crate::events::QUEUE;

/// How many users are told apart at the same time.
const MAX_USERS: usize = 64;
/// How many sorts of one user are.
const MAX_SORTS: usize = 512;
/// How many subjects are named with another of their sort.
pub(super) const MAX_ALSO: usize = 16;

/// What is told at a time leaves room for other events.
const _: () = assert!(MAX_TOLD <= QUEUE / 8);

/// Whose it is, as the server names them; what they did; and to what.
type Throttle = FairThrottle<Option<String>, (String, What), BusRefused>;

/// What is told of the lines of a log.
pub(super) struct Telling {
    known: Known,
    throttle: Mutex<Throttle>,
    tell: Box<dyn Fn(BusRefused) + Send + Sync>,
}

impl Telling {
    pub(super) fn new(known: Known, tell: impl Fn(BusRefused) + Send + Sync + 'static) -> Self {
        Self {
            known,
            throttle: Mutex::new(FairThrottle::new(MAX_USERS, MAX_SORTS)),
            tell: Box::new(tell),
        }
    }

    /// Takes in a line of the log.
    pub(super) fn take(&self, line: &str) {
        let Some(refused) = line::read(line) else {
            return;
        };
        let sort = (refused.action.clone(), self.known.what(&refused.subject));
        let key = (refused.user.clone(), sort);
        let now = Instant::now();
        let due = self.throttle.lock().note(key, refused, 0, now, joined);
        if let Some((refused, untold)) = due {
            self.tell(refused, untold);
        }
    }

    /// Tells what was counted long enough, again and again.
    pub(super) async fn sweep_on(&self) {
        let mut ticks = interval(THROTTLE_WINDOW / 4);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let mut due = Vec::new();
            let counted = |refused, untold| due.push((refused, untold));
            self.throttle.lock().sweep(Instant::now(), counted);
            for (refused, untold) in due {
                self.tell(refused, untold);
            }
        }
    }

    fn tell(&self, refused: BusRefused, suppressed: u64) {
        (self.tell)(BusRefused {
            suppressed,
            ..refused
        });
    }
}

/// What is told for one that waits and a later one: the later, with the names of those before it.
pub(super) fn joined(earlier: BusRefused, later: BusRefused) -> BusRefused {
    // Where there is no room to keep users or sorts apart, one is told for all: what another has tried is not
    // to stand in its name, and is only counted.
    if (&earlier.user, &earlier.action) != (&later.user, &later.action) {
        return later;
    }
    let mut also = earlier.also;
    for subject in std::iter::once(earlier.subject).chain(later.also) {
        if also.len() < MAX_ALSO && !also.contains(&subject) {
            also.push(subject);
        }
    }
    also.retain(|subject| *subject != later.subject);
    BusRefused { also, ..later }
}

#[cfg(test)]
mod tests;
