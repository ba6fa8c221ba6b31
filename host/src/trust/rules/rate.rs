//! Counts calls against a rate, and each thing that a batch is about as one.

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

/// Why a call does not pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Excess {
    /// It would pass after so long, if no other came before it.
    For(Duration),
    /// It is about more than ever pass at once.
    Ever,
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

    /// Takes so many tokens, all or none, or says when there will be as many.
    pub(super) fn take(&self, count: u32) -> Result<(), Excess> {
        if count > self.rate.count {
            return Err(Excess::Ever);
        }
        let (most, wanted) = (f64::from(self.rate.count), f64::from(count));
        let per_second = most / self.rate.per.time().as_secs_f64();
        let mut level = self.level.lock();
        let now = Instant::now();
        let passed = now.saturating_duration_since(level.at).as_secs_f64();
        level.at = now;
        level.tokens = (level.tokens + passed * per_second).min(most);
        if level.tokens >= wanted {
            level.tokens -= wanted;
            return Ok(());
        }
        let pause = (wanted - level.tokens) / per_second;
        Err(Excess::For(Duration::from_secs_f64(pause)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn so_many_pass_at_once_and_then_evenly() {
        let bucket = Bucket::new("10/s".parse().unwrap());
        let passing = || (0..20).filter(|_| bucket.take(1).is_ok()).count();
        assert_eq!(passing(), 10);
        let pause = pause(&bucket, 1);
        assert!(pause <= Duration::from_millis(100), "{pause:?}");
        tokio::time::advance(Duration::from_millis(301)).await;
        assert_eq!(passing(), 3);
        tokio::time::advance(Duration::from_secs(60)).await;
        assert_eq!(passing(), 10);
    }

    fn pause(bucket: &Bucket, count: u32) -> Duration {
        match bucket.take(count) {
            Err(Excess::For(pause)) => pause,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_batch_passes_as_a_whole_or_waits_and_never_where_it_is_larger_than_the_rate() {
        let bucket = Bucket::new("10/s".parse().unwrap());
        assert_eq!(bucket.take(6), Ok(()));
        let pause = pause(&bucket, 6);
        assert!(pause > Duration::from_millis(190) && pause < Duration::from_millis(210));
        // What was refused has taken nothing.
        assert_eq!(bucket.take(4), Ok(()));
        assert_eq!(bucket.take(11), Err(Excess::Ever));
    }

    #[tokio::test(start_paused = true)]
    async fn a_rate_of_an_hour_is_one() {
        let bucket = Bucket::new("1/h".parse().unwrap());
        assert!(bucket.take(1).is_ok());
        let pause = pause(&bucket, 1);
        assert!(pause > Duration::from_secs(3590), "{pause:?}");
        tokio::time::advance(Duration::from_secs(3601)).await;
        assert!(bucket.take(1).is_ok());
    }
}
