//! How many calls run at once, and how many may wait for a turn.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

use crate::error::RemoteError;

/// After how long a wait for a turn the limiter counts as pressed.
const PATIENCE: Duration = Duration::from_millis(100);

/// Bounds the calls that run at once, with a bounded queue in front.
///
/// A call that finds the queue full, or waits longer than the queue's age limit, is refused and
/// has not started. Permits are given back when dropped.
#[derive(Debug)]
pub struct Limiter {
    permits: Arc<Semaphore>,
    size: AtomicUsize,
    /// Permits in use that are to vanish instead of being given back, after the limiter shrank.
    surplus: Arc<AtomicUsize>,
    queued: AtomicUsize,
    /// Those of the queued that wait for their parameters.
    places: AtomicUsize,
    max_queued: usize,
    max_wait: Duration,
    pressed: Notify,
}

/// The right to run one call.
#[derive(Debug)]
pub struct Permit {
    permit: Option<OwnedSemaphorePermit>,
    surplus: Arc<AtomicUsize>,
}

impl Drop for Permit {
    fn drop(&mut self) {
        let fewer = |surplus: usize| surplus.checked_sub(1);
        let vanishes = self
            .surplus
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, fewer);
        if let (Ok(_), Some(permit)) = (vanishes, self.permit.take()) {
            permit.forget();
        }
    }
}

/// What a limiter holds right now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LimiterStats {
    /// How many calls may run at once.
    pub size: usize,
    /// How many permits are free.
    pub free: usize,
    /// How many calls wait.
    pub queued: usize,
}

impl Limiter {
    /// Allows `size` calls at once; `max_queued` more wait, each up to `max_wait`.
    pub fn new(size: usize, max_queued: usize, max_wait: Duration) -> Self {
        let size = size.min(Semaphore::MAX_PERMITS);
        Self {
            permits: Arc::new(Semaphore::new(size)),
            size: AtomicUsize::new(size),
            surplus: Arc::default(),
            queued: AtomicUsize::new(0),
            places: AtomicUsize::new(0),
            max_queued,
            max_wait,
            pressed: Notify::new(),
        }
    }

    /// Waits until a call is refused, or has waited for its turn for a tenth of a second.
    pub(crate) async fn pressed(&self) {
        self.pressed.notified().await;
    }

    /// How many calls more would get their turn at once; 0 when some wait.
    pub(crate) fn room(&self) -> usize {
        if self.lets_wait() {
            return 0;
        }
        self.permits.available_permits()
    }

    /// Whether calls wait for their turn, other than those that wait for their parameters.
    pub(crate) fn lets_wait(&self) -> bool {
        self.queued.load(Ordering::Relaxed) > self.places.load(Ordering::Relaxed)
    }

    /// What is held right now.
    pub fn stats(&self) -> LimiterStats {
        LimiterStats {
            size: self.size.load(Ordering::Relaxed),
            free: self.permits.available_permits(),
            queued: self.queued.load(Ordering::Relaxed),
        }
    }

    /// Allows `size` calls at once from now on. Calls under way go on; when there are more of them
    /// than allowed, no other starts before enough have ended.
    pub fn resize(&self, size: usize) {
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

    fn permit(&self, permit: OwnedSemaphorePermit) -> Permit {
        Permit {
            permit: Some(permit),
            surplus: Arc::clone(&self.surplus),
        }
    }

    /// Waits for a turn, no longer than the queue allows and not past `deadline`.
    ///
    /// # Errors
    ///
    /// An error with the code `overloaded`: the queue is full or the wait too long.
    pub async fn acquire(&self, deadline: Instant) -> Result<Permit, RemoteError> {
        if let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() {
            return Ok(self.permit(permit));
        }
        let waiting = Waiting::enter(&self.queued);
        if waiting.position >= self.max_queued {
            return Err(self.refusal("its queue is full"));
        }
        let now = Instant::now();
        let until = deadline.min(now + self.max_wait);
        let turn = Arc::clone(&self.permits).acquire_owned();
        tokio::pin!(turn);
        let first = timeout_at(until.min(now + PATIENCE), &mut turn).await;
        let turn = match first {
            Ok(turn) => Ok(turn),
            Err(_) => {
                self.pressed.notify_one();
                timeout_at(until, turn).await
            }
        };
        match turn {
            Ok(Ok(permit)) => Ok(self.permit(permit)),
            Ok(Err(_)) => Err(RemoteError::new(RemoteError::STOPPING, "the callee stops")),
            Err(_) => Err(self.refusal("no turn came in time")),
        }
    }

    /// Takes a place in the queue for a call that cannot run yet, as its parameters are on their
    /// way. It counts as one of the queue and waits for no turn meanwhile.
    ///
    /// # Errors
    ///
    /// An error with the code `overloaded`: the queue is full.
    pub(crate) fn place(self: &Arc<Self>) -> Result<Place, RemoteError> {
        let before = self.queued.fetch_add(1, Ordering::Relaxed);
        self.places.fetch_add(1, Ordering::Relaxed);
        let place = Place(Arc::clone(self));
        if before >= self.max_queued {
            return Err(self.refusal("its queue is full"));
        }
        Ok(place)
    }

    fn refusal(&self, why: &str) -> RemoteError {
        self.pressed.notify_one();
        let size = self.size.load(Ordering::Relaxed);
        RemoteError::new(
            RemoteError::OVERLOADED,
            format!("all {size} instances are busy and {why}"),
        )
        .with_hint("raise the component's maximum of instances, or call less often")
    }
}

/// A place in the queue, held until it is dropped.
#[derive(Debug)]
pub(crate) struct Place(Arc<Limiter>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.places.fetch_sub(1, Ordering::Relaxed);
        self.0.queued.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Counts one waiting call, also when its wait is dropped.
struct Waiting<'a> {
    queued: &'a AtomicUsize,
    position: usize,
}

impl<'a> Waiting<'a> {
    fn enter(queued: &'a AtomicUsize) -> Self {
        Self {
            queued,
            position: queued.fetch_add(1, Ordering::Relaxed),
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.queued.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(60)
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_queue_refuses_at_once() {
        let limiter = Limiter::new(1, 0, Duration::from_secs(1));
        let held = limiter.acquire(soon()).await.unwrap();
        let before = Instant::now();
        let refused = limiter.acquire(soon()).await.unwrap_err();
        assert_eq!(refused.code, RemoteError::OVERLOADED);
        assert_eq!(Instant::now(), before);
        drop(held);
        limiter.acquire(soon()).await.unwrap();
    }

    #[tokio::test]
    async fn a_limiter_grows_and_shrinks_under_load() {
        let limiter = Limiter::new(3, 0, Duration::ZERO);
        let mut held = Vec::new();
        for _ in 0..3 {
            held.push(limiter.acquire(soon()).await.unwrap());
        }
        limiter.resize(1);
        assert_eq!((limiter.stats().size, limiter.stats().free), (1, 0));
        held.truncate(1);
        limiter.acquire(soon()).await.unwrap_err();
        held.clear();
        assert_eq!(limiter.stats().free, 1);
        let _one = limiter.acquire(soon()).await.unwrap();
        limiter.resize(0);
        limiter.resize(3);
        assert_eq!((limiter.stats().size, limiter.stats().free), (3, 2));
    }

    #[tokio::test(start_paused = true)]
    async fn a_long_wait_and_a_refusal_press() {
        let limiter = Limiter::new(4, 1, Duration::from_secs(1));
        assert_ne!(limiter.room(), 0);
        let mut held = Vec::new();
        for _ in 0..4 {
            held.push(limiter.acquire(soon()).await.unwrap());
        }
        assert_eq!(limiter.room(), 0);
        let before = Instant::now();
        tokio::select! {
            _ = limiter.acquire(soon()) => panic!("a turn"),
            () = limiter.pressed() => {}
        }
        assert_eq!(before.elapsed().as_millis() / 10, 10);
        let (one, other) = tokio::join!(limiter.acquire(soon()), limiter.acquire(soon()));
        assert!(one.is_err() && other.is_err());
        limiter.pressed().await;
        held.pop();
        assert_ne!(limiter.room(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_ends_at_its_age_limit() {
        let limiter = Limiter::new(1, 4, Duration::from_millis(50));
        let _held = limiter.acquire(soon()).await.unwrap();
        let before = Instant::now();
        limiter.acquire(soon()).await.unwrap_err();
        assert_eq!(before.elapsed().as_millis() / 10, 5);
        assert_eq!(limiter.stats().queued, 0);
    }
}
