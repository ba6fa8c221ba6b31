//! One worker for each partition that a reader has: messages of a partition are handled one after
//! the other.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use parking_lot::Mutex;
use rdkafka::message::OwnedMessage;
use rdkafka::{Message as _, TopicPartitionList};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// How many messages of a partition may wait; then no more of them are taken from the brokers.
const MANY: usize = 64;
/// How few may wait until more are taken again.
const FEW: usize = 8;

/// A partition of a topic.
pub(crate) type Partition = (String, i32);

/// How much a worker has.
#[derive(Debug, Default)]
struct Load {
    waiting: AtomicUsize,
    /// Whether its partition was paused.
    paused: AtomicBool,
}

/// What a worker is begun with.
pub(crate) struct Work {
    messages: mpsc::UnboundedReceiver<OwnedMessage>,
    load: Arc<Load>,
    /// Cancelled when the partition goes to another reader.
    pub(crate) revoked: CancellationToken,
}

impl Work {
    /// Waits for the next message. Says too whether the partition shall be resumed.
    pub(crate) async fn next(&mut self) -> Option<(OwnedMessage, bool)> {
        let message = self.messages.recv().await?;
        let left = self.load.waiting.fetch_sub(1, Ordering::SeqCst) - 1;
        let resume = left <= FEW && self.load.paused.swap(false, Ordering::SeqCst);
        Some((message, resume))
    }
}

struct Worker {
    // Never many more than it takes to pause the partition.
    messages: mpsc::UnboundedSender<OwnedMessage>,
    load: Arc<Load>,
    revoked: CancellationToken,
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.revoked.cancel();
    }
}

/// The workers of one reader.
#[derive(Default)]
pub(crate) struct Workers(Mutex<HashMap<Partition, Worker>>);

impl Workers {
    /// Gives a message to the worker of its partition, which `begin` starts if there is none. Says
    /// whether the partition shall be paused.
    pub(crate) fn give(&self, message: OwnedMessage, begin: impl FnOnce(Work)) -> bool {
        let partition = (message.topic().to_owned(), message.partition());
        let mut workers = self.0.lock();
        let worker = workers.entry(partition).or_insert_with(|| {
            let (sender, messages) = mpsc::unbounded_channel();
            let (load, revoked) = (Arc::<Load>::default(), CancellationToken::new());
            begin(Work {
                messages,
                load: Arc::clone(&load),
                revoked: revoked.clone(),
            });
            Worker {
                messages: sender,
                load,
                revoked,
            }
        });
        let waiting = worker.load.waiting.fetch_add(1, Ordering::SeqCst) + 1;
        if worker.messages.send(message).is_err() {
            // It ends with the link, and so does the reader.
            return true;
        }
        waiting >= MANY && !worker.load.paused.swap(true, Ordering::SeqCst)
    }

    /// Ends the workers of partitions that go to others.
    pub(crate) fn revoke(&self, partitions: &TopicPartitionList) {
        let mut workers = self.0.lock();
        for element in partitions.elements() {
            workers.remove(&(element.topic().to_owned(), element.partition()));
        }
    }
}

#[cfg(test)]
mod tests {
    use rdkafka::Timestamp;

    use super::*;

    fn message(partition: i32) -> OwnedMessage {
        let time = Timestamp::NotAvailable;
        OwnedMessage::new(None, None, "t".into(), time, partition, 0, None)
    }

    #[tokio::test]
    async fn a_partition_is_paused_when_many_wait_and_resumed_when_few_do() {
        let workers = Workers::default();
        let mut begun = Vec::new();
        let mut pauses = Vec::new();
        for _ in 0..MANY + 2 {
            pauses.push(workers.give(message(0), |work| begun.push(work)));
        }
        assert_eq!(pauses.iter().filter(|pause| **pause).count(), 1);
        assert!(pauses[MANY - 1]);
        let mut resumed_at = None;
        for left in (0..MANY + 2).rev() {
            let (_, resume) = begun[0].next().await.unwrap();
            if resume {
                assert_eq!(resumed_at.replace(left), None);
            }
        }
        assert_eq!(resumed_at, Some(FEW));
    }

    #[test]
    fn a_revoked_partition_ends_its_worker_alone() {
        let workers = Workers::default();
        let mut begun = Vec::new();
        for partition in [0, 1] {
            workers.give(message(partition), |work| begun.push(work));
        }
        let mut gone = TopicPartitionList::new();
        gone.add_partition("t", 0);
        workers.revoke(&gone);
        assert!(begun[0].revoked.is_cancelled() && !begun[1].revoked.is_cancelled());
    }
}
