//! Starting a future where it arises.
//!
//! Most calls are answered without waiting for anything. Those need no task: they are polled once
//! by whoever takes them in, which saves a task each and keeps them on the worker that has their
//! bytes in its cache. A future that has to wait goes on in a task of its own, and one that keeps
//! its thread busy moves to the threads for such.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use std::time::Duration;

use futures::task::AtomicWaker;
use tokio::runtime::Handle;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

/// How long a future may keep its thread at a stretch before it has to move.
pub(crate) const LONG: Duration = Duration::from_millis(1);

/// Where futures go on that are not done at once.
#[derive(Debug, Clone)]
pub(crate) struct Spawner {
    /// Owns their tasks.
    pub(crate) tasks: TaskTracker,
    /// The threads for those that take long, if there are any.
    pub(crate) long: Option<Handle>,
}

impl Spawner {
    /// Lets a future begin in a task of its own, apart from those that are started here.
    pub(crate) fn begin<F>(&self, future: Pin<Box<F>>)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        match &self.long {
            Some(threads) => self.tasks.spawn_on(future, threads),
            None => self.tasks.spawn(future),
        };
    }

    /// Lets a future begin in a task of its own, beside those that are started here.
    pub(crate) fn join<F>(&self, future: Pin<Box<F>>)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.tasks.spawn(Waiting {
            future: Some(future),
            relay: None,
            spawner: self.long.is_some().then(|| self.clone()),
        });
    }

    /// Lets a future go on that has kept its thread for `busy` and waits now.
    fn go_on<F>(&self, waiting: Waiting<F>, busy: Duration)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        match &self.long {
            Some(threads) if busy > LONG => {
                let rest = Waiting {
                    spawner: None,
                    ..waiting
                };
                self.tasks.spawn_on(rest, threads)
            }
            _ => self.tasks.spawn(waiting),
        };
    }
}

/// Polls futures for the first time, one after the other.
#[derive(Debug, Default)]
pub(crate) struct Starter {
    relay: Arc<Relay>,
}

impl Starter {
    /// Polls a future once, and says how long that took; if it has to wait, it goes on with the
    /// spawner. A panic ends it, as it would end the task that it stands for.
    pub(crate) fn start<F>(&mut self, mut future: Pin<Box<F>>, spawner: &Spawner) -> Duration
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let began = Instant::now();
        let waker = Waker::from(Arc::clone(&self.relay));
        let mut cx = Context::from_waker(&waker);
        let polled = catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(&mut cx)));
        drop(waker);
        let busy = began.elapsed();
        if let Ok(Poll::Pending) = polled {
            let waiting = Waiting {
                future: Some(future),
                relay: Some(std::mem::take(&mut self.relay)),
                spawner: spawner.long.is_some().then(|| spawner.clone()),
            };
            spawner.go_on(waiting, busy);
        } else if Arc::get_mut(&mut self.relay).is_none_or(Relay::is_used) {
            // Somebody may still wake what has ended; that must not reach the next.
            self.relay = Arc::default();
        }
        busy
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

/// A future that has been polled and waits.
#[derive(Debug)]
struct Waiting<F> {
    /// `None` once it has moved.
    future: Option<Pin<Box<F>>>,
    /// Where its first poll has left word to be woken; `None` once that has happened.
    relay: Option<Arc<Relay>>,
    /// Who takes it when it takes long; `None` when it may stay.
    spawner: Option<Spawner>,
}

impl<F> Future for Waiting<F>
where
    F: Future<Output = ()> + Send + 'static,
{
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        if let Some(relay) = &this.relay {
            relay.task.register(cx.waker());
            if !relay.woken.load(Ordering::Acquire) {
                return Poll::Pending;
            }
            this.relay = None;
        }
        let Some(future) = &mut this.future else {
            return Poll::Ready(());
        };
        if this.spawner.is_none() {
            return future.as_mut().poll(cx);
        }
        let began = Instant::now();
        if future.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        let busy = began.elapsed();
        if busy <= LONG {
            return Poll::Pending;
        }
        // Its next poll, over there, is at once; being woken here no longer counts.
        if let (Some(spawner), future @ Some(_)) = (this.spawner.take(), this.future.take()) {
            let waiting = Waiting {
                future,
                relay: None,
                spawner: None,
            };
            spawner.go_on(waiting, busy);
        }
        Poll::Ready(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::future::poll_fn;
    use std::thread::{self, ThreadId};

    use tokio::sync::{mpsc, oneshot};
    use tokio::time::timeout;

    const SOON: Duration = Duration::from_secs(5);

    fn spawner(long: Option<Handle>) -> Spawner {
        Spawner {
            tasks: TaskTracker::new(),
            long,
        }
    }

    #[test]
    fn what_does_not_wait_is_done_at_once_and_needs_no_runtime() {
        let mut starter = Starter::default();
        let done = Arc::new(AtomicBool::new(false));
        for _ in 0..3 {
            let mark = Arc::clone(&done);
            let future = async move { mark.store(true, Ordering::Relaxed) };
            starter.start(Box::pin(future), &spawner(None));
            assert!(done.swap(false, Ordering::Relaxed));
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
            starter.start(Box::pin(waiting), &spawner(None));
            if !early {
                tokio::task::yield_now().await;
            }
            wake.send(()).unwrap();
            timeout(SOON, told).await.expect("woken").unwrap();
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
        let spawner = spawner(None);
        Starter::default().start(Box::pin(future), &spawner);
        spawner.tasks.close();
        timeout(SOON, spawner.tasks.wait()).await.unwrap();
    }

    #[tokio::test]
    async fn a_panic_ends_its_future_only() {
        let mut starter = Starter::default();
        let spawner = spawner(None);
        starter.start(Box::pin(async { panic!("meant to") }), &spawner);
        assert!(spawner.tasks.is_empty());
        starter.start(Box::pin(std::future::pending()), &spawner);
        assert_eq!(spawner.tasks.len(), 1);
    }

    /// Keeps its thread for `busy` in each of `polls`, and tells on which thread that was.
    fn worker(
        polls: usize,
        busy: Duration,
        tell: mpsc::UnboundedSender<ThreadId>,
    ) -> Pin<Box<impl Future<Output = ()> + Send>> {
        Box::pin(async move {
            for _ in 0..polls {
                tell.send(thread::current().id()).unwrap();
                let until = Instant::now() + busy;
                while Instant::now() < until {
                    std::hint::spin_loop();
                }
                tokio::task::yield_now().await;
            }
        })
    }

    async fn threads_of(polls: usize, busy: Duration) -> Vec<ThreadId> {
        let other = crate::threads::runtime_for_long_work().unwrap();
        let spawner = spawner(Some(other.handle().clone()));
        let (tell, mut told) = mpsc::unbounded_channel();
        Starter::default().start(worker(polls, busy, tell), &spawner);
        spawner.tasks.close();
        timeout(SOON, spawner.tasks.wait()).await.unwrap();
        other.shutdown_background();
        let mut threads = Vec::new();
        while let Some(thread) = told.recv().await {
            threads.push(thread);
        }
        threads
    }

    #[tokio::test]
    async fn what_keeps_its_thread_busy_moves_and_ends_elsewhere() {
        let own = thread::current().id();
        let threads = threads_of(3, 2 * LONG).await;
        assert_eq!(threads.len(), 3);
        assert!(threads[0] == own && threads[1..].iter().all(|thread| *thread != own));
    }
}
