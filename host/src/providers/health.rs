//! What is known of the health of a provider, and what the lattice is told about it.

use lattice_core::event::{Event, HealthCheck};
use lattice_core::provider::HealthCheckResponse;

/// What the lattice is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Passed,
    Failed,
    Status,
}

impl Verdict {
    pub(crate) fn event(self, data: HealthCheck) -> Event {
        match self {
            Self::Passed => Event::HealthCheckPassed(data),
            Self::Failed => Event::HealthCheckFailed(data),
            Self::Status => Event::HealthCheckStatus(data),
        }
    }
}

/// Follows the answers of one process.
#[derive(Debug)]
pub(crate) struct Health {
    healthy: bool,
    misses: u32,
    max_misses: u32,
    told_of_misses: bool,
}

impl Health {
    /// A process that has not answered yet.
    pub(crate) fn new(max_misses: u32) -> Self {
        Self {
            healthy: false,
            misses: 0,
            max_misses,
            told_of_misses: false,
        }
    }

    /// Takes in an answer.
    pub(crate) fn answered(&mut self, response: &HealthCheckResponse) -> Verdict {
        self.misses = 0;
        self.told_of_misses = false;
        let before = std::mem::replace(&mut self.healthy, response.healthy);
        match (before, response.healthy) {
            (false, true) => Verdict::Passed,
            (true, false) => Verdict::Failed,
            _ => Verdict::Status,
        }
    }

    /// Takes in that the provider fails whatever it answers. `false` when it counted as failed before.
    pub(crate) fn failed(&mut self) -> bool {
        std::mem::replace(&mut self.healthy, false)
    }

    /// Takes in that there was no answer, or none that can be read. After several in a row the
    /// provider counts as failed, which is told once.
    pub(crate) fn missed(&mut self) -> Option<Verdict> {
        self.misses += 1;
        if self.misses < self.max_misses || self.told_of_misses {
            return None;
        }
        self.healthy = false;
        self.told_of_misses = true;
        Some(Verdict::Failed)
    }

    pub(crate) fn misses(&self) -> u32 {
        self.misses
    }

    /// Whether it has not answered for as long as makes it count as failed.
    pub(crate) fn is_silent(&self) -> bool {
        self.misses >= self.max_misses
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_told_apart_from_more_of_the_same() {
        let mut health = Health::new(3);
        let bad = HealthCheckResponse::unhealthy("no");
        let good = HealthCheckResponse::healthy();
        assert_eq!(health.answered(&bad), Verdict::Status);
        assert_eq!(health.answered(&good), Verdict::Passed);
        assert_eq!(health.answered(&good), Verdict::Status);
        assert_eq!(health.answered(&bad), Verdict::Failed);
    }

    #[test]
    fn silence_counts_as_a_failure_and_is_told_once() {
        let mut health = Health::new(3);
        let good = HealthCheckResponse::healthy();
        health.answered(&good);
        assert_eq!([health.missed(), health.missed()], [None, None]);
        assert!(!health.is_silent());
        assert_eq!(health.missed(), Some(Verdict::Failed));
        assert_eq!(health.missed(), None);
        assert!(health.is_silent());
        assert_eq!(health.answered(&good), Verdict::Passed);
        assert!(!health.is_silent());
        assert_eq!(health.missed(), None);
        assert_eq!(health.misses(), 1);
    }
}
