//! Calling the handlers of components.

mod call;
mod pace;
mod settings;
mod unbegun;
mod work;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::backend::{Delivery, Queues, ReceiveOptions};
use super::checks::MOST_RECEIVED;
use super::linked::Linked;
use crate::Backoff;
use crate::link::{LinkKey, ProviderLink};
use crate::session::Session;
pub use settings::PushSettings;
use work::Worker;

/// The first and the longest pause after a receive that failed.
const PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// How long a receive under way is waited for at the end, and handlers of a link that is deleted.
const LAST_RECEIVE: Duration = Duration::from_secs(1);
const LAST_CALLS: Duration = Duration::from_secs(2);

/// How long messages may take to go back to their queue.
const GIVING_BACK: Duration = Duration::from_millis(500);
/// How long that may take at the most, once it has begun.
const LAST_GIVING_BACK: Duration = Duration::from_secs(2);

/// The links whose handlers are called. Dropping it stops them all.
#[derive(Debug, Default)]
pub struct Handlers {
    running: Mutex<HashMap<LinkKey, Running>>,
}

/// The calls of one link.
#[derive(Debug)]
struct Running {
    /// Ends the receiving.
    leaving: CancellationToken,
    /// Ends the calls too: their messages go back to the queue.
    over: CancellationToken,
    task: Option<JoinHandle<()>>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.leaving.cancel();
        self.over.cancel();
    }
}

impl Handlers {
    /// None yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Begins to receive from the own queue of the link and to call its component.
    pub fn put<B: Queues>(
        &self,
        session: &Session,
        link: &ProviderLink,
        linked: Linked<B>,
        settings: PushSettings,
    ) {
        let (leaving, over) = (CancellationToken::new(), CancellationToken::new());
        let worker = Worker::new(session, link, linked, settings, over.clone());
        let task = tokio::spawn(run(Arc::new(worker), leaving.clone()));
        let running = Running {
            leaving,
            over,
            task: Some(task),
        };
        self.running.lock().insert(link.key(), running);
    }

    /// Stops what [`Handlers::put`] began. Handlers that are at work have two seconds to end; the
    /// messages of the others go back to the queue.
    pub async fn delete(&self, link: &ProviderLink) {
        let running = self.running.lock().remove(&link.key());
        if let Some(running) = running {
            running.end(Instant::now() + LAST_CALLS).await;
        }
    }

    /// Stops all of them by `until` at the latest.
    pub async fn end(&self, until: Instant) {
        let running = std::mem::take(&mut *self.running.lock());
        let running = running.into_values();
        join_all(running.map(|running| running.end(until))).await;
    }
}

impl Running {
    async fn end(mut self, until: Instant) {
        self.leaving.cancel();
        let Some(mut task) = self.task.take() else {
            return;
        };
        let soft = until.checked_sub(GIVING_BACK).unwrap_or(until);
        if tokio::time::timeout_at(soft, &mut task).await.is_ok() {
            return;
        }
        self.over.cancel();
        // Cut off in the middle, what is given back may be there twice.
        let hard = until.max(Instant::now() + LAST_GIVING_BACK);
        if tokio::time::timeout_at(hard, &mut task).await.is_err() {
            task.abort();
        }
    }
}

/// Receives and has each delivery handled, until the link leaves and all are done.
async fn run<B: Queues>(worker: Arc<Worker<B>>, leaving: CancellationToken) {
    let room = Arc::new(Semaphore::new(worker.settings.max_in_flight));
    let mut tasks = JoinSet::new();
    let mut backoff = Backoff::new(PAUSE, LONGEST_PAUSE);
    while let Some(permits) = some_room(&worker, &room, &leaving).await {
        reap(&mut tasks);
        match receive(&worker, permits.len(), &leaving).await {
            None => break,
            Some(Ok(deliveries)) => {
                backoff = Backoff::new(PAUSE, LONGEST_PAUSE);
                start(&worker, &mut tasks, deliveries, permits);
            }
            Some(Err(error)) => {
                let (link, error) = (&worker.link, error.text());
                tracing::warn!(link, error, "could not receive messages for a handler");
                drop(permits);
                let pause = tokio::time::sleep(backoff.delay());
                tokio::select! { () = leaving.cancelled() => break, () = pause => {} }
            }
        }
    }
    while tasks.join_next().await.is_some() {}
}

/// Waits until at least one more message may be handled; `None` when the link leaves.
async fn some_room<B: Queues>(
    worker: &Worker<B>,
    room: &Arc<Semaphore>,
    leaving: &CancellationToken,
) -> Option<Vec<OwnedSemaphorePermit>> {
    let wait = async {
        let first = Arc::clone(room).acquire_owned().await.ok()?;
        worker.pace.turn().await;
        let mut permits = vec![first];
        while permits.len() < MOST_RECEIVED
            && let Ok(more) = Arc::clone(room).try_acquire_owned()
        {
            permits.push(more);
        }
        Some(permits)
    };
    tokio::select! { biased; () = leaving.cancelled() => None, permits = wait => permits }
}

/// Asks the backend once; `None` when the link leaves and nothing came.
async fn receive<B: Queues>(
    worker: &Worker<B>,
    max: usize,
    leaving: &CancellationToken,
) -> Option<Result<Vec<Delivery>, super::QueueError>> {
    let want = ReceiveOptions {
        max,
        wait: B::POLL,
        lease: worker.linked.lease(),
    };
    let queues = worker.linked.queues();
    let receive = queues.receive(worker.linked.own_queue(), want);
    tokio::pin!(receive);
    tokio::select! {
        biased;
        got = &mut receive => return Some(got),
        () = leaving.cancelled() => {}
    }
    // What is given to a receive that is dropped would be leased to nobody until its lease ends.
    let last = tokio::time::timeout(LAST_RECEIVE, receive).await;
    let last = last.ok()?.ok()?;
    worker.give_back(last).await;
    None
}

fn start<B: Queues>(
    worker: &Arc<Worker<B>>,
    tasks: &mut JoinSet<()>,
    deliveries: Vec<Delivery>,
    permits: Vec<OwnedSemaphorePermit>,
) {
    // A backend that gives more than was asked for has the rest wait here for nobody.
    let mut permits = permits.into_iter();
    for delivery in deliveries {
        let (worker, permit) = (Arc::clone(worker), permits.next());
        tasks.spawn(async move {
            worker.work(delivery).await;
            drop(permit);
        });
    }
}

fn reap(tasks: &mut JoinSet<()>) {
    while let Some(done) = tasks.try_join_next() {
        if done.is_err() {
            tracing::error!("a task that handles messages panicked");
        }
    }
}
