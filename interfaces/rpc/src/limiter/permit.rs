//! The permits of a limiter.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::gate::{Turn, average, nanos};

/// How many calls the time that one takes is the average of, or so.
const RECENT: u64 = 16;

/// The permits, and what is known of those who have one.
#[derive(Debug)]
pub(super) struct Core {
    permits: Semaphore,
    size: AtomicUsize,
    /// Permits in use that are to vanish instead of being given back, after the limiter shrank.
    surplus: AtomicUsize,
    running: AtomicUsize,
    /// How long a call takes from its turn to its end, in nanoseconds; 0 as long as none has ended.
    service: AtomicU64,
    /// How long it takes from one call's end to the next while some wait, in nanoseconds.
    pace: AtomicU64,
    /// When the last call ended, in nanoseconds since `base`; 0 if none waited then.
    left: AtomicU64,
    base: Instant,
    /// How many calls wait.
    pub(super) queued: AtomicUsize,
}

impl Core {
    pub(super) fn new(size: usize) -> Self {
        let size = size.min(Semaphore::MAX_PERMITS);
        Self {
            permits: Semaphore::new(size),
            size: AtomicUsize::new(size),
            surplus: AtomicUsize::new(0),
            running: AtomicUsize::new(0),
            service: AtomicU64::new(0),
            pace: AtomicU64::new(0),
            left: AtomicU64::new(0),
            base: Instant::now(),
            queued: AtomicUsize::new(0),
        }
    }

    pub(super) fn size(&self) -> usize {
        self.size.load(Ordering::Relaxed)
    }

    pub(super) fn free(&self) -> usize {
        self.permits.available_permits()
    }

    pub(super) fn resize(&self, size: usize) {
        let size = size.min(Semaphore::MAX_PERMITS);
        let before = self.size.swap(size, Ordering::Relaxed);
        if size < before {
            let less = before - size;
            let taken = self.permits.forget_permits(less);
            self.surplus.fetch_add(less - taken, Ordering::Relaxed);
            return;
        }
        let mut more = size - before;
        let settle = |surplus: usize| Some(surplus.saturating_sub(more));
        let settled = self
            .surplus
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, settle);
        more -= settled.unwrap_or(0).min(more);
        self.permits.add_permits(more);
    }

    pub(super) fn running(&self) -> usize {
        self.running.load(Ordering::Relaxed)
    }

    /// How long a call takes to be served.
    pub(super) fn service(&self) -> Duration {
        Duration::from_nanos(self.service.load(Ordering::Relaxed))
    }

    /// How long one waits who has `before` others before it, if anything is known of that.
    ///
    /// Told from how long calls take, which is out of date when others run beside them than did,
    /// and from how fast those before them left the queue, which is when the queue was empty for
    /// long: the less of the two.
    pub(super) fn wait_of(&self, before: usize) -> Option<Duration> {
        let running = self.running.load(Ordering::Relaxed) as u64;
        let by_service = self.service.load(Ordering::Relaxed).checked_div(running)?;
        let turn = match self.pace.load(Ordering::Relaxed) {
            0 => by_service,
            pace => by_service.min(pace),
        };
        let wait = turn.saturating_mul(before as u64 + 1);
        (wait > 0).then(|| Duration::from_nanos(wait))
    }

    /// Learns from a call that has ended. One that took very long says little of the next ones.
    fn served(&self, began: Instant) {
        let now = Instant::now();
        let time = now.saturating_duration_since(began);
        let most = match self.service() {
            Duration::ZERO => time,
            before => time.min(before.saturating_mul(4) + Duration::from_millis(1)),
        };
        average(&self.service, most, RECENT);
        let queued = self.queued.load(Ordering::Relaxed) > 0;
        let left = nanos(now.saturating_duration_since(self.base)).max(1);
        let before = self
            .left
            .swap(if queued { left } else { 0 }, Ordering::Relaxed);
        if before > 0 {
            let pace = Duration::from_nanos(left.saturating_sub(before));
            average(&self.pace, pace, RECENT);
        }
    }
}

/// One of the permits, given back when dropped.
#[derive(Debug)]
pub(super) struct Slot(Arc<Core>);

impl Slot {
    pub(super) fn try_take(core: &Arc<Core>) -> Option<Self> {
        core.permits.try_acquire().ok()?.forget();
        Some(Self(Arc::clone(core)))
    }

    pub(super) async fn take(core: &Arc<Core>) -> Self {
        let permit = core.permits.acquire().await;
        permit.expect("the permits are never closed").forget();
        Self(Arc::clone(core))
    }

    /// The call begins that the permit is for.
    pub(super) fn begin(self, now: Instant, turn: Option<Turn>) -> Permit {
        self.0.running.fetch_add(1, Ordering::Relaxed);
        Permit {
            began: now,
            _turn: turn,
            slot: self,
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let core = &*self.0;
        let fewer = |surplus: usize| surplus.checked_sub(1);
        let vanishes = core
            .surplus
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, fewer);
        if vanishes.is_err() {
            core.permits.add_permits(1);
        }
    }
}

/// The right to run one call.
#[derive(Debug)]
pub struct Permit {
    began: Instant,
    slot: Slot,
    _turn: Option<Turn>,
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.slot.0.served(self.began);
        self.slot.0.running.fetch_sub(1, Ordering::Relaxed);
    }
}
