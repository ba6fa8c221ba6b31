//! What is still to be done when a call is over.

use std::time::Duration;

use lattice_provider_sdk::Backoff;
use parking_lot::Mutex;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

/// How long a chore may take, with all its attempts.
const LONGEST: Duration = Duration::from_secs(60);

/// Small tasks that nobody waits for. They end with this.
#[derive(Debug, Default)]
pub(crate) struct Chores(Mutex<JoinSet<()>>);

impl Chores {
    /// Does `work`, again and again until it says that it is done.
    pub(crate) fn add<F: Future<Output = Result<(), String>> + Send>(
        &self,
        what: &'static str,
        mut work: impl FnMut() -> F + Send + 'static,
    ) {
        let attempts = async move {
            let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(5));
            while let Err(error) = work().await {
                tracing::debug!(what, error, "a chore is tried again");
                tokio::time::sleep(backoff.delay()).await;
            }
        };
        let chore = async move {
            if tokio::time::timeout(LONGEST, attempts).await.is_err() {
                tracing::warn!(what, "a chore was given up");
            }
        };
        let mut tasks = self.0.lock();
        while tasks.try_join_next().is_some() {}
        // Without a runtime, as while it ends, there is nobody to do it.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            tasks.spawn_on(chore, &runtime);
        }
    }

    /// Waits for those that are there, until `until` at the latest.
    pub(crate) async fn finish(&self, until: Instant) {
        let mut tasks = std::mem::take(&mut *self.0.lock());
        let all = async { while tasks.join_next().await.is_some() {} };
        if timeout_at(until, all).await.is_err() {
            tracing::warn!("ended with chores that were not done");
        }
    }
}
