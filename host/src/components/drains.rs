//! Calls that end on code which no longer runs: what was stopped or replaced while they went on.

use std::future::Future;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// When calls under way have to end.
#[derive(Debug, Clone)]
pub(crate) struct End {
    deadline: Instant,
    cut: CancellationToken,
}

impl End {
    /// An end that nobody brings forward.
    pub(crate) fn at(deadline: Instant) -> Self {
        Self {
            deadline,
            cut: CancellationToken::new(),
        }
    }

    /// The latest time at which nothing is waited for any more.
    pub(crate) fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Resolves when nothing is waited for any more.
    pub(crate) async fn reached(self) {
        tokio::select! {
            () = sleep_until(self.deadline) => {}
            () = self.cut.cancelled() => {}
        }
    }
}

/// Owns every drain that goes on beside the work on its component. Dropping it ends them all.
#[derive(Debug, Default)]
pub(crate) struct Drains {
    tasks: TaskTracker,
    cut: CancellationToken,
}

impl Drains {
    /// Begins a drain that may take as long as `within`, unless the host ends before.
    pub(crate) fn begin<F>(&self, within: Duration, drain: impl FnOnce(End) -> F) -> JoinHandle<()>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let end = End {
            deadline: Instant::now() + within,
            cut: self.cut.clone(),
        };
        self.tasks.spawn(drain(end))
    }

    /// Waits for the drains under way, however long they take.
    pub(crate) async fn idle(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// Waits for all drains, and cuts off at `deadline` what is still under way then.
    pub(crate) async fn finish(&self, deadline: Instant) {
        if timeout_at(deadline, self.idle()).await.is_err() {
            self.cut.cancel();
            self.tasks.wait().await;
        }
    }
}

impl Drop for Drains {
    fn drop(&mut self) {
        self.cut.cancel();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(10);

    #[tokio::test(start_paused = true)]
    async fn the_end_of_the_host_waits_for_drains_and_cuts_them_off_at_its_own_deadline() {
        let drains = Drains::default();
        let started = Instant::now();
        let quick = drains.begin(LONG, |_| tokio::time::sleep(Duration::from_secs(4)));
        let stuck = drains.begin(LONG, End::reached);
        drains.finish(started + Duration::from_secs(5)).await;
        assert_eq!(started.elapsed(), Duration::from_secs(5));
        assert!(quick.is_finished() && stuck.is_finished());
    }

    #[tokio::test(start_paused = true)]
    async fn a_drain_has_an_end_of_its_own_and_ends_with_its_owner() {
        let drains = Drains::default();
        let started = Instant::now();
        drains.begin(LONG, End::reached).await.unwrap();
        assert_eq!(started.elapsed(), LONG);
        let stuck = drains.begin(LONG, End::reached);
        drop(drains);
        stuck.await.unwrap();
        assert_eq!(started.elapsed(), LONG);
    }
}
