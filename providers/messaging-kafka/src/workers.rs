//! One worker for each partition that a reader has: messages of a partition are handled one after
//! the other.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};

use parking_lot::Mutex;
use rdkafka::message::{Headers as _, OwnedMessage};
use rdkafka::{Message as _, TopicPartitionList};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// How many messages of a partition may wait; then no more of them are taken from the brokers.
const MANY: usize = 64;
/// How few may wait until more are taken again.
const FEW: usize = 8;
/// How many bytes the messages of all partitions of a reader may have that wait or are handled. Then no more
/// are taken of a partition that has given one, until none of its messages waits any more.
const MANY_BYTES: usize = 16 << 20;
/// How few they have to be until more are taken again of a partition of which some wait.
const FEW_BYTES: usize = MANY_BYTES / 2;
/// What a message takes besides its bytes, at least about.
const OVERHEAD: usize = 256;

/// A partition of a topic.
pub(crate) type Partition = (String, i32);

/// How much a worker has.
#[derive(Debug, Default)]
struct Load {
    waiting: AtomicUsize,
    /// Whether its partition was paused.
    paused: AtomicBool,
    /// Where its message was that it has taken last.
    last: AtomicI64,
}

/// The bytes of a message, which count for as long as it is there.
#[derive(Debug)]
struct Weight {
    bytes: usize,
    all: Arc<AtomicUsize>,
}

impl Weight {
    fn new(message: &OwnedMessage, all: &Arc<AtomicUsize>) -> Self {
        let length = |bytes: Option<&[u8]>| bytes.map_or(0, <[u8]>::len);
        let headers = message.headers().into_iter();
        let headers = headers.flat_map(|headers| headers.iter());
        let headers = headers.map(|header| header.key.len() + length(header.value));
        let bytes = length(message.payload()) + length(message.key());
        let bytes = bytes + headers.sum::<usize>() + OVERHEAD;
        all.fetch_add(bytes, Ordering::SeqCst);
        let all = Arc::clone(all);
        Self { bytes, all }
    }
}

impl Drop for Weight {
    fn drop(&mut self) {
        self.all.fetch_sub(self.bytes, Ordering::SeqCst);
    }
}

/// A message for a worker, to be kept until it is handled.
pub(crate) struct Given {
    pub(crate) message: OwnedMessage,
    /// Whether its partition shall be resumed.
    pub(crate) resume: bool,
    _weight: Weight,
}

/// What a worker is begun with.
pub(crate) struct Work {
    messages: mpsc::UnboundedReceiver<(OwnedMessage, Weight)>,
    load: Arc<Load>,
    /// The bytes of all partitions.
    bytes: Arc<AtomicUsize>,
    /// Cancelled when the partition goes to another reader.
    pub(crate) revoked: CancellationToken,
}

impl Work {
    /// Waits for the next message.
    pub(crate) async fn next(&mut self) -> Option<Given> {
        let (message, weight) = self.messages.recv().await?;
        self.load.last.store(message.offset(), Ordering::SeqCst);
        let left = self.load.waiting.fetch_sub(1, Ordering::SeqCst) - 1;
        let few = left <= FEW && self.bytes.load(Ordering::SeqCst) <= FEW_BYTES;
        // However much the others have, each has one.
        let resume = (few || left == 0) && self.load.paused.swap(false, Ordering::SeqCst);
        Some(Given {
            message,
            resume,
            _weight: weight,
        })
    }
}

struct Worker {
    // Never many more than it takes to pause the partition.
    messages: mpsc::UnboundedSender<(OwnedMessage, Weight)>,
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
pub(crate) struct Workers {
    table: Mutex<HashMap<Partition, Worker>>,
    bytes: Arc<AtomicUsize>,
}

impl Workers {
    /// Gives a message to the worker of its partition, which `begin` starts if there is none. Says
    /// whether the partition shall be paused.
    pub(crate) fn give(&self, message: OwnedMessage, begin: impl FnOnce(Work)) -> bool {
        let partition = (message.topic().to_owned(), message.partition());
        let mut workers = self.table.lock();
        let worker = workers.entry(partition).or_insert_with(|| {
            let (sender, messages) = mpsc::unbounded_channel();
            let revoked = CancellationToken::new();
            let load = Arc::new(Load {
                last: AtomicI64::new(message.offset() - 1),
                ..Load::default()
            });
            begin(Work {
                messages,
                load: Arc::clone(&load),
                bytes: Arc::clone(&self.bytes),
                revoked: revoked.clone(),
            });
            Worker {
                messages: sender,
                load,
                revoked,
            }
        });
        let weight = Weight::new(&message, &self.bytes);
        let waiting = worker.load.waiting.fetch_add(1, Ordering::SeqCst) + 1;
        let many = waiting >= MANY || self.bytes.load(Ordering::SeqCst) >= MANY_BYTES;
        // Before the worker has the message: the last one that it takes is to resume the partition.
        let pause = many && !worker.load.paused.swap(true, Ordering::SeqCst);
        if worker.messages.send((message, weight)).is_err() {
            // It ends with the link, and so does the reader; or it has broken, which is told.
            return true;
        }
        pause
    }

    /// Where a partition is to be read on whose worker has broken: after the message that broke it, which
    /// would break the next one, too. What waited is read again.
    pub(crate) fn broken(&self, partition: &Partition) -> Option<i64> {
        let workers = self.table.lock();
        let worker = workers.get(partition);
        let broken = worker.filter(|worker| worker.messages.is_closed())?;
        Some(broken.load.last.load(Ordering::SeqCst) + 1)
    }

    /// Forgets the worker of a partition that has broken, when the partition is read on. Until then it takes
    /// no message.
    pub(crate) fn forget(&self, partition: &Partition) {
        self.table.lock().remove(partition);
    }

    /// Ends the workers of partitions that go to others, and tells which of these were paused: they would
    /// still be when they come back.
    pub(crate) fn revoke(&self, partitions: &TopicPartitionList) -> TopicPartitionList {
        let mut workers = self.table.lock();
        let mut paused = TopicPartitionList::new();
        for element in partitions.elements() {
            let (topic, partition) = (element.topic(), element.partition());
            let worker = workers.remove(&(topic.to_owned(), partition));
            if worker.is_some_and(|worker| worker.load.paused.swap(false, Ordering::SeqCst)) {
                paused.add_partition(topic, partition);
            }
        }
        paused
    }
}

#[cfg(test)]
mod tests {
    use rdkafka::Timestamp;

    use super::*;

    fn message(partition: i32) -> OwnedMessage {
        sized(partition, 0)
    }

    fn sized(partition: i32, size: usize) -> OwnedMessage {
        at(0, partition, size)
    }

    fn at(offset: i64, partition: i32, size: usize) -> OwnedMessage {
        let (time, body) = (Timestamp::NotAvailable, vec![0; size]);
        OwnedMessage::new(Some(body), None, "t".into(), time, partition, offset, None)
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
            let given = begun[0].next().await.unwrap();
            if given.resume {
                assert_eq!(resumed_at.replace(left), None);
            }
        }
        assert_eq!(resumed_at, Some(FEW));
    }

    #[tokio::test]
    async fn all_partitions_share_the_bytes_that_wait_and_each_may_have_one_message() {
        let workers = Workers::default();
        let mut begun = Vec::new();
        let large = MANY_BYTES / 4 - OVERHEAD;
        let mut pauses = Vec::new();
        for partition in [0, 0, 0, 0, 1, 2] {
            let message = sized(partition, large);
            pauses.push(workers.give(message, |work| begun.push(work)));
        }
        assert_eq!(pauses, [false, false, false, true, true, true]);
        // The others have too much still, but none waits in this one any more.
        let first = begun[1].next().await.unwrap();
        assert!(first.resume);
        assert!(workers.give(sized(1, large), |_| unreachable!("it is there")));
        // What is dropped with its worker, or was handled, does not count any more.
        drop(begun.split_off(1));
        drop(first);
        let mut resumes = Vec::new();
        for _ in 0..4 {
            resumes.push(begun[0].next().await.unwrap().resume);
        }
        assert_eq!(resumes, [false, false, true, false]);
        assert_eq!(workers.bytes.load(Ordering::SeqCst), 0);
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
        assert_eq!(workers.revoke(&gone).count(), 0);
        assert!(begun[0].revoked.is_cancelled() && !begun[1].revoked.is_cancelled());
    }

    #[tokio::test]
    async fn a_partition_whose_worker_broke_goes_on_after_the_message_that_broke_it() {
        let workers = Workers::default();
        let partition = ("t".to_owned(), 0);
        let mut begun = Vec::new();
        for offset in 7..10 {
            workers.give(at(offset, 0, 0), |work| begun.push(work));
        }
        let mut work = begun.pop().unwrap();
        work.next().await.unwrap();
        work.next().await.unwrap();
        assert_eq!(workers.broken(&partition), None);
        drop(work);
        assert!(workers.give(at(10, 0, 0), |_| unreachable!("nobody knows yet")));
        assert_eq!(workers.broken(&partition), Some(9));
        workers.forget(&partition);
        assert_eq!(workers.broken(&partition), None);
        assert!(!workers.give(at(9, 0, 0), |work| begun.push(work)));
        assert!(begun[0].next().await.is_some());
    }

    #[test]
    fn a_revoked_partition_is_told_if_it_was_paused() {
        let workers = Workers::default();
        let mut begun = Vec::new();
        workers.give(message(0), |work| begun.push(work));
        assert!(workers.give(sized(1, MANY_BYTES), |work| begun.push(work)));
        let mut gone = TopicPartitionList::new();
        for partition in [0, 1] {
            gone.add_partition("t", partition);
        }
        let paused = workers.revoke(&gone);
        let paused: Vec<_> = paused.elements().iter().map(|of| of.partition()).collect();
        assert_eq!(paused, [1]);
        assert_eq!(workers.revoke(&gone).count(), 0);
    }
}
