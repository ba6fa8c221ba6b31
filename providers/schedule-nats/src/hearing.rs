//! Since when this copy hears without a gap what the others do.
//!
//! Silence says something of them only as far as they could have been heard: after an outage of NATS
//! whoever tells of a tick needs a moment, too, to say that it goes on.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// Since when, and over which connection.
#[derive(Debug)]
pub(crate) struct Hearing(Mutex<(Instant, Option<u64>)>);

impl Default for Hearing {
    fn default() -> Self {
        Self(Mutex::new((Instant::now(), None)))
    }
}

impl Hearing {
    /// Takes in which connection there is, if there is one; to be called again and again.
    pub(crate) fn look(&self, connection: Option<u64>) {
        let mut hearing = self.0.lock();
        if connection.is_none() || connection != hearing.1 {
            *hearing = (Instant::now(), connection);
        }
    }

    /// Something may have been missed.
    pub(crate) fn missed(&self) {
        self.0.lock().0 = Instant::now();
    }

    /// How long nothing has been heard that there was to hear, of something as it is since `since`.
    pub(crate) fn quiet(&self, since: Instant) -> Duration {
        since.max(self.0.lock().0).elapsed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn what_could_not_be_heard_is_no_silence() {
        let (hearing, since) = (Hearing::default(), Instant::now());
        hearing.look(Some(1));
        tokio::time::advance(3 * SECOND).await;
        hearing.look(Some(1));
        assert_eq!(hearing.quiet(since), 3 * SECOND);
        assert_eq!(hearing.quiet(Instant::now()), Duration::ZERO);
        // The connection is away, then another, without having been found away.
        for connection in [None, Some(2), Some(3)] {
            tokio::time::advance(5 * SECOND).await;
            hearing.look(connection);
            assert_eq!(hearing.quiet(since), Duration::ZERO);
        }
        tokio::time::advance(5 * SECOND).await;
        hearing.look(Some(3));
        assert_eq!(hearing.quiet(since), 5 * SECOND);
        hearing.missed();
        assert_eq!(hearing.quiet(since), Duration::ZERO);
    }
}
