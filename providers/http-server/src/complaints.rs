//! What the log says of requests that failed: no more than a reader can follow, and no more than a
//! server can write that has too much to do already.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::Method;
use http::uri::PathAndQuery;
use lattice_rpc::RemoteError;
use tokio::time::Instant;

use crate::failure::Failure;
use crate::route::Route;

/// For how long further failures of a kind are only counted.
const QUIET: Duration = Duration::from_secs(1);

/// Tells of the failed requests of one route: the first of a kind at once, those that follow within a second with the
/// next one, as a number. Those that are refused for want of room are a kind of their own, so that
/// they hide no others.
#[derive(Debug)]
pub(crate) struct Complaints {
    base: Instant,
    refused: Pace,
    others: Pace,
}

/// Of what happens again and again, the first is told and the others of a second are counted.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    /// When the next one is told, in milliseconds.
    next: AtomicU64,
    untold: AtomicU64,
}

impl Pace {
    /// How many were not told since the last one, if this one is to be told.
    pub(crate) fn turn(&self, now: u64) -> Option<u64> {
        let next = self.next.load(Ordering::Relaxed);
        let later = now + QUIET.as_millis() as u64;
        let is_due = now >= next
            && self
                .next
                .compare_exchange(next, later, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok();
        if is_due {
            return Some(self.untold.swap(0, Ordering::Relaxed));
        }
        self.untold.fetch_add(1, Ordering::Relaxed);
        None
    }
}

/// What is said of a request that failed, kept while the request itself is given away.
pub(crate) struct Described {
    pub(crate) method: Method,
    pub(crate) path: Option<PathAndQuery>,
}

impl Complaints {
    pub(crate) fn new() -> Self {
        Self {
            base: Instant::now(),
            refused: Pace::default(),
            others: Pace::default(),
        }
    }

    pub(crate) fn tell(
        &self,
        described: &Described,
        route: &Route,
        failure: &Failure,
        error: &dyn std::error::Error,
    ) {
        let pace = if failure.code == RemoteError::OVERLOADED {
            &self.refused
        } else {
            &self.others
        };
        let now = u64::try_from(self.base.elapsed().as_millis()).unwrap_or(u64::MAX);
        let Some(untold) = pace.turn(now) else {
            return;
        };
        let path = described.path.as_ref().map_or("", PathAndQuery::path);
        tracing::error!(
            component = %route.key.peer,
            link = %route.key.name,
            method = %described.method,
            path,
            status = failure.status.as_u16(),
            code = %failure.code,
            untold,
            %error,
            "a request failed"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_follows_within_a_second_is_counted() {
        let pace = Pace::default();
        assert_eq!(pace.turn(0), Some(0));
        assert_eq!((pace.turn(1), pace.turn(999)), (None, None));
        assert_eq!(pace.turn(1000), Some(2));
        assert_eq!(pace.turn(1001), None);
        assert_eq!(pace.turn(9000), Some(1));
    }
}
