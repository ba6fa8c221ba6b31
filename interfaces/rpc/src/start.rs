//! Starting a future where it arises.
//!
//! Most calls are answered without waiting for anything. Those need no task: they are polled once
//! by whoever takes them in, which saves a task each and keeps them on the worker that has their
//! bytes in its cache. A future that has to wait goes on in a task of its own.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use futures::task::AtomicWaker;

/// Polls futures for the first time, one after the other.
#[derive(Debug, Default)]
pub(crate) struct Starter {
    relay: Arc<Relay>,
}

impl Starter {
    /// Polls a future once and returns it if it has to wait. A panic ends it, as it would end the
    /// task that it stands for.
    pub(crate) fn start<F>(&mut self, mut future: Pin<Box<F>>) -> Option<Started<F>>
    where
        F: Future<Output = ()>,
    {
        let waker = Waker::from(Arc::clone(&self.relay));
        let mut cx = Context::from_waker(&waker);
        let polled = catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(&mut cx)));
        drop(waker);
        let waits = match polled {
            Ok(Poll::Pending) => true,
            Ok(Poll::Ready(())) => false,
            // The panic hook has told of it.
            Err(_) => false,
        };
        // A relay that nobody else holds, and that was not used, serves the next future too.
        let used = waits || Arc::get_mut(&mut self.relay).is_none_or(Relay::is_used);
        let relay = used.then(|| std::mem::take(&mut self.relay));
        waits.then_some(Started { future, relay })
    }
}

/// Passes a wake-up on to the task in which the future goes on, also one that came before it.
#[derive(Debug, Default)]
struct Relay {
    woken: AtomicBool,
    task: AtomicWaker,
}

impl Relay {
    fn is_used(&mut self) -> bool {
        *self.woken.get_mut()
    }
}

impl Wake for Relay {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.woken.store(true, Ordering::Release);
        self.task.wake();
    }
}

/// A future that has been polled once and waits.
#[derive(Debug)]
pub(crate) struct Started<F> {
    future: Pin<Box<F>>,
    /// Where its first poll has left word to be woken; `None` once that has happened.
    relay: Option<Arc<Relay>>,
}

impl<F: Future<Output = ()>> Future for Started<F> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(relay) = &self.relay {
            relay.task.register(cx.waker());
            if !relay.woken.load(Ordering::Acquire) {
                return Poll::Pending;
            }
            self.relay = None;
        }
        self.future.as_mut().poll(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::future::poll_fn;
    use std::time::Duration;

    use tokio::sync::oneshot;

    #[test]
    fn what_does_not_wait_is_done_at_once() {
        let mut starter = Starter::default();
        for _ in 0..3 {
            let done = Arc::new(AtomicBool::new(false));
            let mark = Arc::clone(&done);
            let future = async move { mark.store(true, Ordering::Relaxed) };
            assert!(starter.start(Box::pin(future)).is_none());
            assert!(done.load(Ordering::Relaxed));
        }
    }

    #[tokio::test]
    async fn what_waits_goes_on_when_woken_before_or_after_it_has_a_task() {
        let mut starter = Starter::default();
        for early in [true, false] {
            let (wake, woken) = oneshot::channel::<()>();
            let (tell, told) = oneshot::channel();
            let waiting = async move {
                woken.await.unwrap();
                tell.send(()).unwrap();
            };
            let started = starter.start(Box::pin(waiting)).unwrap();
            if early {
                wake.send(()).unwrap();
                tokio::spawn(started);
            } else {
                tokio::spawn(started);
                tokio::task::yield_now().await;
                wake.send(()).unwrap();
            }
            let told = tokio::time::timeout(Duration::from_secs(5), told).await;
            told.expect("woken").unwrap();
        }
    }

    #[tokio::test]
    async fn a_wake_up_in_the_first_poll_is_not_lost() {
        let mut polls = 0;
        let future = poll_fn(move |cx| {
            polls += 1;
            if polls == 3 {
                return Poll::Ready(());
            }
            cx.waker().wake_by_ref();
            Poll::Pending
        });
        let mut starter = Starter::default();
        let started = starter.start(Box::pin(future)).unwrap();
        tokio::time::timeout(Duration::from_secs(5), started)
            .await
            .unwrap();
    }

    #[test]
    fn a_panic_ends_its_future_only() {
        let mut starter = Starter::default();
        assert!(
            starter
                .start(Box::pin(async { panic!("meant to") }))
                .is_none()
        );
        assert!(starter.start(Box::pin(std::future::pending())).is_some());
    }
}
