//! For how long calls have had to wait without a break.

use std::time::Duration;

use tokio::time::Instant;

use crate::limiter::Limiter;

/// For how long nobody need wait, or be refused, for that to be a break. Where the queue is short
/// or calls last long, there is a moment between one refusal and the next.
const BREAK: Duration = Duration::from_millis(100);

/// What has been seen of a limiter. It begins with a call that waited for long or was refused.
#[derive(Debug, Default)]
pub(super) struct Pressure {
    seen: Option<Seen>,
}

#[derive(Debug)]
struct Seen {
    since: Instant,
    last: Instant,
}

impl Pressure {
    /// Looks at the limiter, and says for how long now without a break calls have had to wait.
    pub(super) fn look(&mut self, limiter: &Limiter) -> Option<Duration> {
        let now = Instant::now();
        let was_pressed = limiter.was_pressed_hard();
        if limiter.room() > 0 {
            self.seen = None;
        } else if was_pressed {
            self.begin(now);
        } else if let Some(seen) = &mut self.seen {
            if limiter.lets_wait() {
                seen.last = now;
            } else if now - seen.last > BREAK {
                self.seen = None;
            }
        }
        self.seen.as_ref().map(|seen| now - seen.since)
    }

    /// Waits until calls have to wait.
    pub(super) async fn wait(&mut self, limiter: &Limiter) {
        limiter.pressed_hard().await;
        self.begin(Instant::now());
    }

    /// Forgets what was: what counts begins anew.
    pub(super) fn forget(&mut self) {
        self.seen = None;
    }

    fn begin(&mut self, now: Instant) {
        let seen = self.seen.get_or_insert(Seen {
            since: now,
            last: now,
        });
        seen.last = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEP: Duration = Duration::from_millis(50);

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(60)
    }

    #[tokio::test(start_paused = true)]
    async fn what_waits_for_a_moment_is_no_pressure() {
        let limiter = Limiter::new(1, 10, Duration::from_secs(1));
        let mut pressure = Pressure::default();
        let held = limiter.acquire(soon()).await.unwrap();
        let mut waits = Box::pin(limiter.acquire(soon()));
        assert!(futures::poll!(&mut waits).is_pending());
        assert_eq!(pressure.look(&limiter), None);
        drop(held);
        waits.await.unwrap();
        assert_eq!(pressure.look(&limiter), None);
    }

    #[tokio::test(start_paused = true)]
    async fn waits_and_refusals_count_until_there_is_a_break() {
        let limiter = Limiter::new(1, 0, Duration::from_secs(1));
        let mut pressure = Pressure::default();
        let held = limiter.acquire(soon()).await.unwrap();
        for step in 0..20 {
            limiter.acquire(soon()).await.unwrap_err();
            assert_eq!(pressure.look(&limiter), Some(step * STEP));
            tokio::time::advance(STEP).await;
        }
        // All turns are taken, but nobody asks for more.
        tokio::time::advance(BREAK).await;
        assert_eq!(pressure.look(&limiter), None);
        limiter.acquire(soon()).await.unwrap_err();
        assert_eq!(pressure.look(&limiter), Some(Duration::ZERO));
        drop(held);
        assert_eq!(pressure.look(&limiter), None);
    }
}
