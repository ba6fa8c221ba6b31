//! Messages on their way to the dead letters.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use super::spent;
use crate::queue::backend::{Delivery, Outcome, Queues};

/// How many messages of a link are moved at a time.
const AT_ONCE: usize = 16;
/// How many may be under way or wait for that.
const MOST: usize = 1024;

/// The moves of one link. One that has begun goes on when nobody waits for it any more: broken off in the
/// middle it would leave a letter, and the message that becomes another. They end with their link.
#[derive(Debug)]
pub(super) struct DeadMoves {
    tasks: Mutex<JoinSet<()>>,
    room: Arc<Semaphore>,
}

impl DeadMoves {
    pub(super) fn new() -> Self {
        Self {
            tasks: Mutex::default(),
            room: Arc::new(Semaphore::new(AT_ONCE)),
        }
    }

    /// Begins to move messages that are leased for so long, and waits for that until a deadline.
    pub(super) async fn move_all<B: Queues>(
        &self,
        queues: &Arc<B>,
        queue: &str,
        (dead, lease): (Vec<Delivery>, Duration),
        until: Instant,
    ) {
        // Later another may have them.
        let latest = Instant::now() + lease / 2;
        let (under_way, mut all) = mpsc::channel::<()>(1);
        for delivery in dead {
            let (queues, queue) = (Arc::clone(queues), queue.to_owned());
            let (room, under_way) = (Arc::clone(&self.room), under_way.clone());
            self.spawn(async move {
                if let Ok(Ok(_place)) = timeout_at(latest, room.acquire()).await {
                    // One that hangs may not keep its place from the others.
                    let moved = move_to_dead_letters(&*queues, &queue, &delivery);
                    timeout_at(latest + lease / 2, moved).await.ok();
                }
                drop(under_way);
            });
        }
        drop(under_way);
        if timeout_at(until, all.recv()).await.is_err() {
            // Those that do not begin in time come again when their leases end.
            tracing::warn!(queue, "moving messages to the dead letters takes long");
        }
    }

    fn spawn(&self, dead_move: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = self.tasks.lock();
        while tasks.try_join_next().is_some() {}
        if tasks.len() < MOST {
            tasks.spawn(dead_move);
        }
    }
}

/// Rejects a message that was delivered too often. It is only called where the dead-letter queue is another
/// queue: in a dead-letter queue nothing is delivered too often.
async fn move_to_dead_letters<B: Queues>(queues: &B, queue: &str, delivery: &Delivery) {
    let rejected = Outcome::Reject(spent(delivery.attempt));
    let done = queues.settle(queue, &delivery.receipt, rejected).await;
    if let Err(error) = done {
        let (id, error) = (&delivery.id, error.text());
        tracing::warn!(
            queue,
            id,
            error,
            "could not move a message to the dead letters"
        );
    }
}
