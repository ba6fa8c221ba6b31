//! Attempts to have a message handled, any of which may panic.

use std::panic::AssertUnwindSafe;

use futures::FutureExt as _;
use lattice_provider_sdk::messaging::{DeliveryRules, Verdict};
use tokio_util::sync::CancellationToken;

/// The last attempt that the rules allow has panicked.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the provider panicked over the message")]
pub(crate) struct Broke {
    /// How many attempts there were.
    pub(crate) attempts: u32,
}

/// Has a message attempted, by what is told how many attempts failed before, until it is known what
/// becomes of it. One that panics has failed, as does one that says [`Verdict::Again`].
pub(crate) async fn settle<A>(
    rules: &DeliveryRules,
    leaving: &CancellationToken,
    attempt: impl Fn(u32) -> A,
) -> Result<Verdict, Broke>
where
    A: Future<Output = Verdict>,
{
    let mut attempts = 0;
    loop {
        let made = AssertUnwindSafe(attempt(attempts))
            .catch_unwind()
            .await
            .ok();
        attempts += 1;
        let pause = match made {
            Some(Verdict::Again(pause)) => pause,
            Some(verdict) => return Ok(verdict),
            None if attempts >= rules.max_deliver => return Err(Broke { attempts }),
            None => rules.pause(attempts),
        };
        tokio::select! {
            biased;
            () = leaving.cancelled() => return Ok(Verdict::Left),
            () = tokio::time::sleep(pause) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use lattice_provider_sdk::messaging::DeadLetterTo;

    use super::*;

    fn rules() -> DeliveryRules {
        DeliveryRules {
            max_deliver: 3,
            backoff: vec![Duration::from_millis(50)],
            max_in_flight: 1,
            timeout: Duration::from_secs(1),
            dead_letter: DeadLetterTo::Usual,
            unreached: None,
        }
    }

    async fn breaks() -> Verdict {
        panic!("a panic of a test")
    }

    #[tokio::test(start_paused = true)]
    async fn an_attempt_that_panics_is_one_of_those_that_failed() {
        let (rules, leaving) = (rules(), CancellationToken::new());
        let settled = settle(&rules, &leaving, |before| async move {
            match before {
                0 => Verdict::Again(Duration::from_millis(50)),
                1 => panic!("a panic of a test"),
                _ => Verdict::Done,
            }
        });
        assert_eq!(settled.await, Ok(Verdict::Done));
        let settled = settle(&rules, &leaving, |_| breaks());
        assert_eq!(settled.await, Err(Broke { attempts: 3 }));
    }

    #[tokio::test(start_paused = true)]
    async fn a_message_is_left_when_the_link_goes_after_a_panic() {
        let (rules, leaving) = (rules(), CancellationToken::new());
        let settled = settle(&rules, &leaving, |_| {
            leaving.cancel();
            breaks()
        });
        assert_eq!(settled.await, Ok(Verdict::Left));
    }
}
