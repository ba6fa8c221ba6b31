//! When a process that ended by itself is started again.

use std::time::Duration;

use lattice_core::Backoff;

use crate::config::ProviderConfig;

/// How many quick ends in a row make a crash loop.
const LOOP_AFTER: u32 = 5;

/// Counts how often a process ended too soon, and makes the pauses grow.
#[derive(Debug)]
pub(crate) struct Restarts {
    config: ProviderConfig,
    count: u32,
}

impl Restarts {
    pub(crate) fn new(config: ProviderConfig) -> Self {
        Self { config, count: 0 }
    }

    /// The process ended after this time. Returns how long to wait before the next start.
    pub(crate) fn ended_after(&mut self, lived: Duration) -> Duration {
        if lived >= self.config.stable_after {
            self.count = 0;
        }
        let backoff = Backoff::exact(self.config.first_restart, self.config.longest_restart);
        let pause = backoff.after(self.count).delay();
        self.count = self.count.saturating_add(1);
        pause
    }

    /// How many times in a row it ended too soon.
    pub(crate) fn count(&self) -> u32 {
        self.count
    }

    pub(crate) fn is_crash_loop(&self) -> bool {
        self.count >= LOOP_AFTER
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_half_a_minute() {
        let mut restarts = Restarts::new(ProviderConfig::default());
        let pauses: Vec<_> = (0..8)
            .map(|_| restarts.ended_after(Duration::ZERO).as_millis())
            .collect();
        assert_eq!(
            pauses,
            [500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000]
        );
        assert!(restarts.is_crash_loop());
    }

    #[test]
    fn a_process_that_lived_long_starts_over() {
        let mut restarts = Restarts::new(ProviderConfig::default());
        for _ in 0..6 {
            restarts.ended_after(Duration::ZERO);
        }
        let pause = restarts.ended_after(Duration::from_secs(60));
        assert_eq!((pause, restarts.count()), (Duration::from_millis(500), 1));
        assert!(!restarts.is_crash_loop());
    }
}
