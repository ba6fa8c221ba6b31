//! How far the body of a request has come that is not there at once, and how long its call may
//! wait for more.

use std::sync::OnceLock;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use crate::failure::Failure;

/// The longest that a call may take whose request is still being sent. The host of the component
/// ends it earlier, after the longest time that it lets components run.
pub(crate) const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// What the body of a request tells whoever waits for the answer.
#[derive(Debug)]
pub(crate) struct Upload {
    moved: Mutex<Moved>,
    /// Told when nothing more comes, from when on less patience is due.
    ended: Notify,
    blame: OnceLock<Failure>,
}

#[derive(Debug, Clone, Copy)]
struct Moved {
    /// When the last piece was taken, or the end was seen.
    at: Instant,
    has_ended: bool,
}

impl Upload {
    pub(crate) fn new() -> Self {
        Self {
            moved: Mutex::new(Moved {
                at: Instant::now(),
                has_ended: false,
            }),
            ended: Notify::new(),
            blame: OnceLock::new(),
        }
    }

    /// A piece has come, and was taken.
    pub(crate) fn moves(&self) {
        self.moved.lock().at = Instant::now();
    }

    /// Nothing more comes, or nobody takes it.
    pub(crate) fn ends(&self) {
        let mut moved = self.moved.lock();
        if !moved.has_ended {
            *moved = Moved {
                at: Instant::now(),
                has_ended: true,
            };
            self.ended.notify_one();
        }
    }

    /// The client is to blame for what follows.
    pub(crate) fn refuse(&self, failure: Failure) {
        // Only the first failure is told, and there is no second.
        let _ = self.blame.set(failure);
        self.ends();
    }

    /// Why the client is to blame for the failure of the call.
    pub(crate) fn blame(&self) -> Option<&Failure> {
        self.blame.get()
    }

    /// Resolves when the component had its `time`: since the body is all there or, before that, since
    /// the last piece, for which the client may let it wait for `pause`. A client that takes longer
    /// is told so before this is over, as long as the component waits for it.
    pub(crate) async fn stalls(&self, time: Duration, pause: Duration) {
        loop {
            let Moved { at, has_ended } = *self.moved.lock();
            let pause = if has_ended { Duration::ZERO } else { pause };
            let until = at + pause + time;
            if until <= Instant::now() {
                return;
            }
            // It looks again at whatever comes first.
            drop(timeout_at(until, self.ended.notified()).await);
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::sleep;

    use super::*;

    const TIME: Duration = Duration::from_secs(7);
    const PAUSE: Duration = Duration::from_secs(60);

    async fn seconds(stalls: impl Future<Output = ()>) -> u64 {
        let begun = Instant::now();
        stalls.await;
        begun.elapsed().as_secs()
    }

    #[tokio::test(start_paused = true)]
    async fn a_component_has_its_time_from_the_end_of_the_body_on() {
        let upload = Upload::new();
        let sending = async {
            for _ in 0..10 {
                sleep(Duration::from_secs(59)).await;
                upload.moves();
            }
            upload.ends();
            // The body is dropped later on.
            sleep(Duration::from_secs(2)).await;
            upload.ends();
        };
        let (took, ()) = tokio::join!(seconds(upload.stalls(TIME, PAUSE)), sending);
        assert_eq!(took, 590 + 7);
    }

    #[tokio::test(start_paused = true)]
    async fn a_component_that_takes_nothing_more_has_the_time_of_the_client_too() {
        let upload = Upload::new();
        sleep(Duration::from_secs(3)).await;
        upload.moves();
        assert_eq!(seconds(upload.stalls(TIME, PAUSE)).await, 67);
        assert_eq!(seconds(upload.stalls(TIME, PAUSE)).await, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_is_to_blame_has_sent_all_it_will() {
        let upload = Upload::new();
        upload.refuse(Failure::BODY_TIMEOUT);
        assert_eq!(seconds(upload.stalls(TIME, PAUSE)).await, 7);
        assert_eq!(upload.blame(), Some(&Failure::BODY_TIMEOUT));
    }
}
