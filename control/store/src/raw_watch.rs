//! A watch over the raw records of a bucket that never ends.
//!
//! One task runs sessions, one after the other. A session reads what is there, hands it over as a
//! [`Snapshot`], then follows the changes. It ends when the consumer reports an error, when the
//! connection to NATS was made anew, or when the bucket turns out to be another one than it was;
//! the next session begins after a pause, with a snapshot again.

mod content;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::jetstream::consumer::{DeliverPolicy, ReplayPolicy, push};
use async_nats::jetstream::kv::{self, Operation};
use futures::StreamExt;
use lattice_core::{Backoff, Spread};
use time::OffsetDateTime;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_util::task::AbortOnDropHandle;

use crate::bucket::{Bucket, Record};
use crate::error::{BoxError, StoreError};
use content::{collect, unread};

/// Every record of a bucket.
pub(crate) const ALL_KEYS: &str = ">";

/// Changes that wait for a slow reader before the watch itself waits.
const BUFFER: usize = 256;
/// How often the connection is checked for having been made anew.
const CONNECTION_CHECK: Duration = Duration::from_secs(1);
/// How often the bucket is checked for being the same one; in connection checks.
const BUCKET_CHECK_EVERY: u32 = 15;
/// For how long hardly anybody has changed a bucket that took the place of another.
const LATELY: Duration = Duration::from_secs(60);
/// Pauses between sessions. Short, since hosts are waiting for links after an outage.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(3);

/// The complete content of a bucket.
#[derive(Debug, Default)]
pub(crate) struct Snapshot {
    pub(crate) records: Vec<Record>,
    /// The keys of records that were deleted after `outdated`.
    pub(crate) deleted: HashSet<String>,
    /// Deletions up to this revision are those of an older copy of the bucket, and older than what was seen
    /// of it; 0 when it is no such copy.
    pub(crate) outdated: u64,
    /// Every change up to this revision is in the snapshot, if the bucket is not fresh.
    pub(crate) as_of: u64,
    /// The bucket was created just now, took the place of the one seen before, or is behind of what was
    /// seen of it.
    pub(crate) fresh: bool,
    /// The bucket took the place of one that was there less than a minute ago.
    pub(crate) lost_lately: bool,
}

/// What a raw watch reports.
#[derive(Debug)]
pub(crate) enum RawChange {
    Snapshot(Snapshot),
    Put(Record),
    Gone { key: String, revision: u64 },
}

/// Changes of a bucket; the task behind it ends when this is dropped.
#[derive(Debug)]
pub(crate) struct RawWatch {
    changes: mpsc::Receiver<RawChange>,
    _task: AbortOnDropHandle<()>,
}

impl RawWatch {
    pub(crate) fn start(bucket: Arc<Bucket>) -> Self {
        let (sender, changes) = mpsc::channel(BUFFER);
        let task = tokio::spawn(run(bucket, sender));
        Self {
            changes,
            _task: AbortOnDropHandle::new(task),
        }
    }

    /// Waits for the next change. No change is lost when the future is dropped.
    pub(crate) async fn next(&mut self) -> RawChange {
        match self.changes.recv().await {
            Some(change) => change,
            // Only at the end of the runtime: nothing will happen any more.
            None => std::future::pending().await,
        }
    }
}

/// Reads all records of a bucket once.
pub(crate) async fn snapshot(bucket: &Bucket) -> Result<Vec<Record>, StoreError> {
    snapshot_of(bucket, ALL_KEYS).await
}

/// Reads the records once whose keys fit, as subjects do.
pub(crate) async fn snapshot_of(bucket: &Bucket, keys: &str) -> Result<Vec<Record>, StoreError> {
    let limit = bucket.limits().request;
    let read = async {
        let store = bucket.handle().await?;
        let info = store.stream.get_info().await;
        let last = info
            .map_err(|error| unread(bucket, error.into()))?
            .state
            .last_sequence;
        let mut consumer = consume(bucket, &store, keys, last).await?;
        let mut content = collect(bucket, &store, &mut consumer).await?;
        Ok(content.records())
    };
    let result = timeout(limit, read)
        .await
        .map_err(|_| bucket.timed_out())
        .flatten();
    if result.is_err() {
        bucket.forget();
    }
    result
}

/// Why a session ended.
enum End {
    /// Nobody listens any more.
    Unwatched,
    /// The next session has to start over.
    Interrupted(BoxError),
}

impl<E: Into<BoxError>> From<E> for End {
    fn from(error: E) -> Self {
        Self::Interrupted(error.into())
    }
}

/// What one session leaves to the next.
#[derive(Default)]
struct Memory {
    /// When the bucket seen last was created; tells a replaced bucket from the same one.
    created: Option<OffsetDateTime>,
    /// When that one was certainly there last.
    there_at: Option<Instant>,
    /// The last revision that was seen in it.
    seen: u64,
    /// See [`Snapshot::outdated`].
    outdated: u64,
    /// Whether the last session got as far as a snapshot.
    arrived: bool,
}

async fn run(bucket: Arc<Bucket>, sender: mpsc::Sender<RawChange>) {
    let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE).spread_by(Spread::Shorter);
    let mut memory = Memory::default();
    let mut failures = 0_u32;
    loop {
        memory.arrived = false;
        let Err(end) = session(&bucket, &sender, &mut memory).await;
        let error = match end {
            End::Unwatched => return,
            End::Interrupted(error) => error,
        };
        if memory.arrived {
            backoff.reset();
            failures = 0;
        }
        let pause = backoff.delay();
        let name = bucket.name();
        // An outage of hours would fill the log with the same line.
        if failures == 0 {
            tracing::warn!(bucket = name, %error, "watch interrupted, starting over");
        } else {
            tracing::debug!(bucket = name, %error, ?pause, failures, "watch not back yet");
        }
        failures = failures.saturating_add(1);
        tokio::time::sleep(pause).await;
    }
}

async fn session(
    bucket: &Bucket,
    sender: &mpsc::Sender<RawChange>,
    memory: &mut Memory,
) -> Result<std::convert::Infallible, End> {
    let connects = connects(bucket);
    let opened = bucket.open().await?;
    let store = opened.store;
    let limit = bucket.limits().request;
    let there_at = Instant::now();
    let info = timeout(limit, store.stream.get_info()).await??;
    let replaced = memory.created.is_some_and(|known| known != info.created);
    // The server has lost what it was told last, or has an older copy.
    let is_behind = info.state.last_sequence < memory.seen && !replaced;
    let last = info.state.last_sequence;
    let outdated = match (replaced, is_behind) {
        (true, _) => 0,
        (false, true) => last,
        (false, false) => memory.outdated,
    };
    let mut consumer = timeout(limit, consume(bucket, &store, ALL_KEYS, last)).await??;
    let mut content = collect(bucket, &store, &mut consumer).await?;
    // What was deleted after the first look is in neither the records nor what follows.
    let as_of = last.max(content.newest);
    let snapshot = Snapshot {
        records: content.records(),
        deleted: content.deleted_after(outdated),
        outdated,
        as_of,
        fresh: opened.created || replaced || is_behind,
        lost_lately: replaced && is_lately(memory.there_at, info.created),
    };
    memory.created = Some(info.created);
    memory.there_at = Some(there_at);
    (memory.outdated, memory.arrived) = (outdated, true);
    let mut guard = Guard {
        connects,
        created: info.created,
        there_at,
        seen: as_of,
    };
    memory.seen = as_of;
    send(sender, RawChange::Snapshot(snapshot)).await?;
    let ended = follow(bucket, &store, &mut consumer, sender, &mut guard).await;
    memory.seen = guard.seen;
    memory.there_at = Some(guard.there_at);
    ended
}

/// Whether a bucket was created a moment ago, and the one before was still there a moment ago: the clock of
/// the server may be another than ours.
fn is_lately(there_at: Option<Instant>, created: OffsetDateTime) -> bool {
    let age = (OffsetDateTime::now_utc() - created).unsigned_abs();
    age < LATELY && there_at.is_some_and(|at| at.elapsed() < LATELY)
}

async fn send(sender: &mpsc::Sender<RawChange>, change: RawChange) -> Result<(), End> {
    sender.send(change).await.map_err(|_| End::Unwatched)
}

/// Messages of an ordered consumer.
struct Consumer {
    messages: push::Ordered,
    filter: String,
    /// How many there were when it was made.
    pending: u64,
    /// The last revision in the bucket before that.
    last: u64,
    /// The revisions of keys that were read ahead of it. What it tells of them up to there is known.
    overtaken: HashMap<String, u64>,
}

impl Consumer {
    /// Whether what stands there now, or is newer than this entry at least, was read ahead of it.
    fn is_known(&mut self, entry: &Entry) -> bool {
        let key = match &entry.change {
            RawChange::Put(record) => &record.key,
            RawChange::Gone { key, .. } => key,
            RawChange::Snapshot(_) => return false,
        };
        let Some(&revision) = self.overtaken.get(key) else {
            return false;
        };
        if entry.revision >= revision {
            self.overtaken.remove(key);
        }
        entry.revision <= revision
    }
}

/// Makes a consumer that delivers the last entry of every key that fits, then every change. `last` is the
/// last revision in the bucket, asked for before.
async fn consume(
    bucket: &Bucket,
    store: &kv::Store,
    keys: &str,
    last: u64,
) -> Result<Consumer, StoreError> {
    let filter = format!("{}{keys}", store.prefix);
    let config = push::OrderedConfig {
        deliver_subject: bucket.nats().new_inbox(),
        description: Some("lattice watch".to_owned()),
        filter_subject: filter.clone(),
        replay_policy: ReplayPolicy::Instant,
        deliver_policy: DeliverPolicy::LastPerSubject,
        ..push::OrderedConfig::default()
    };
    let open = |source: BoxError| StoreError::Open {
        bucket: bucket.name().to_owned(),
        source,
    };
    let consumer = store
        .stream
        .create_consumer(config)
        .await
        .map_err(|error| open(error.into()))?;
    let pending = consumer.cached_info().num_pending;
    let messages = consumer
        .messages()
        .await
        .map_err(|error| open(error.into()))?;
    Ok(Consumer {
        messages,
        filter,
        pending,
        last,
        overtaken: HashMap::new(),
    })
}

/// What tells whether a watch may be trusted to miss nothing.
struct Guard {
    connects: u64,
    created: OffsetDateTime,
    /// When the bucket was certainly there last.
    there_at: Instant,
    /// The last revision that was seen.
    seen: u64,
}

async fn follow(
    bucket: &Bucket,
    store: &kv::Store,
    consumer: &mut Consumer,
    sender: &mpsc::Sender<RawChange>,
    guard: &mut Guard,
) -> Result<std::convert::Infallible, End> {
    let mut ticks = interval(CONNECTION_CHECK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut count = 0_u32;
    loop {
        tokio::select! {
            message = consumer.messages.next() => {
                let entry = read(store, message).map_err(End::Interrupted)?;
                guard.seen = entry.revision;
                if !consumer.is_known(&entry) {
                    send(sender, entry.change).await?;
                }
            }
            _ = ticks.tick() => {
                if connects(bucket) != guard.connects {
                    return Err(End::Interrupted("the connection to NATS was made anew".into()));
                }
                count = count.wrapping_add(1);
                if count.is_multiple_of(BUCKET_CHECK_EVERY) {
                    check_bucket(bucket, store, guard).await?;
                }
            }
            () = sender.closed() => return Err(End::Unwatched),
        }
    }
}

/// Notices a bucket that was deleted or replaced under a live connection: the consumer itself
/// would wait for revisions that never come. It notes as well how many copies there are now.
async fn check_bucket(bucket: &Bucket, store: &kv::Store, guard: &mut Guard) -> Result<(), End> {
    let asked_at = Instant::now();
    let Ok(info) = timeout(bucket.limits().request, store.stream.get_info()).await else {
        // Says nothing about the bucket; a lost connection is noticed elsewhere.
        return Ok(());
    };
    let info = info?;
    if info.created != guard.created || info.state.last_sequence < guard.seen {
        return Err(End::Interrupted("the bucket was replaced".into()));
    }
    guard.there_at = asked_at;
    bucket.note_copies(info.config.num_replicas);
    Ok(())
}

/// One change with its place in the bucket.
struct Entry {
    change: RawChange,
    revision: u64,
    /// How many more entries are ready.
    pending: u64,
}

type Delivery = Option<Result<async_nats::jetstream::Message, push::OrderedError>>;

fn read(store: &kv::Store, delivery: Delivery) -> Result<Entry, BoxError> {
    let message = delivery.ok_or("the consumer ended")??;
    let info = message.info()?;
    let (revision, pending) = (info.stream_sequence, info.pending);
    let key = message
        .subject
        .strip_prefix(&store.prefix)
        .ok_or("a subject of another bucket")?;
    let key = key.to_owned();
    let change = match operation(message.headers.as_ref()) {
        Operation::Put => RawChange::Put(Record {
            key,
            value: message.payload.clone(),
            revision,
        }),
        Operation::Delete | Operation::Purge => RawChange::Gone { key, revision },
    };
    Ok(Entry {
        change,
        revision,
        pending,
    })
}

/// What a message of a bucket with these headers did to its key.
pub(crate) fn operation(headers: Option<&HeaderMap>) -> Operation {
    let header = |name: &str| headers.and_then(|headers| headers.get(name));
    // Entries that the server removes because of their age say so in another header.
    if header("Nats-Marker-Reason").is_some() {
        return Operation::Purge;
    }
    header("KV-Operation")
        .and_then(|value| value.as_str().parse().ok())
        .unwrap_or(Operation::Put)
}

/// How often the connection to NATS was made.
pub(crate) fn connects(bucket: &Bucket) -> u64 {
    bucket.nats().statistics().connects.load(Ordering::Relaxed)
}

#[cfg(test)]
mod tests {
    use super::*;

    use bytes::Bytes;
    use lattice_nats::NewBucket;
    use lattice_nats_box::NatsBox;

    use crate::bucket::Limits;

    /// How a session with this memory begins.
    async fn begun(bucket: &Bucket, memory: &mut Memory) -> Snapshot {
        let (sender, mut changes) = mpsc::channel(1);
        let told = timeout(Duration::from_secs(20), changes.recv());
        let first = tokio::select! {
            told = told => told.unwrap(),
            _ = session(bucket, &sender, memory) => panic!("it ended"),
        };
        match first {
            Some(RawChange::Snapshot(snapshot)) => snapshot,
            other => panic!("unexpected {other:?}"),
        }
    }

    #[tokio::test]
    async fn deletions_in_an_older_copy_of_a_bucket_do_not_count() {
        let nats = NatsBox::start().await.unwrap();
        let client = nats.client().await.unwrap();
        let js = async_nats::jetstream::new(client.clone());
        let new = NewBucket {
            name: "records".to_owned(),
            ..NewBucket::default()
        };
        let limits = Limits {
            request: Duration::from_secs(20),
            write: Duration::from_secs(20),
        };
        let bucket = Bucket::new(client, js, new, limits);
        for key in ["a", "b"] {
            bucket.put(key, Bytes::from_static(b"x")).await.unwrap();
        }
        bucket.purge("a").await.unwrap();
        let mut memory = Memory::default();
        let snapshot = begun(&bucket, &mut memory).await;
        assert_eq!(snapshot.deleted, ["a".to_owned()].into());
        assert_eq!(snapshot.outdated, 0);
        // As if more had been seen of it, and the server had an older copy now.
        memory.seen = 100;
        let snapshot = begun(&bucket, &mut memory).await;
        assert!(snapshot.fresh && snapshot.deleted.is_empty());
        assert_eq!(snapshot.outdated, 3);
        // What is deleted from now on is.
        bucket.purge("b").await.unwrap();
        let snapshot = begun(&bucket, &mut memory).await;
        assert!(!snapshot.fresh);
        assert_eq!(snapshot.deleted, ["b".to_owned()].into());
        // The revisions of another bucket say nothing of this one.
        memory.created = Some(OffsetDateTime::UNIX_EPOCH);
        let snapshot = begun(&bucket, &mut memory).await;
        assert_eq!((snapshot.deleted.len(), snapshot.outdated), (2, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_bucket_is_lost_lately_when_both_clocks_say_so() {
        tokio::time::advance(10 * LATELY).await;
        let (now, today) = (Instant::now(), OffsetDateTime::now_utc());
        assert!(is_lately(Some(now), today));
        assert!(is_lately(Some(now - LATELY / 2), today - LATELY / 2));
        assert!(!is_lately(None, today));
        assert!(!is_lately(Some(now - LATELY), today));
        assert!(!is_lately(Some(now), today - 2 * LATELY));
        assert!(!is_lately(Some(now), today + 2 * LATELY));
    }
}
