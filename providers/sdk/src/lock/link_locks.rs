//! Where the calls of one link are handled.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;

use super::backend::{Granted, Holder, Lease, LockError, Locks, millis};
use super::claim::{Claim, LockName};
use super::limits::Limits;
use crate::backoff::Backoff;

/// How much of the time of a call is left for its answer: a quarter, and at most this.
const SPARE: Duration = Duration::from_millis(250);

/// How often, and from which pause on, an abandoned claim is released.
const ABANDON_TRIES: usize = 4;
const ABANDON_PAUSE: Duration = Duration::from_millis(100);

/// The locks of one link with its limits.
#[derive(Debug)]
pub struct LinkLocks<B> {
    pub(crate) backend: B,
    pub(crate) limits: Limits,
    link_name: String,
    seats: Arc<Semaphore>,
    /// Acquisitions under way.
    tasks: TaskTracker,
    closed: CancellationToken,
    _closed_at_end: DropGuard,
}

/// What a call asks for.
pub(crate) struct Ask {
    pub(crate) store: String,
    pub(crate) name: String,
    pub(crate) ttl_ms: u32,
    pub(crate) wait_ms: u32,
    pub(crate) owner: String,
    /// When the answer has to be there.
    pub(crate) deadline: Instant,
}

impl<B: Locks> LinkLocks<B> {
    pub(crate) fn new(backend: B, limits: Limits, link_name: &str) -> Self {
        let closed = CancellationToken::new();
        Self {
            backend,
            limits,
            link_name: link_name.to_owned(),
            seats: Arc::new(Semaphore::new(limits.waiters)),
            tasks: TaskTracker::new(),
            _closed_at_end: closed.clone().drop_guard(),
            closed,
        }
    }

    /// Ends all waiting: the link goes.
    pub(crate) fn close(&self) {
        self.closed.cancel();
        self.tasks.close();
    }

    /// Waits, when it was closed, until those who waited have left every line, and nothing is held
    /// that nobody knows of.
    pub(crate) async fn finished(&self) {
        self.tasks.wait().await;
    }

    fn place(&self, store: &str, name: &str) -> Result<LockName, LockError> {
        LockName::read(store, name, &self.link_name)
    }

    pub(crate) async fn acquire(self: &Arc<Self>, ask: Ask) -> Result<Lease, LockError> {
        let place = self.place(&ask.store, &ask.name)?;
        let ttl = self.limits.ttl(ask.ttl_ms)?;
        let claim = Claim::new(place, ask.owner)?;
        let until = wait_until(ask.wait_ms, ask.deadline);
        let seat = self.seat(ask.wait_ms)?;
        let token = claim.token();
        // In a task of its own: this future is dropped when the caller gives up, and somebody has
        // to undo what was begun.
        let (answer, answered) = oneshot::channel();
        let link_locks = Arc::clone(self);
        let work = async move {
            let _seat = seat;
            link_locks.acquire_for(claim, ttl, until, answer).await;
        };
        self.tasks.spawn(work.in_current_span());
        let granted = answered.await.unwrap_or_else(|_| Err(self.gone()))?;
        Ok(Lease {
            store: ask.store,
            name: ask.name,
            token,
            fence: granted.fence,
            ttl_ms: millis(granted.ttl),
        })
    }

    async fn acquire_for(
        &self,
        claim: Claim,
        ttl: Duration,
        until: Instant,
        mut answer: oneshot::Sender<Result<Granted, LockError>>,
    ) {
        let acquired = tokio::select! {
            biased;
            () = self.closed.cancelled() => Err(self.gone()),
            () = answer.closed() => Err(LockError::unavailable("the caller is gone")),
            acquired = self.backend.acquire(&claim, ttl, until) => acquired,
        };
        let is_held_by_other = matches!(acquired, Err(LockError::Held(_)));
        let failed = acquired.is_err();
        let heard = answer.send(acquired).is_ok();
        if heard && (!failed || is_held_by_other) {
            return;
        }
        // Got and not wanted any more, or got without our knowing it.
        self.abandon(&claim).await;
    }

    /// Releases what a claim may hold without anybody knowing. If that cannot be done, it ends with
    /// its time.
    async fn abandon(&self, claim: &Claim) {
        let mut backoff = Backoff::new(ABANDON_PAUSE, Duration::from_secs(2));
        for _ in 0..ABANDON_TRIES {
            match self.backend.release(claim).await {
                Ok(()) | Err(LockError::NotHeld) => return,
                Err(error) => {
                    tracing::debug!(error = error.text(), "could not give a lock back");
                    tokio::time::sleep(backoff.delay()).await;
                }
            }
        }
    }

    /// Lets a call wait, if there are not too many that do.
    fn seat(&self, wait_ms: u32) -> Result<Option<OwnedSemaphorePermit>, LockError> {
        if wait_ms == 0 {
            return Ok(None);
        }
        let seat = Arc::clone(&self.seats).try_acquire_owned();
        seat.map(Some).map_err(|_| {
            LockError::unavailable(format!(
                "{} calls wait for locks already, which is the `max_waiters` of the link",
                self.limits.waiters
            ))
        })
    }

    fn gone(&self) -> LockError {
        LockError::unavailable(format!("the link `{}` is gone", self.link_name))
    }

    pub(crate) async fn renew(
        &self,
        store: String,
        token: String,
        ttl_ms: u32,
        owner: String,
    ) -> Result<Lease, LockError> {
        let claim = Claim::of_token(&store, &token, &self.link_name, owner)?;
        let ttl = self.limits.ttl(ttl_ms)?;
        let granted = self.backend.renew(&claim, ttl).await?;
        Ok(Lease {
            store,
            name: claim.place.name,
            token,
            fence: granted.fence,
            ttl_ms: millis(granted.ttl),
        })
    }

    pub(crate) async fn release(
        &self,
        store: &str,
        token: &str,
        owner: String,
    ) -> Result<(), LockError> {
        let claim = Claim::of_token(store, token, &self.link_name, owner)?;
        self.backend.release(&claim).await
    }

    pub(crate) async fn inspect(
        &self,
        store: &str,
        name: &str,
    ) -> Result<Option<Holder>, LockError> {
        self.backend.inspect(&self.place(store, name)?).await
    }
}

/// When a wait ends: early enough for an answer before the deadline.
fn wait_until(wait_ms: u32, deadline: Instant) -> Instant {
    let now = Instant::now();
    let left = deadline.saturating_duration_since(now);
    let longest = left - SPARE.min(left / 4);
    now + longest.min(Duration::from_millis(wait_ms.into()))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::describe::Features;
    use crate::error::LinkError;

    /// Where every lock is held by somebody else, for ever.
    #[derive(Debug, Default)]
    struct Taken {
        waiters: AtomicUsize,
        left: AtomicUsize,
    }

    impl Locks for Taken {
        async fn acquire(&self, _: &Claim, _: Duration, _: Instant) -> Result<Granted, LockError> {
            self.waiters.fetch_add(1, Ordering::Relaxed);
            std::future::pending().await
        }

        async fn renew(&self, _: &Claim, _: Duration) -> Result<Granted, LockError> {
            Err(LockError::NotHeld)
        }

        async fn release(&self, _: &Claim) -> Result<(), LockError> {
            tokio::time::sleep(Duration::from_millis(100)).await;
            self.left.fetch_add(1, Ordering::Relaxed);
            Ok(())
        }

        async fn inspect(&self, _: &LockName) -> Result<Option<Holder>, LockError> {
            Ok(None)
        }

        fn features(&self) -> Features {
            Features::new()
        }

        async fn check(&self) -> Result<(), LinkError> {
            Ok(())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_closed_desk_is_finished_when_all_have_left_their_lines() {
        let settings = crate::Settings::from_texts([], []);
        let limits = Limits::read(&settings, Duration::from_millis(100)).unwrap();
        let link_locks = Arc::new(LinkLocks::new(Taken::default(), limits, "default"));
        let wait = |name: &str| {
            let ask = Ask {
                store: String::new(),
                name: name.to_owned(),
                ttl_ms: 10_000,
                wait_ms: 60_000,
                owner: "cart".to_owned(),
                deadline: Instant::now() + Duration::from_secs(60),
            };
            let link_locks = Arc::clone(&link_locks);
            tokio::spawn(async move { link_locks.acquire(ask).await })
        };
        let waiters = ["a", "a", "b"].map(wait);
        while link_locks.backend.waiters.load(Ordering::Relaxed) < 3 {
            tokio::task::yield_now().await;
        }
        link_locks.close();
        link_locks.finished().await;
        assert_eq!(link_locks.backend.left.load(Ordering::Relaxed), 3);
        for waiter in waiters {
            let ended = waiter.await.unwrap();
            assert!(matches!(ended, Err(LockError::Unavailable(_))), "{ended:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_ends_before_its_deadline() {
        let now = Instant::now();
        let ms = Duration::from_millis;
        assert_eq!(wait_until(0, now + ms(5000)), now);
        assert_eq!(wait_until(100, now + ms(5000)), now + ms(100));
        assert_eq!(wait_until(9000, now + ms(5000)), now + ms(4750));
        assert_eq!(wait_until(9000, now + ms(400)), now + ms(300));
        assert_eq!(wait_until(9000, now), now);
    }
}
