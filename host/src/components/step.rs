//! The steps in which a component is started and changed, each with a deadline: what comes from a mount
//! that hangs, or from somebody who never answers, is not to keep later commands waiting for ever.

use std::fmt;
use std::future::Future;
use std::time::Duration;

use tokio::time::timeout;

use super::error::ScaleError;

/// A step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// To read and check the image.
    Fetch,
    /// To ask the policy service.
    Leave,
    /// To read configs and secrets.
    Configure,
    /// To compile the code and to serve it.
    Prepare,
}

impl Step {
    /// How long it may take.
    pub(crate) fn within(self) -> Duration {
        Duration::from_secs(match self {
            Self::Leave => 30,
            Self::Fetch | Self::Configure => 60,
            // Large code takes minutes where the machine has much else to do.
            Self::Prepare => 300,
        })
    }

    /// Does it, unless it takes too long.
    pub(crate) async fn run<T, E>(
        self,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, ScaleError>
    where
        ScaleError: From<E>,
    {
        match timeout(self.within(), work).await {
            Ok(done) => Ok(done?),
            Err(_) => Err(ScaleError::TooSlow { step: self }),
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Fetch => "read the image",
            Self::Leave => "get leave of the policy service",
            Self::Configure => "read the configs and secrets",
            Self::Prepare => "prepare the code",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::future::pending;

    use lattice_core::ErrorCode;
    use tokio::time::Instant;

    #[tokio::test(start_paused = true)]
    async fn a_step_that_hangs_ends_by_its_deadline_and_says_which_it_was() {
        let started = Instant::now();
        let hangs = pending::<Result<(), ScaleError>>();
        let error = Step::Fetch.run(hangs).await.unwrap_err();
        assert_eq!(started.elapsed(), Step::Fetch.within());
        assert_eq!(error.to_string(), "could not read the image within 60s");
        assert_eq!(error.code(), ErrorCode::Timeout);
        assert!(error.hint().is_some());
    }
}
