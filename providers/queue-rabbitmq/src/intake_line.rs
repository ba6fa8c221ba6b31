//! The connection for everything that is not published.

use std::collections::HashMap;
use std::sync::Arc;

use lapin::types::FieldTable;
use lapin::{BasicProperties, Connection};
use lattice_provider_sdk::queue::QueueError;
use lattice_rabbitmq::fits_frame;
use parking_lot::RwLock;
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use crate::publish_line::answered;
use crate::queue::{LASTS_AFTER, Queue, declare};
use crate::settings::QueueSettings;

/// How many queues are known at once, and how many of them have a channel. There are fewer where the server
/// lets a connection have few channels: half of them are for what is asked in between.
const MOST_QUEUES: usize = 1024;
/// How many queues where messages wait are known to be there.
const MOST_WAITED_AT: usize = 4096;

/// One connection for all that is not published: what brings messages, acknowledges them, and makes and looks
/// up queues. A server that is short of memory or disk reads nothing from connections that publish, and would
/// not hear that messages were handled, which is what relieves it.
#[derive(Debug)]
pub(crate) struct IntakeLine {
    pub(crate) connection: Connection,
    queues: RwLock<HashMap<String, Arc<Queue>>>,
    most_queues: usize,
    /// What is left of the channels that queues may have.
    channels: Arc<Semaphore>,
    /// The queues where messages wait that are there, each with the time from which on it keeps what the
    /// server has confirmed.
    waited_at: RwLock<HashMap<String, Instant>>,
    /// Held while a queue is looked up, so that many calls at once ask once.
    opening: Mutex<()>,
}

impl lattice_rabbitmq::Line for IntakeLine {
    fn is_up(&self) -> bool {
        self.connection.status().connected()
    }
}

impl IntakeLine {
    /// What looks queues up and receives from them, on a new connection.
    pub(crate) fn on(connection: Connection) -> Self {
        let half = usize::from(connection.configuration().channel_max() / 2);
        let most_queues = half.clamp(1, MOST_QUEUES);
        Self {
            connection,
            queues: RwLock::default(),
            most_queues,
            channels: Arc::new(Semaphore::new(most_queues)),
            waited_at: RwLock::default(),
            opening: Mutex::default(),
        }
    }

    /// The queue of that name, created as `create` says if it is missing.
    pub(crate) async fn queue(
        &self,
        name: &str,
        create: Option<QueueSettings>,
    ) -> Result<Arc<Queue>, QueueError> {
        if let Some(known) = self.known(name) {
            return Ok(known);
        }
        answered(async {
            let _one_at_a_time = self.opening.lock().await;
            if let Some(known) = self.known(name) {
                return Ok(known);
            }
            let queue = Arc::new(Queue::open(&self.connection, name, create).await?);
            self.keep(&queue);
            Ok(queue)
        })
        .await
    }

    /// One whose channel was closed is opened again.
    fn known(&self, name: &str) -> Option<Arc<Queue>> {
        let queues = self.queues.read();
        queues
            .get(name)
            .filter(|queue| queue.is_open())
            .map(Arc::clone)
    }

    /// Knows a queue from now on, unless as many as may be known are in use. One that was just made is known all
    /// the same: who looked it up again would take it for an old one, that keeps messages.
    fn keep(&self, queue: &Arc<Queue>) {
        let mut queues = self.queues.write();
        queues.remove(&queue.name);
        if queues.len() >= self.most_queues {
            forget_idle(&mut queues);
        }
        if queues.len() < self.most_queues || !queue.is_lasting() {
            queues.insert(queue.name.clone(), Arc::clone(queue));
        }
    }

    /// Lets one more queue have a channel, which one that nobody uses loses if there is none left.
    pub(crate) fn channel_place(&self) -> Result<OwnedSemaphorePermit, QueueError> {
        let place = || Arc::clone(&self.channels).try_acquire_owned();
        let found = place().or_else(|_| {
            forget_idle(&mut self.queues.write());
            place()
        });
        found.map_err(|_| {
            let most = self.most_queues;
            QueueError::unavailable(format!(
                "messages of {most} queues are held, and there is no channel for one more; settle some"
            ))
        })
    }

    /// Makes sure of a queue where messages wait, and says from when on it keeps what the server has
    /// confirmed. It may be new whoever made it: another copy of the provider may have done so a moment
    /// ago, and a server that was killed soon after begins it anew. So this is a little after it was first
    /// used over this line.
    pub(crate) async fn waits_at(
        &self,
        name: &str,
        arguments: impl FnOnce() -> FieldTable,
    ) -> Result<Instant, QueueError> {
        let known = self.waited_at.read().get(name).copied();
        if let Some(lasts) = known {
            return Ok(lasts);
        }
        answered(declare(&self.connection, name, arguments())).await?;
        let mut waited_at = self.waited_at.write();
        let full = waited_at.len() >= MOST_WAITED_AT;
        // Who uses the one that is forgotten waits again.
        let any = waited_at.keys().next().filter(|_| full).cloned();
        if let Some(any) = any {
            waited_at.remove(&any);
        }
        let lasts = Instant::now() + LASTS_AFTER;
        Ok(*waited_at.entry(name.to_owned()).or_insert(lasts))
    }

    /// Looks a queue up again before its next use: it may have been deleted.
    pub(crate) fn forget(&self, name: &str) {
        self.queues.write().remove(name);
        self.waited_at.write().remove(name);
    }

    /// Whether a message that was received goes back with these properties, to which `more` bytes may come.
    pub(crate) fn takes(&self, properties: &BasicProperties, more: usize) -> bool {
        fits_frame(&self.connection, properties, more)
    }
}

/// Forgets the queues that nobody uses and of whose messages nobody has any; they are looked up again before
/// their next use. One that was just made is known to be so, as its messages are not kept at once.
fn forget_idle(queues: &mut HashMap<String, Arc<Queue>>) {
    queues.retain(|_, queue| Arc::strong_count(queue) > 1 || !queue.is_lasting());
}
