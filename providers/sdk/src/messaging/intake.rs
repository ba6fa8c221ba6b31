//! The tasks of one link that brings messages.

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Owns the tasks of one link that brings messages: those that take them from the broker, and those
/// that have one each. Dropping it cuts all of them off; see [`Intake::end`].
#[derive(Debug, Default)]
pub struct Intake {
    leave: CancellationToken,
    cut: CancellationToken,
    tasks: TaskTracker,
}

/// Lets tasks of an [`Intake`] start others.
#[derive(Debug, Clone)]
pub struct Tasks {
    cut: CancellationToken,
    tasks: TaskTracker,
}

impl Tasks {
    /// Runs a task until it is done, or cut off.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let cut = self.cut.clone();
        self.tasks.spawn(async move {
            tokio::select! {
                biased;
                () = cut.cancelled() => {}
                () = task => {}
            }
        });
    }
}

impl Intake {
    /// Has no tasks yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Starts tasks that end with this.
    #[must_use]
    pub fn tasks(&self) -> Tasks {
        Tasks {
            cut: self.cut.clone(),
            tasks: self.tasks.clone(),
        }
    }

    /// Is cancelled when no more messages are to be taken.
    #[must_use]
    pub fn leaving(&self) -> CancellationToken {
        self.leave.clone()
    }

    /// Has no more messages taken, waits for those under way until `until`, and cuts off the rest,
    /// which stay unacknowledged.
    pub async fn end(self, until: Instant) {
        self.leave.cancel();
        self.tasks.close();
        if tokio::time::timeout_at(until, self.tasks.wait())
            .await
            .is_err()
        {
            self.cut.cancel();
            self.tasks.wait().await;
        }
    }
}

impl Drop for Intake {
    fn drop(&mut self) {
        self.leave.cancel();
        self.cut.cancel();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_is_under_way_is_waited_for_and_the_rest_cut_off() {
        let intake = Intake::new();
        let done = Arc::new(AtomicUsize::new(0));
        for seconds in [1, 60] {
            let done = Arc::clone(&done);
            intake.tasks().spawn(async move {
                tokio::time::sleep(Duration::from_secs(seconds)).await;
                done.fetch_add(1, Ordering::SeqCst);
            });
        }
        let leaving = intake.leaving();
        intake.end(Instant::now() + Duration::from_secs(5)).await;
        assert!(leaving.is_cancelled());
        assert_eq!(done.load(Ordering::SeqCst), 1);
    }
}
