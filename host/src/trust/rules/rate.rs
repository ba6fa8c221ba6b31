//! Counts calls against a rate.

use std::time::Duration;

use lattice_core::rules::Rate;
use parking_lot::Mutex;
use tokio::time::Instant;

/// A token bucket: full in the beginning, and filled again evenly.
#[derive(Debug)]
pub(super) struct Bucket {
    rate: Rate,
    level: Mutex<Level>,
}

#[derive(Debug)]
struct Level {
    tokens: f64,
    at: Instant,
}

impl Bucket {
    pub(super) fn new(rate: Rate) -> Self {
        Self {
            rate,
            level: Mutex::new(Level {
                tokens: f64::from(rate.count),
                at: Instant::now(),
            }),
        }
    }

    pub(super) fn rate(&self) -> Rate {
        self.rate
    }

    /// Takes a token, or says when there will be one.
    pub(super) fn take(&self) -> Result<(), Duration> {
        let most = f64::from(self.rate.count);
        let per_second = most / self.rate.per.time().as_secs_f64();
        let mut level = self.level.lock();
        let now = Instant::now();
        let passed = now.saturating_duration_since(level.at).as_secs_f64();
        level.at = now;
        level.tokens = (level.tokens + passed * per_second).min(most);
        if level.tokens >= 1.0 {
            level.tokens -= 1.0;
            return Ok(());
        }
        Err(Duration::from_secs_f64((1.0 - level.tokens) / per_second))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn so_many_pass_at_once_and_then_evenly() {
        let bucket = Bucket::new("10/s".parse().unwrap());
        assert_eq!((0..20).filter(|_| bucket.take().is_ok()).count(), 10);
        let pause = bucket.take().unwrap_err();
        assert!(pause <= Duration::from_millis(100), "{pause:?}");
        tokio::time::advance(Duration::from_millis(301)).await;
        assert_eq!((0..20).filter(|_| bucket.take().is_ok()).count(), 3);
        tokio::time::advance(Duration::from_secs(60)).await;
        assert_eq!((0..20).filter(|_| bucket.take().is_ok()).count(), 10);
    }

    #[tokio::test(start_paused = true)]
    async fn a_rate_of_an_hour_is_one() {
        let bucket = Bucket::new("1/h".parse().unwrap());
        assert!(bucket.take().is_ok());
        let pause = bucket.take().unwrap_err();
        assert!(pause > Duration::from_secs(3590), "{pause:?}");
        tokio::time::advance(Duration::from_secs(3601)).await;
        assert!(bucket.take().is_ok());
    }
}
