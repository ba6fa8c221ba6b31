//! The road that a call takes.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use lattice_core::RoadCounts;
use lattice_core::road::{Road, Why};

use super::{Exchange, State};
use crate::socket::Line;

impl Exchange {
    /// Notes the line that the request takes, before it does; 0 where it could not after all.
    pub(crate) fn goes_by(&self, line: u32) {
        let before = self.line.swap(line, Ordering::Relaxed);
        if let Some(roads) = &*self.roads.lock() {
            match (before, line) {
                (0, 0) => {}
                (_, 0) => roads.take_back(Road::Socket),
                _ => roads.count(Road::Socket, Why::Nearest),
            }
        }
    }

    /// Has the road that the call takes counted there.
    pub(crate) fn counted_by(&self, roads: Option<&Arc<RoadCounts>>) {
        *self.roads.lock() = roads.cloned();
    }

    /// Counts the road that the request has taken, if that is no line.
    pub(crate) fn count(&self, road: Road, why: Why) {
        if let Some(roads) = &*self.roads.lock() {
            roads.count(road, why);
        }
    }

    /// Counts another road for the request than was counted before.
    pub(crate) fn moved(&self, from: Road, to: Road, why: Why) {
        if let Some(roads) = &*self.roads.lock() {
            roads.take_back(from);
            roads.count(to, why);
        }
    }

    /// Whether the request took the line, so that it may come back over it.
    pub(crate) fn went_by(&self, line: &Line) -> bool {
        self.line.load(Ordering::Relaxed) == line.id()
    }

    /// Whether the other end is reached over a line.
    pub(crate) fn is_over(&self, line: &Line) -> bool {
        self.went_by(line) || self.goes_over(&self.state.lock(), line)
    }

    fn goes_over(&self, state: &State, line: &Line) -> bool {
        let remote = state.remote.as_ref();
        self.went_by(line) || remote.is_some_and(|remote| line.leads_to(&remote.root))
    }

    /// Ends the call if its other end was reached over a line that is no more.
    pub(crate) fn lose(&self, line: &Line) {
        let mut state = self.state.lock();
        if self.goes_over(&state, line) {
            self.lost(&mut state);
            state.wake();
        }
    }
}
