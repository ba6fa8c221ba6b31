//! How far the body of a request has come that is not there at once, and how long its call may
//! wait for more.

use std::sync::{Arc, OnceLock};
use std::task::{Wake, Waker};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use crate::failure::Failure;

/// What the body of a request tells whoever waits for the answer.
#[derive(Debug)]
pub(crate) struct Upload {
    state: Mutex<State>,
    /// Told when nothing more comes, from when on less patience is due.
    ended: Notify,
    blame: OnceLock<Failure>,
}

#[derive(Debug, Clone, Copy)]
struct State {
    turn: Turn,
    since: Instant,
}

/// Whose turn it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    /// The component's: it may take what has come.
    Component,
    /// The client's: it is waited for.
    Client,
    /// The component's, and nothing more comes.
    Over,
}

impl Upload {
    pub(crate) fn new() -> Self {
        Self {
            state: Mutex::new(State {
                turn: Turn::Component,
                since: Instant::now(),
            }),
            ended: Notify::new(),
            blame: OnceLock::new(),
        }
    }

    /// A piece has come, and was taken.
    pub(crate) fn moves(&self) {
        self.turn_to(Turn::Component);
    }

    /// The component would take a piece, but the client has not sent it yet.
    pub(crate) fn waits(&self) {
        if self.state.lock().turn != Turn::Client {
            self.turn_to(Turn::Client);
        }
    }

    /// There is a piece that was waited for, whether it is taken or not.
    fn comes(&self) {
        if self.state.lock().turn == Turn::Client {
            self.turn_to(Turn::Component);
        }
    }

    /// Nothing more comes, or nobody takes it.
    pub(crate) fn ends(&self) {
        if self.turn_to(Turn::Over) {
            self.ended.notify_one();
        }
    }

    /// What is over stays so.
    fn turn_to(&self, turn: Turn) -> bool {
        let mut state = self.state.lock();
        if state.turn == Turn::Over {
            return false;
        }
        let since = Instant::now();
        *state = State { turn, since };
        true
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
    /// it took the last piece. While the client is waited for it may take `pause` besides; one
    /// that takes longer is told so before this is over.
    pub(crate) async fn stalls(&self, time: Duration, pause: Duration) {
        loop {
            let State { turn, since } = *self.state.lock();
            let now = Instant::now();
            let until = match turn {
                Turn::Client => since + pause + time,
                Turn::Component | Turn::Over => since + time,
            };
            if until <= now {
                return;
            }
            // Whosever turn it is next has `time` at least, so that to look again by then is enough.
            let look = until.min(now + time);
            // It looks again at whatever comes first.
            drop(timeout_at(look, self.ended.notified()).await);
        }
    }
}

/// Wakes who waits for a piece, and knows from then on that the client has sent it: whoever asked
/// once may do something else meanwhile.
struct Awaited {
    upload: Arc<Upload>,
    waker: Waker,
}

impl Wake for Awaited {
    fn wake(self: Arc<Self>) {
        self.upload.comes();
        self.waker.wake_by_ref();
    }
}

/// What to wake when a piece comes.
pub(crate) fn awaited(upload: &Arc<Upload>, waker: &Waker) -> Waker {
    let (upload, waker) = (Arc::clone(upload), waker.clone());
    Arc::new(Awaited { upload, waker }).into()
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
                upload.waits();
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
    async fn a_component_that_takes_nothing_has_no_more_than_its_own_time() {
        let upload = Upload::new();
        assert_eq!(seconds(upload.stalls(TIME, PAUSE)).await, 7);
        upload.moves();
        sleep(Duration::from_secs(3)).await;
        assert_eq!(seconds(upload.stalls(TIME, PAUSE)).await, 4);
        assert_eq!(seconds(upload.stalls(TIME, PAUSE)).await, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_is_waited_for_has_its_pause_besides() {
        let upload = Upload::new();
        upload.waits();
        sleep(Duration::from_secs(5)).await;
        upload.waits();
        assert_eq!(seconds(upload.stalls(TIME, PAUSE)).await, 62);
    }

    #[tokio::test(start_paused = true)]
    async fn a_piece_that_was_waited_for_and_is_not_taken_is_no_pause_of_the_client() {
        let upload = Arc::new(Upload::new());
        upload.waits();
        let sending = async {
            sleep(Duration::from_secs(30)).await;
            awaited(&upload, Waker::noop()).wake();
        };
        let (took, ()) = tokio::join!(seconds(upload.stalls(TIME, PAUSE)), sending);
        assert_eq!(took, 30 + 7);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_is_to_blame_has_sent_all_it_will() {
        let upload = Upload::new();
        upload.refuse(Failure::BODY_TIMEOUT);
        assert_eq!(seconds(upload.stalls(TIME, PAUSE)).await, 7);
        assert_eq!(upload.blame(), Some(&Failure::BODY_TIMEOUT));
    }
}
