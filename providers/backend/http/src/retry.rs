//! Trying again.

use std::time::Duration;

use lattice_core::Backoff;

/// How often something is done that fails, and with what pauses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Retry {
    /// How often in all.
    pub attempts: u32,
    /// The pause after the first one; each further is twice as long.
    pub pause: Duration,
    /// The longest pause.
    pub longest: Duration,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            attempts: 3,
            pause: Duration::from_millis(50),
            longest: Duration::from_secs(1),
        }
    }
}

impl Retry {
    /// Calls `attempt` until it does not fail, or fails with an error after which `again` says no,
    /// or was called often enough.
    ///
    /// # Errors
    ///
    /// The error of the last attempt.
    pub async fn run<T, E, F>(
        &self,
        mut attempt: impl FnMut() -> F + Send,
        again: impl Fn(&E) -> bool + Send,
    ) -> Result<T, E>
    where
        F: Future<Output = Result<T, E>> + Send,
    {
        let mut backoff = Backoff::new(self.pause, self.longest);
        for _ in 1..self.attempts {
            let error = match attempt().await {
                Ok(done) => return Ok(done),
                Err(error) => error,
            };
            if !again(&error) {
                return Err(error);
            }
            // Not held over the wait, where it would have to be `Send`.
            drop(error);
            tokio::time::sleep(backoff.delay()).await;
        }
        attempt().await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    async fn attempts(fails: u32, lasting: u32) -> (Result<u32, u32>, u32) {
        let made = AtomicU32::new(0);
        let attempt = || async {
            let made = made.fetch_add(1, Ordering::Relaxed);
            if made < fails { Err(made) } else { Ok(made) }
        };
        let retry = Retry {
            pause: Duration::from_millis(1),
            ..Retry::default()
        };
        let done = retry.run(attempt, |error| *error != lasting).await;
        (done, made.into_inner())
    }

    #[tokio::test]
    async fn errors_that_may_pass_are_tried_again() {
        assert_eq!(attempts(0, 9).await, (Ok(0), 1));
        assert_eq!(attempts(2, 9).await, (Ok(2), 3));
        assert_eq!(attempts(9, 9).await, (Err(2), 3));
        assert_eq!(attempts(9, 1).await, (Err(1), 2));
    }
}
