//! What a bucket holds when a watch begins.

use std::collections::{HashMap, HashSet};

use async_nats::jetstream::kv;
use futures::StreamExt;
use tokio::time::{Instant, timeout, timeout_at};

use super::{ALL_KEYS, Consumer, RawChange, read};
use crate::bucket::{Bucket, Record};
use crate::error::{BoxError, StoreError};

/// What was in a bucket.
#[derive(Default)]
pub(super) struct Content {
    records: HashMap<String, Record>,
    /// The keys of records that were deleted, with the revisions of their deletions.
    deleted: HashMap<String, u64>,
    /// The latest revision, which may be that of a deletion.
    pub(super) newest: u64,
}

impl Content {
    fn take(&mut self, change: RawChange) {
        match change {
            RawChange::Put(record) => {
                self.deleted.remove(&record.key);
                self.records.insert(record.key.clone(), record);
            }
            RawChange::Gone { key, revision } => {
                self.records.remove(&key);
                self.deleted.insert(key, revision);
            }
            RawChange::Snapshot(_) => {}
        }
    }

    fn knows(&self, key: &str) -> bool {
        self.records.contains_key(key) || self.deleted.contains_key(key)
    }

    /// The records in the order in which they were written, for readers that keep it.
    pub(super) fn records(&mut self) -> Vec<Record> {
        let mut records: Vec<Record> = self.records.drain().map(|(_, record)| record).collect();
        records.sort_by_key(|record| record.revision);
        records
    }

    /// The keys of records that were deleted after this revision.
    pub(super) fn deleted_after(&mut self, revision: u64) -> HashSet<String> {
        let deleted = self.deleted.drain().filter(|(_, at)| *at > revision);
        deleted.map(|(key, _)| key).collect()
    }
}

/// Reads what was in the bucket when the consumer was made. What is written meanwhile is not waited for, as
/// that may never end: it comes as changes.
pub(super) async fn collect(
    bucket: &Bucket,
    store: &kv::Store,
    consumer: &mut Consumer,
) -> Result<Content, StoreError> {
    let has_copies = store.stream.cached_info().config.num_replicas > 1;
    let is_of_all = consumer.filter == format!("{}{ALL_KEYS}", store.prefix);
    collect_from(bucket, store, consumer, has_copies && is_of_all).await
}

/// As [`collect`]. Where there are copies, the consumer reads any of them, which may be behind of the leader
/// that has told of the last revision. That shows in a consumer of all keys.
async fn collect_from(
    bucket: &Bucket,
    store: &kv::Store,
    consumer: &mut Consumer,
    may_be_behind: bool,
) -> Result<Content, StoreError> {
    let mut content = Content::default();
    let mut complete = consumer.pending == 0;
    while !complete && content.newest < consumer.last {
        let until = Instant::now() + bucket.limits().request;
        complete = take_next(bucket, store, consumer, &mut content, until).await?;
    }
    if complete && may_be_behind && content.newest < consumer.last {
        complete = catch_up(bucket, store, consumer, &mut content).await?;
    }
    if !complete {
        let filter = &consumer.filter;
        consumer.overtaken = add_overtaken(bucket, store, filter, &mut content).await?;
    }
    Ok(content)
}

/// Takes in what comes next; whether nothing more is ready then.
async fn take_next(
    bucket: &Bucket,
    store: &kv::Store,
    consumer: &mut Consumer,
    content: &mut Content,
    until: Instant,
) -> Result<bool, StoreError> {
    let next = timeout_at(until, consumer.messages.next()).await;
    let entry = next.map_err(|_| bucket.timed_out())?;
    let entry = read(store, entry).map_err(|source| unread(bucket, source))?;
    bucket.note_read();
    content.newest = content.newest.max(entry.revision);
    content.take(entry.change);
    Ok(entry.pending == 0)
}

/// Waits for what a copy that is behind does not have yet; whether nothing more is ready then. The last
/// revision itself may be in the stream no more, so the leader is asked what there is to wait for. A copy that
/// stays behind is an error: the next consumer may read another.
async fn catch_up(
    bucket: &Bucket,
    store: &kv::Store,
    consumer: &mut Consumer,
    content: &mut Content,
) -> Result<bool, StoreError> {
    let newest = bucket.newest(store, &consumer.filter).await?;
    let wanted = newest.min(consumer.last);
    let until = Instant::now() + bucket.limits().request;
    let mut complete = true;
    while content.newest < wanted {
        complete = take_next(bucket, store, consumer, content, until).await?;
    }
    Ok(complete)
}

/// Adds what was written anew before it came, and would come among the changes only: it was in the bucket all
/// the time, and nobody may take it for deleted. Gives the revisions at which it was read.
async fn add_overtaken(
    bucket: &Bucket,
    store: &kv::Store,
    filter: &str,
    content: &mut Content,
) -> Result<HashMap<String, u64>, StoreError> {
    let mut overtaken = HashMap::new();
    let limit = bucket.limits().request;
    let listed = timeout(limit, store.stream.info_with_subjects(filter)).await;
    let listed = listed.map_err(|_| bucket.timed_out())?;
    let mut listed = listed.map_err(|error| unread(bucket, error.into()))?;
    loop {
        let next = timeout(limit, listed.next()).await;
        let Some(subject) = next.map_err(|_| bucket.timed_out())? else {
            return Ok(overtaken);
        };
        let (subject, _) = subject.map_err(|error| unread(bucket, error.into()))?;
        let Some(key) = subject.strip_prefix(&store.prefix) else {
            continue;
        };
        if content.knows(key) || !is_key(key) {
            continue;
        }
        let present = bucket.sure(key).await?;
        bucket.note_read();
        let (key, revision) = (key.to_owned(), present.revision);
        overtaken.insert(key.clone(), revision);
        content.take(match present.value {
            Some(value) => RawChange::Put(Record {
                key,
                value,
                revision,
            }),
            None => RawChange::Gone { key, revision },
        });
    }
}

/// Whether a record can be asked for by this key; others are no records of a lattice.
fn is_key(key: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '/' | '_' | '=' | '.');
    !key.is_empty() && !key.starts_with('.') && !key.ends_with('.') && key.chars().all(is_plain)
}

pub(super) fn unread(bucket: &Bucket, source: BoxError) -> StoreError {
    StoreError::Read {
        bucket: bucket.name().to_owned(),
        key: ALL_KEYS.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::time::Duration;

    use bytes::Bytes;
    use lattice_nats::NewBucket;
    use lattice_nats_box::NatsBox;
    use tokio::sync::mpsc;

    use crate::bucket::Limits;
    use crate::raw_watch::{Guard, connects, consume, follow};

    async fn bucket(nats: &NatsBox) -> Bucket {
        bucket_within(nats, Duration::from_secs(20)).await
    }

    async fn bucket_within(nats: &NatsBox, request: Duration) -> Bucket {
        let client = nats.client().await.unwrap();
        let js = async_nats::jetstream::new(client.clone());
        let new = NewBucket {
            name: "records".to_owned(),
            ..NewBucket::default()
        };
        let limits = Limits {
            request,
            write: Duration::from_secs(20),
        };
        Bucket::new(client, js, new, limits)
    }

    #[tokio::test]
    async fn what_is_written_anew_before_it_is_read_is_in_the_snapshot_and_not_waited_for() {
        let nats = NatsBox::start().await.unwrap();
        let bucket = bucket(&nats).await;
        let put = |key: &'static str| bucket.put(key, Bytes::from_static(key.as_bytes()));
        for key in ["a", "b", "c", "d"] {
            put(key).await.unwrap();
        }
        bucket.purge("d").await.unwrap();
        let store = bucket.handle().await.unwrap();
        // As if all but the first had been written again and again since.
        let mut consumer = consume(&bucket, &store, ALL_KEYS, 1).await.unwrap();
        let mut content = collect(&bucket, &store, &mut consumer).await.unwrap();
        assert_eq!(content.newest, 1);
        assert_eq!(content.deleted_after(0), ["d".to_owned()].into());
        let keys: Vec<_> = content.records().into_iter().map(|of| of.key).collect();
        assert_eq!(keys, ["a", "b", "c"]);
        // The consumer still tells of them.
        let next = timeout(Duration::from_secs(20), consumer.messages.next()).await;
        assert_eq!(read(&store, next.unwrap()).unwrap().revision, 2);
    }

    #[tokio::test]
    async fn what_was_read_ahead_of_the_consumer_is_told_no_older_revision_of() {
        let nats = NatsBox::start().await.unwrap();
        let bucket = bucket(&nats).await;
        let put = |key: &'static str, value: &'static str| {
            bucket.put(key, Bytes::from_static(value.as_bytes()))
        };
        for key in ["a", "b", "c"] {
            put(key, "old").await.unwrap();
        }
        let store = bucket.handle().await.unwrap();
        let mut consumer = consume(&bucket, &store, ALL_KEYS, 1).await.unwrap();
        put("b", "new").await.unwrap();
        bucket.purge("c").await.unwrap();
        let mut content = collect(&bucket, &store, &mut consumer).await.unwrap();
        assert_eq!(content.deleted_after(0), ["c".to_owned()].into());
        assert_eq!(content.records().pop().unwrap().value, "new");
        put("d", "new").await.unwrap();
        put("b", "newer").await.unwrap();
        let (sender, mut changes) = mpsc::channel(8);
        let mut guard = Guard {
            connects: connects(&bucket),
            created: store.stream.cached_info().created,
            there_at: Instant::now(),
            seen: content.newest,
        };
        let told = async {
            let mut keys = Vec::new();
            while keys.len() < 2 {
                match changes.recv().await.unwrap() {
                    RawChange::Put(record) => keys.push(record.key),
                    other => panic!("unexpected {other:?}"),
                }
            }
            keys
        };
        let keys = tokio::select! {
            told = timeout(Duration::from_secs(20), told) => told.unwrap(),
            _ = follow(&bucket, &store, &mut consumer, &sender, &mut guard) => panic!("it ended"),
        };
        assert_eq!(keys, ["d", "b"]);
    }

    #[tokio::test]
    async fn a_copy_that_is_behind_of_the_leader_is_waited_for() {
        let nats = NatsBox::start().await.unwrap();
        let bucket = bucket(&nats).await;
        let store = bucket.handle().await.unwrap();
        // As a consumer has it whose copy lacks everything yet, two of which the leader has told of.
        let mut consumer = consume(&bucket, &store, ALL_KEYS, 2).await.unwrap();
        for key in ["a", "b"] {
            bucket.put(key, Bytes::from_static(b"x")).await.unwrap();
        }
        let collected = collect_from(&bucket, &store, &mut consumer, true).await;
        let keys = collected.unwrap().records().into_iter().map(|of| of.key);
        assert_eq!(keys.collect::<Vec<_>>(), ["a", "b"]);
    }

    #[tokio::test]
    async fn a_last_revision_that_is_there_no_more_is_not_waited_for() {
        let nats = NatsBox::start().await.unwrap();
        let bucket = bucket(&nats).await;
        for key in ["a", "b"] {
            bucket.put(key, Bytes::from_static(b"x")).await.unwrap();
        }
        let store = bucket.handle().await.unwrap();
        let key_of_last = format!("{}b", store.prefix);
        store.stream.purge().filter(key_of_last).await.unwrap();
        let mut consumer = consume(&bucket, &store, ALL_KEYS, 2).await.unwrap();
        let collected = collect_from(&bucket, &store, &mut consumer, true).await;
        assert_eq!(collected.unwrap().newest, 1);
        store.stream.purge().await.unwrap();
        let mut consumer = consume(&bucket, &store, ALL_KEYS, 2).await.unwrap();
        let collected = collect_from(&bucket, &store, &mut consumer, true).await;
        assert_eq!(collected.unwrap().newest, 0);
    }

    #[tokio::test]
    async fn what_a_copy_says_that_stays_behind_does_not_count() {
        let nats = NatsBox::start().await.unwrap();
        let bucket = bucket_within(&nats, Duration::from_secs(2)).await;
        bucket.put("a", Bytes::from_static(b"x")).await.unwrap();
        let store = bucket.handle().await.unwrap();
        let mut consumer = consume(&bucket, &store, "b", 1).await.unwrap();
        // As if it were a consumer of everything, whose copy never hears of the one record.
        consumer.filter = format!("{}{ALL_KEYS}", store.prefix);
        let collected = collect_from(&bucket, &store, &mut consumer, true).await;
        let error = collected.err();
        assert!(
            matches!(error, Some(StoreError::Timeout { .. })),
            "{error:?}"
        );
    }
}
