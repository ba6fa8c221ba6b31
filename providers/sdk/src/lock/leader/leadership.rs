//! A leadership that a candidate has won, and how it is kept.

use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::LOST_LIMIT;
use crate::lock::backend::{Granted, LockError, Locks};
use crate::lock::claim::Claim;

/// How often it is looked whether the machine was asleep.
const LOOK: Duration = Duration::from_secs(1);
/// By how much the clocks may differ from one look to the next.
const TOLERANCE: Duration = Duration::from_secs(1);

/// A leadership that was won.
pub(super) struct Leadership {
    pub(super) claim: Claim,
    pub(super) fence: u64,
    pub(super) ttl: Duration,
    /// Until when it surely lasts.
    valid: Instant,
    /// When it is to be renewed.
    next: Instant,
    clocks: Clocks,
}

/// Why a leadership ended.
pub(super) enum End {
    /// We are to stop.
    Stopped,
    /// It is another's now, or may be soon.
    Lost,
    /// The component does not want it, or has never heard of it.
    Declined,
    /// Nobody knows what the component made of it.
    Unknown,
}

impl Leadership {
    pub(super) fn new(claim: Claim, asked: Instant, granted: Granted) -> Self {
        Self {
            claim,
            fence: granted.fence,
            ttl: granted.ttl,
            valid: asked + granted.ttl,
            next: asked + granted.ttl / 3,
            clocks: Clocks::now(),
        }
    }

    /// When the component has to be told that the leadership is as good as lost: it needs some of the
    /// time that is left to stop.
    pub(super) fn in_doubt(&self) -> Instant {
        self.valid - (self.ttl / 4).min(LOST_LIMIT)
    }

    /// Takes the time off in which the machine was asleep.
    fn age(&mut self) {
        let slept = self.clocks.slept();
        let now = Instant::now();
        let sooner = |at: Instant| at.checked_sub(slept).unwrap_or(now);
        (self.valid, self.next) = (sooner(self.valid), sooner(self.next));
    }

    /// Renews the lease for `ttl` again and again, until that is not possible or not wanted any more.
    /// May be dropped and called again: what is due then is done at once.
    pub(super) async fn keep(
        &mut self,
        locks: &impl Locks,
        ttl: Duration,
        stop: &CancellationToken,
        trouble: &Trouble,
    ) -> End {
        loop {
            // The pause after a failure may be longer than the time that is left.
            let wake = self.next.min(self.in_doubt()).min(Instant::now() + LOOK);
            tokio::select! {
                biased;
                () = stop.cancelled() => return End::Stopped,
                () = tokio::time::sleep_until(wake) => {}
            }
            self.age();
            let asked = Instant::now();
            if asked >= self.in_doubt() {
                return End::Lost;
            }
            if asked < self.next {
                continue;
            }
            let renewal = locks.renew(&self.claim, ttl);
            match tokio::time::timeout_at(self.in_doubt(), renewal).await {
                Ok(Ok(granted)) => {
                    trouble.note(None);
                    self.valid = asked + granted.ttl;
                    self.ttl = granted.ttl;
                    self.next = asked + granted.ttl / 3;
                }
                Ok(Err(LockError::NotHeld)) | Err(_) => return End::Lost,
                Ok(Err(error)) => {
                    trouble.note(Some(&error));
                    self.next = Instant::now() + self.ttl / 12;
                }
            }
        }
    }
}

/// What tells whether the machine was asleep: [`Instant`] stands still then, and the lease runs on.
#[derive(Debug)]
struct Clocks {
    at: Instant,
    wall: SystemTime,
}

impl Clocks {
    fn now() -> Self {
        Self {
            at: Instant::now(),
            wall: SystemTime::now(),
        }
    }

    /// For how long the machine was asleep since the last look. That somebody has put its clock forward looks
    /// the same: a leadership is better given up too early than kept too long.
    fn slept(&mut self) -> Duration {
        let before = std::mem::replace(self, Self::now());
        let passed = self.wall.duration_since(before.wall).unwrap_or_default();
        let slept = passed.saturating_sub(self.at - before.at);
        if slept < TOLERANCE {
            Duration::ZERO
        } else {
            slept
        }
    }
}

/// What keeps a campaign from its work at the moment.
#[derive(Debug)]
pub(super) struct Trouble {
    /// What the link is called in logs.
    link: String,
    what: Mutex<Option<String>>,
}

impl Trouble {
    pub(super) fn new(link: String) -> Self {
        let what = Mutex::default();
        Self { link, what }
    }

    pub(super) fn what(&self) -> Option<String> {
        self.what.lock().clone()
    }

    pub(super) fn note(&self, error: Option<&LockError>) {
        let text = error.map(|error| error.text().to_owned());
        let mut what = self.what.lock();
        if let Some(error) = &text
            && *what != text
        {
            tracing::warn!(link = self.link, error, "could not campaign");
        }
        *what = text;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;
    use crate::describe::Features;
    use crate::error::LinkError;
    use crate::lock::backend::Holder;
    use crate::lock::claim::LockName;

    /// Renews after a while, or fails to.
    struct Backend {
        takes: Duration,
        is_away: bool,
        renewed: AtomicU32,
    }

    impl Backend {
        fn new(takes: Duration, is_away: bool) -> Self {
            let renewed = AtomicU32::new(0);
            Self {
                takes,
                is_away,
                renewed,
            }
        }
    }

    impl Locks for Backend {
        async fn acquire(&self, _: &Claim, _: Duration, _: Instant) -> Result<Granted, LockError> {
            Err(LockError::unavailable("no test acquires"))
        }

        async fn renew(&self, _: &Claim, ttl: Duration) -> Result<Granted, LockError> {
            tokio::time::sleep(self.takes).await;
            if self.is_away {
                return Err(LockError::unavailable("the backend is away"));
            }
            self.renewed.fetch_add(1, Ordering::Relaxed);
            Ok(Granted { fence: 1, ttl })
        }

        async fn release(&self, _: &Claim) -> Result<(), LockError> {
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

    fn leadership(ttl: Duration) -> Leadership {
        let place = LockName::read("", "chief", "default").unwrap();
        let claim = Claim::new(place, "cart").unwrap();
        Leadership::new(claim, Instant::now(), Granted { fence: 1, ttl })
    }

    #[tokio::test(start_paused = true)]
    async fn who_cannot_renew_has_lost_before_the_time_is_over() {
        let ttl = Duration::from_secs(600);
        for takes in [0, 4, 700].map(Duration::from_secs) {
            let mut leadership = leadership(ttl);
            let over = Instant::now() + ttl;
            let backend = Backend::new(takes, true);
            let (stop, trouble) = (CancellationToken::new(), Trouble::new("a link".to_owned()));
            let end = leadership.keep(&backend, ttl, &stop, &trouble).await;
            assert!(matches!(end, End::Lost));
            let left = over.saturating_duration_since(Instant::now());
            assert!(left > LOST_LIMIT / 2, "{takes:?}: {left:?} left");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_renewal_that_was_cut_short_is_made_at_once() {
        let ttl = Duration::from_secs(6);
        let mut leadership = leadership(ttl);
        let (slow, fast) = (
            Backend::new(ttl, false),
            Backend::new(Duration::ZERO, false),
        );
        let (stop, trouble) = (CancellationToken::new(), Trouble::new("a link".to_owned()));
        let first = leadership.keep(&slow, ttl, &stop, &trouble);
        // It is due after two seconds.
        let cut = tokio::time::timeout(Duration::from_secs(3), first).await;
        assert!(cut.is_err());
        let again = leadership.keep(&fast, ttl, &stop, &trouble);
        let kept = tokio::time::timeout(Duration::from_millis(100), again).await;
        assert!(kept.is_err());
        assert_eq!(fast.renewed.load(Ordering::Relaxed), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn the_time_in_which_the_machine_was_asleep_counts() {
        let ttl = Duration::from_secs(600);
        for (asleep, is_lost, renewed) in [(100, false, 0), (300, false, 1), (700, true, 0)] {
            let mut leadership = leadership(ttl);
            // As after a sleep, in which only this clock went on.
            leadership.clocks.wall -= Duration::from_secs(asleep);
            let backend = Backend::new(Duration::ZERO, false);
            let (stop, trouble) = (CancellationToken::new(), Trouble::new("a link".to_owned()));
            let keep = leadership.keep(&backend, ttl, &stop, &trouble);
            let end = tokio::time::timeout(2 * LOOK, keep).await;
            assert_eq!(matches!(end, Ok(End::Lost)), is_lost, "{asleep}");
            assert_eq!(backend.renewed.load(Ordering::Relaxed), renewed, "{asleep}");
        }
    }
}
