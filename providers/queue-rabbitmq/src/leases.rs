//! Who has which message, and until when.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use lapin::options::{BasicAckOptions, BasicNackOptions};
use lapin::{Acker, BasicProperties};
use lattice_provider_sdk::Backoff;
use lattice_provider_sdk::queue::QueueError;
use parking_lot::Mutex;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use crate::dead_letter_queue::DeadLetterQueue;
use crate::queue::Queue;
use crate::rabbit::Lines;
use crate::room::Share;
use crate::store;
use crate::stored_message::History;

/// How long a message may be held in all: servers take messages from those who have them for half an
/// hour, and close their channel.
pub(crate) const LONGEST: Duration = Duration::from_secs(25 * 60);

/// How often a queue takes a message back, before it is sent again in place of that. A quorum queue of
/// RabbitMQ 4 drops one that came back more than twenty times, where it was not made to allow more. The
/// others are for what goes back unseen: with its connection, or when nobody waits for it any more.
const MOST_RETURNED: u32 = 15;

/// How often it is looked whether the server takes messages again.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// The first and the longest pause before what can neither go back nor be sent is sent once more.
const PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Why a message is a dead letter that was to come again.
const TOO_LARGE: &str = "it cannot be sent again: its headers are as large as RabbitMQ takes them";

/// How messages go back.
pub(crate) const REQUEUE: BasicNackOptions = BasicNackOptions {
    multiple: false,
    requeue: true,
};

/// One message that somebody has.
#[derive(Debug)]
pub(crate) struct Lease {
    pub(crate) lines: Weak<Lines>,
    pub(crate) queue: Arc<Queue>,
    pub(crate) acker: Acker,
    pub(crate) properties: BasicProperties,
    pub(crate) body: Bytes,
    pub(crate) history: History,
    pub(crate) attempt: u32,
    /// Whether its headers leave no room in their frame for what the server adds when it gives the message once
    /// more, which would end the connection.
    pub(crate) is_full: bool,
    pub(crate) dead_letters: DeadLetterQueue,
    pub(crate) since: Instant,
    pub(crate) until: Instant,
    /// What it takes of the room of its link.
    pub(crate) _share: Share,
}

impl Lease {
    /// Gives the message back. When that cannot be said, the connection is gone, and the message is
    /// given back with it.
    pub(crate) async fn give_back(&self) {
        self.acker.nack(REQUEUE).await.ok();
    }

    /// Whether its queue is not to take the message back once more: it would drop it, or could not give it.
    pub(crate) fn is_worn(&self) -> bool {
        let here = self.attempt.saturating_sub(self.history.attempts);
        self.is_full || here.saturating_sub(1) >= MOST_RETURNED
    }

    /// Sends the message again, as one that was delivered so often. One that cannot be would come for ever where
    /// the server does not count, and is a dead letter instead.
    pub(crate) async fn send_again(
        &self,
        lines: &Lines,
        attempts: u32,
        delay: Duration,
    ) -> Result<(), QueueError> {
        match store::again(lines, self, attempts, delay).await {
            Err(QueueError::TooLarge(_)) => self.dead_letters.store(lines, self, TOO_LARGE).await,
            done => done,
        }
    }

    /// What a message is sent again over that is not to go back, once the server takes messages: one that
    /// goes back while it takes none, which may be for long, is dropped at last.
    async fn to_send_again(&self) -> Option<Arc<Lines>> {
        let latest = self.since + LONGEST;
        while self.is_worn() && self.queue.is_open() && Instant::now() < latest {
            let lines = self.lines.upgrade()?;
            if lines.publishing().is_ok() {
                return Some(lines);
            }
            drop(lines);
            tokio::time::sleep(LOOK_EVERY).await;
        }
        None
    }

    /// Has the message come again after its lease. One whose channel is gone comes by itself.
    async fn end(&self) {
        let mut pauses = Backoff::new(PAUSE, LONGEST_PAUSE);
        while let Some(lines) = self.to_send_again().await {
            let sent = self.send_again(&lines, self.attempt, Duration::ZERO);
            let Err(error) = sent.await else {
                // When that cannot be said, the message comes twice.
                self.acker.ack(BasicAckOptions::default()).await.ok();
                return;
            };
            match error {
                // A server says that it takes nothing only when it is sent something.
                QueueError::Unavailable(_) if lines.publishing().is_err() => {}
                error if self.is_full => {
                    drop(lines);
                    let (queue, why) = (&*self.queue.name, error.text());
                    tracing::warn!(
                        queue,
                        why,
                        "a message whose headers fill a frame is kept, as it could not be sent again"
                    );
                    tokio::time::sleep(pauses.delay()).await;
                }
                _ => break,
            }
        }
        self.give_back().await;
    }
}

/// A lease with what ends it.
#[derive(Debug)]
struct Held {
    lease: Lease,
    _timer: AbortOnDropHandle<()>,
}

type Table = Arc<Mutex<HashMap<String, Held>>>;

/// The leases of one connection, by names that are never used again.
#[derive(Debug, Default)]
pub(crate) struct Leases {
    table: Table,
}

impl Leases {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Keeps a message until its lease ends.
    pub(crate) fn put(&self, receipt: &str, lease: Lease) {
        let (table, name, until) = (Arc::clone(&self.table), receipt.to_owned(), lease.until);
        // Held until the lease is there: a timer that is early has to find it.
        let mut leases = self.table.lock();
        let timer = tokio::spawn(async move {
            tokio::time::sleep_until(until).await;
            let held = table.lock().remove(&name);
            if let Some(Held { lease, _timer }) = held {
                // The timer is this task, which is not to end before it is done.
                drop(_timer.detach());
                lease.end().await;
            }
        });
        let held = Held {
            lease,
            _timer: AbortOnDropHandle::new(timer),
        };
        leases.insert(receipt.to_owned(), held);
    }

    /// Takes a lease that has not ended: who takes it settles it, or puts it back.
    pub(crate) fn take(&self, queue: &str, receipt: &str) -> Result<Lease, QueueError> {
        let mut table = self.table.lock();
        let is_alive = |held: &Held| {
            let lease = &held.lease;
            lease.queue.name == queue && lease.queue.is_open() && lease.until > Instant::now()
        };
        let is_lost = |held: &Held| !held.lease.queue.is_open();
        // One that has ended is left to its timer, which gives the message back.
        if table.get(receipt).is_some_and(is_alive)
            && let Some(held) = table.remove(receipt)
        {
            return Ok(held.lease);
        }
        if table.get(receipt).is_some_and(is_lost) {
            table.remove(receipt);
        }
        Err(QueueError::ReceiptExpired)
    }

    /// Drops the leases of channels that are gone: the server has given their messages back.
    pub(crate) fn forget_lost(&self) {
        let is_open = |held: &mut Held| held.lease.queue.is_open();
        self.table.lock().retain(|_, held| is_open(held));
    }
}

/// A text that nothing else is called.
pub(crate) fn fresh() -> String {
    let random = || RandomState::new().build_hasher().finish();
    format!("{:016x}{:016x}", random(), random())
}
