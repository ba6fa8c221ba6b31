//! Telling a queue that stands from one that grows.
//!
//! Callers who ask again when they have their answer make a queue that stands: each of them waits
//! its turn, and none is refused. Where more calls come than can be served, the queue grows until
//! all waits are as long as the limit allows, and everything that is answered is answered late.
//! So once there are more and more calls for half a second, or even the shortest wait of some time is
//! beyond what callers of the first kind mostly bring about, the limiter is *strained*: from then on a
//! call waits no longer than half of the time that one takes to be served, and those for whom that is
//! not enough are refused at once. That ends when none had to be for a second.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use crate::gate::nanos;

/// How long the shortest wait is looked for, and in how many calls at least.
const WINDOW: Duration = Duration::from_millis(100);
const CALLS: u32 = 8;

/// How long after the last refusal the strain is over.
const CALM: Duration = Duration::from_secs(1);

/// For how many windows on end there have to be more and more calls.
const GROWING: u32 = 5;

/// What a call may wait at least: bursts are no strain.
const SHORTEST: Duration = Duration::from_millis(5);

/// Watches the waits of calls.
#[derive(Debug)]
pub(super) struct Strain {
    max_wait: Duration,
    on: AtomicBool,
    /// Times are in nanoseconds since this.
    base: Instant,
    ends: AtomicU64,
    least: AtomicU64,
    calls: AtomicU32,
    refused: AtomicU64,
    /// How many calls waited or ran at the end of the last window, and for how many windows that
    /// number has grown.
    present: AtomicUsize,
    grown: AtomicU32,
}

/// What a limiter knows of its calls.
#[derive(Debug, Clone, Copy)]
pub(super) struct Census {
    /// How long one takes to be served.
    pub(super) service: Duration,
    /// How many wait or run.
    pub(super) present: usize,
}

impl Strain {
    pub(super) fn new(max_wait: Duration) -> Self {
        Self {
            max_wait,
            on: AtomicBool::new(false),
            base: Instant::now(),
            ends: AtomicU64::new(0),
            least: AtomicU64::new(u64::MAX),
            calls: AtomicU32::new(0),
            refused: AtomicU64::new(0),
            present: AtomicUsize::new(0),
            grown: AtomicU32::new(0),
        }
    }

    pub(super) fn is_on(&self) -> bool {
        self.on.load(Ordering::Relaxed)
    }

    /// How long a call may wait under strain; `service` is how long one takes to be served.
    pub(super) fn patience(&self, service: Duration) -> Duration {
        let longest = (self.max_wait / 4).max(SHORTEST);
        (service / 2).clamp(SHORTEST, longest)
    }

    /// What even the shortest wait exceeds where more calls come than can be served.
    fn mark(&self, service: Duration) -> Duration {
        (self.max_wait / 4).max(2 * service)
    }

    /// Takes note of a call's wait. Which of those at the edge of a window count to it does not
    /// matter.
    pub(super) fn note(&self, now: Instant, wait: Duration, census: impl Fn() -> Census) {
        self.least.fetch_min(nanos(wait), Ordering::Relaxed);
        let calls = self.calls.fetch_add(1, Ordering::Relaxed) + 1;
        let ends = self.ends.load(Ordering::Relaxed);
        let time = self.since(now);
        if calls < CALLS || time < ends {
            return;
        }
        let next = time + nanos(WINDOW);
        let ordering = Ordering::Relaxed;
        if self
            .ends
            .compare_exchange(ends, next, ordering, ordering)
            .is_err()
        {
            return;
        }
        self.calls.store(0, ordering);
        let least = Duration::from_nanos(self.least.swap(u64::MAX, ordering));
        let Census { service, present } = census();
        let grows = self.grows(present, calls) && least > self.patience(service);
        if grows || least > self.mark(service) {
            self.refused.store(time, ordering);
            self.on.store(true, ordering);
        } else if time.saturating_sub(self.refused.load(ordering)) > nanos(CALM) {
            self.on.store(false, ordering);
        }
    }

    /// Whether there are more and more calls; `begun` have begun since the last time.
    fn grows(&self, present: usize, begun: u32) -> bool {
        let before = self.present.swap(present, Ordering::Relaxed);
        let grown = if present > before + begun as usize / 20 {
            self.grown.load(Ordering::Relaxed) + 1
        } else {
            0
        };
        self.grown.store(grown, Ordering::Relaxed);
        grown >= GROWING
    }

    /// Takes note of a refusal.
    pub(super) fn refused(&self, now: Instant) {
        self.refused.store(self.since(now), Ordering::Relaxed);
    }

    fn since(&self, now: Instant) -> u64 {
        nanos(now.saturating_duration_since(self.base))
    }
}
