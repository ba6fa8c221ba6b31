//! One timer for all that wait for the same short time.
//!
//! Nearly every call is over long before it would be confirmed to its caller. A timer of its own
//! for each is more than its place in a list: the runtime is woken by one that is due before those
//! it waits for, a system call for nothing. Here they queue up behind a single timer.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use futures::task::AtomicWaker;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

/// Wakes each who waits once `after` has passed.
#[derive(Debug)]
pub(crate) struct Alarm {
    after: Duration,
    queue: Mutex<Queue>,
    /// Somebody waits, after a time in which nobody did.
    filled: Notify,
}

/// Those who wait, and whoever has ended since and is not due yet: no more than begin within
/// `after`.
#[derive(Debug, Default)]
struct Queue {
    /// In the order of their times.
    entries: VecDeque<(Instant, Weak<Bell>)>,
    /// Nobody wakes anybody any more.
    closed: bool,
}

#[derive(Debug, Default)]
struct Bell {
    rung: AtomicBool,
    waker: AtomicWaker,
}

impl Bell {
    fn ring(&self) {
        self.rung.store(true, Ordering::Release);
        self.waker.wake();
    }
}

impl Alarm {
    pub(crate) fn new(after: Duration) -> Arc<Self> {
        Arc::new(Self {
            after,
            queue: Mutex::default(),
            filled: Notify::new(),
        })
    }

    /// Resolves when the time has passed, counted from the first poll, or at once when the alarm
    /// has ended.
    pub(crate) fn wait(&self) -> Wait<'_> {
        Wait {
            alarm: self,
            bell: None,
        }
    }

    /// Wakes those who are due, until `stop`; wakes all others then.
    pub(crate) async fn keep(self: Arc<Self>, stop: CancellationToken) {
        let ring = async {
            loop {
                match self.ring_due(Instant::now()) {
                    Some(next) => sleep_until(next).await,
                    None => self.filled.notified().await,
                }
            }
        };
        stop.run_until_cancelled(ring).await;
        let mut queue = self.queue.lock();
        queue.closed = true;
        let entries = std::mem::take(&mut queue.entries);
        drop(queue);
        for bell in entries.iter().filter_map(|(_, bell)| bell.upgrade()) {
            bell.ring();
        }
    }

    /// Wakes who is due and forgets who has ended; returns when the next one is due.
    fn ring_due(&self, now: Instant) -> Option<Instant> {
        loop {
            let mut queue = self.queue.lock();
            let (due, bell) = queue.entries.front()?;
            let (due, bell) = (*due, bell.upgrade());
            if due > now && bell.is_some() {
                return Some(due);
            }
            queue.entries.pop_front();
            drop(queue);
            if let Some(bell) = bell {
                bell.ring();
            }
        }
    }

    fn enter(&self, bell: &Arc<Bell>) {
        let mut queue = self.queue.lock();
        if queue.closed {
            drop(queue);
            bell.ring();
            return;
        }
        let first = queue.entries.is_empty();
        let due = Instant::now() + self.after;
        queue.entries.push_back((due, Arc::downgrade(bell)));
        drop(queue);
        if first {
            self.filled.notify_one();
        }
    }
}

/// Waits for an [`Alarm`].
#[derive(Debug)]
pub(crate) struct Wait<'a> {
    alarm: &'a Alarm,
    /// `None` before the first poll.
    bell: Option<Arc<Bell>>,
}

impl Future for Wait<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let alarm = self.alarm;
        let bell = self.bell.get_or_insert_with(|| {
            let bell = Arc::default();
            alarm.enter(&bell);
            bell
        });
        bell.waker.register(cx.waker());
        if bell.rung.load(Ordering::Acquire) {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use tokio::task::JoinHandle;
    use tokio::time::{advance, timeout};

    const AFTER: Duration = Duration::from_millis(10);

    fn started() -> (Arc<Alarm>, CancellationToken, JoinHandle<()>) {
        let (alarm, stop) = (Alarm::new(AFTER), CancellationToken::new());
        let keeper = tokio::spawn(Arc::clone(&alarm).keep(stop.clone()));
        (alarm, stop, keeper)
    }

    async fn lasts(alarm: &Alarm) -> Duration {
        let began = Instant::now();
        alarm.wait().await;
        began.elapsed()
    }

    fn is_due(waited: Duration) -> bool {
        (AFTER..AFTER + Duration::from_millis(2)).contains(&waited)
    }

    #[tokio::test(start_paused = true)]
    async fn each_waits_its_own_time() {
        let (alarm, ..) = started();
        let late = async {
            advance(Duration::from_millis(4)).await;
            lasts(&alarm).await
        };
        let (first, second) = tokio::join!(lasts(&alarm), late);
        assert!(is_due(first) && is_due(second), "{first:?} {second:?}");
        let after_a_rest = lasts(&alarm).await;
        assert!(is_due(after_a_rest), "{after_a_rest:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn those_who_have_ended_are_forgotten_and_hold_nobody_up() {
        let (alarm, ..) = started();
        for _ in 0..1000 {
            let left = timeout(Duration::ZERO, alarm.wait()).await;
            assert!(left.is_err());
        }
        let waited = lasts(&alarm).await;
        assert!(is_due(waited), "{waited:?}");
        tokio::task::yield_now().await;
        assert!(alarm.queue.lock().entries.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn an_end_lets_nobody_wait() {
        let (alarm, stop, keeper) = started();
        let end = async {
            advance(Duration::from_millis(1)).await;
            stop.cancel();
            keeper.await.unwrap();
        };
        let (waited, ()) = tokio::join!(lasts(&alarm), end);
        assert!(waited < AFTER);
        assert_eq!(lasts(&alarm).await, Duration::ZERO);
    }
}
