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
use super::local_queue::Doubt;
use crate::Backoff;

/// How much of the time of a call is left for its answer: a quarter, and at most this.
const SPARE: Duration = Duration::from_millis(250);

/// How often, and from which pause on, an abandoned claim is released.
const ABANDON_TRIES: usize = 4;
const ABANDON_PAUSE: Duration = Duration::from_millis(100);
/// How long a release may take where the link is closed.
const LAST_RELEASE: Duration = Duration::from_secs(1);

/// What became of an acquisition. Who takes it in says so, since it may be dropped unread.
type Outcome = (Result<Granted, LockError>, oneshot::Sender<()>);

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
            let acquired = link_locks.acquire_for(claim, ttl, until, answer, seat);
            acquired.await;
        };
        self.tasks.spawn(work.in_current_span());
        let (acquired, taken_in) = answered.await.map_err(|_| self.gone())?;
        // Nobody is there to hear it where the task has panicked.
        let _ = taken_in.send(());
        let granted = acquired?;
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
        mut answer: oneshot::Sender<Outcome>,
        seat: Option<OwnedSemaphorePermit>,
    ) {
        let doubt = Doubt::new();
        let acquired = tokio::select! {
            biased;
            () = self.closed.cancelled() => Err(self.gone()),
            () = answer.closed() => Err(LockError::unavailable("the caller is gone")),
            acquired = doubt.about(self.backend.acquire(&claim, ttl, until)) => acquired,
        };
        // It waits no more, and the caller may come back with its next call at once.
        drop(seat);
        let is_sure = matches!(acquired, Ok(_) | Err(LockError::Held(_)));
        let (taken_in, heard) = oneshot::channel();
        let sent = answer.send((acquired, taken_in)).is_ok();
        if sent && is_sure && heard.await.is_ok() {
            return;
        }
        // Got and not wanted any more, or got without our knowing it.
        if doubt.is_left() {
            abandon(&self.backend, &claim, is_sure, &self.closed).await;
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

/// Releases what a claim holds, or may hold without anybody knowing. If that cannot be done, it ends
/// with its time.
///
/// What an attempt that was broken off has written may take effect only after a release, which finds
/// nothing then. So it is released again, unless it `is_sure` what became of the attempt: up to the
/// last try, and once where the link is `closed`, since its provider may have little time left.
pub(super) async fn abandon<B: Locks>(
    backend: &B,
    claim: &Claim,
    is_sure: bool,
    closed: &CancellationToken,
) {
    let mut backoff = Backoff::new(ABANDON_PAUSE, Duration::from_secs(2));
    for tries in 1..=ABANDON_TRIES {
        let released = tokio::select! {
            biased;
            released = backend.release(claim) => released,
            () = over(closed) => Err(LockError::unavailable("no answer came before the end")),
        };
        let is_last = tries == ABANDON_TRIES || (tries > 1 && closed.is_cancelled());
        match released {
            Ok(()) => return,
            Err(LockError::NotHeld) if is_sure => return,
            Err(LockError::NotHeld) => {}
            Err(error) => tracing::debug!(error = error.text(), "could not give a lock back"),
        }
        if is_last {
            return;
        }
        tokio::time::sleep(backoff.delay()).await;
    }
}

/// Ends some time after the link was closed.
async fn over(closed: &CancellationToken) {
    closed.cancelled().await;
    tokio::time::sleep(LAST_RELEASE).await;
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
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    use futures::FutureExt as _;
    use tokio::sync::Notify;

    use super::*;
    use crate::describe::Features;
    use crate::error::LinkError;
    use crate::lock::local_queue::{Attempt, LocalQueue};

    /// Where every lock is held by somebody else, for ever.
    #[derive(Debug, Default)]
    struct Taken {
        waiters: AtomicUsize,
        left: AtomicUsize,
        /// Where they stand in line, if that is not at the backend.
        line: Option<LocalQueue>,
    }

    impl Locks for Taken {
        async fn acquire(
            &self,
            _: &Claim,
            _: Duration,
            until: Instant,
        ) -> Result<Granted, LockError> {
            self.waiters.fetch_add(1, Ordering::Relaxed);
            let attempt = || async {
                let holder = Holder {
                    owner: "other".to_owned(),
                    fence: 1,
                    expires_in_ms: None,
                };
                Ok(Attempt::Held { holder, ends: None })
            };
            match &self.line {
                Some(line) => line.enter("a", until, attempt).await,
                None => std::future::pending().await,
            }
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

    /// Where a free lock is got some time after it was asked for, whether or not anybody waits for
    /// that; the answer comes only where it takes no time.
    #[derive(Debug)]
    struct Late {
        takes: Duration,
        asked: Notify,
        is_held: Arc<AtomicBool>,
        given_back: AtomicUsize,
    }

    impl Late {
        fn new(takes: Duration) -> Self {
            Self {
                takes,
                asked: Notify::new(),
                is_held: Arc::default(),
                given_back: AtomicUsize::new(0),
            }
        }
    }

    impl Locks for Late {
        async fn acquire(
            &self,
            _: &Claim,
            ttl: Duration,
            _: Instant,
        ) -> Result<Granted, LockError> {
            self.asked.notify_one();
            if self.takes.is_zero() {
                self.is_held.store(true, Ordering::Relaxed);
                return Ok(Granted { fence: 1, ttl });
            }
            let (takes, is_held) = (self.takes, Arc::clone(&self.is_held));
            tokio::spawn(async move {
                tokio::time::sleep(takes).await;
                is_held.store(true, Ordering::Relaxed);
            });
            std::future::pending().await
        }

        async fn renew(&self, _: &Claim, _: Duration) -> Result<Granted, LockError> {
            Err(LockError::NotHeld)
        }

        async fn release(&self, _: &Claim) -> Result<(), LockError> {
            if !self.is_held.swap(false, Ordering::Relaxed) {
                return Err(LockError::NotHeld);
            }
            self.given_back.fetch_add(1, Ordering::Relaxed);
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

    fn of<B: Locks>(backend: B) -> Arc<LinkLocks<B>> {
        let settings = crate::Settings::from_texts([], []);
        let limits = Limits::read(&settings, Duration::from_millis(100)).unwrap();
        Arc::new(LinkLocks::new(backend, limits, "default"))
    }

    fn ask(name: &str) -> Ask {
        Ask {
            store: String::new(),
            name: name.to_owned(),
            ttl_ms: 10_000,
            wait_ms: 60_000,
            owner: "cart".to_owned(),
            deadline: Instant::now() + Duration::from_secs(60),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_takes_effect_after_its_attempt_was_broken_off_is_given_back() {
        for (is_closed, takes) in [(false, 50), (false, 500), (true, 50)] {
            let link_locks = of(Late::new(Duration::from_millis(takes)));
            let asking = Arc::clone(&link_locks);
            let caller = tokio::spawn(async move { asking.acquire(ask("a")).await });
            link_locks.backend.asked.notified().await;
            if is_closed {
                link_locks.close();
            } else {
                caller.abort();
                link_locks.tasks.close();
            }
            link_locks.finished().await;
            let given_back = link_locks.backend.given_back.load(Ordering::Relaxed);
            assert_eq!(given_back, 1, "{is_closed}, {takes} ms");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_goes_away_from_a_line_that_is_kept_here_has_nothing_to_give_back() {
        let link_locks = of(Taken {
            line: Some(LocalQueue::new()),
            ..Taken::default()
        });
        let wait = || {
            let link_locks = Arc::clone(&link_locks);
            tokio::spawn(async move { link_locks.acquire(ask("a")).await })
        };
        let waiters = [wait(), wait()];
        while link_locks.backend.waiters.load(Ordering::Relaxed) < 2 {
            tokio::task::yield_now().await;
        }
        for waiter in waiters {
            waiter.abort();
        }
        link_locks.tasks.close();
        link_locks.finished().await;
        assert_eq!(link_locks.backend.left.load(Ordering::Relaxed), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn who_goes_away_leaves_its_seat_before_anything_is_given_back() {
        let link_locks = of(Late::new(Duration::from_millis(500)));
        let free = link_locks.seats.available_permits();
        let asking = Arc::clone(&link_locks);
        let caller = tokio::spawn(async move { asking.acquire(ask("a")).await });
        link_locks.backend.asked.notified().await;
        let begun = Instant::now();
        caller.abort();
        while link_locks.seats.available_permits() < free {
            assert!(begun.elapsed() < Duration::from_millis(50));
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert!(!link_locks.tasks.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_lock_whose_answer_nobody_takes_in_is_given_back() {
        let link_locks = of(Late::new(Duration::ZERO));
        let mut call = Box::pin(link_locks.acquire(ask("a")));
        assert!(call.as_mut().now_or_never().is_none());
        // The answer is sent before anything else is waited for.
        link_locks.backend.asked.notified().await;
        drop(call);
        link_locks.tasks.close();
        link_locks.finished().await;
        assert_eq!(link_locks.backend.given_back.load(Ordering::Relaxed), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_closed_desk_is_finished_when_all_have_left_their_lines() {
        let link_locks = of(Taken::default());
        let wait = |name: &str| {
            let ask = ask(name);
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
