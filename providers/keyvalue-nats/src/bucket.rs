//! What is done in one bucket.

use std::sync::Arc;

use async_nats::jetstream::kv;
use async_nats::jetstream::stream::Stream;
use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _};
use lattice_provider_sdk::keyvalue::decimal::{Addend, NotCounted};
use lattice_provider_sdk::keyvalue::{
    Entry, KeyValueError, KeysPage, LARGEST_ANSWER, Outcome, Versioned,
};
use lattice_provider_sdk::{BoxError, chain};

use crate::key::{self, KeyTooLong};
use crate::listing::{Cursor, Listings};
use crate::{counter, swap};

/// How many keys of a batch are under way at once.
const AT_ONCE: usize = 32;

/// Why an operation in a bucket failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The key cannot be stored.
    #[error(transparent)]
    Key(#[from] KeyTooLong),
    /// The value of the key is no number that can grow.
    #[error("the value of `{key}` {why}")]
    Number {
        /// The key.
        key: String,
        /// Why not.
        why: NotCounted,
    },
    /// Single keys cannot have a time.
    #[error(
        "could not set `{0}` for a time: NATS forgets the keys of a bucket after one time for all, \
         which `ttl_seconds` says where a link creates its bucket"
    )]
    Time(String),
    /// The values that a batch asks for do not fit into one answer.
    #[error("the values of the batch do not fit into one answer")]
    Answer,
    /// NATS refused or did not answer.
    #[error("{what}")]
    Nats {
        /// What was tried.
        what: String,
        /// Why it failed.
        source: BoxError,
    },
}

impl Failure {
    pub(crate) fn nats(what: impl Into<String>, source: impl Into<BoxError>) -> Self {
        Self::Nats {
            what: what.into(),
            source: source.into(),
        }
    }

    /// Whether the bucket itself may be the cause.
    pub(crate) fn is_of_bucket(&self) -> bool {
        matches!(self, Self::Nats { .. })
    }
}

impl From<Failure> for KeyValueError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Answer => Self::answer_too_large(),
            other => Self::other(chain(&other)),
        }
    }
}

/// An open bucket.
#[derive(Debug)]
pub(crate) struct Bucket {
    store: kv::Store,
    listings: Arc<Listings>,
}

impl Bucket {
    pub(crate) fn new(store: kv::Store, listings: Arc<Listings>) -> Self {
        Self { store, listings }
    }

    pub(crate) async fn get(&self, key: &str) -> Result<Option<Bytes>, Failure> {
        let value = self.store.get(key::encode(key)?).await;
        value.map_err(|e| Failure::nats(format!("could not read `{key}`"), e))
    }

    /// The stream that keeps it, as it was when the bucket was opened.
    pub(crate) fn stream(&self) -> &Stream {
        &self.store.stream
    }

    pub(crate) async fn read(&self, key: &str) -> Result<Versioned, Failure> {
        swap::read(&self.store, key, &key::encode(key)?).await
    }

    pub(crate) async fn swap(
        &self,
        key: &str,
        version: &str,
        value: Bytes,
    ) -> Result<Outcome, Failure> {
        swap::swap(&self.store, key, &key::encode(key)?, version, value).await
    }

    pub(crate) async fn set(&self, key: &str, value: Bytes) -> Result<(), Failure> {
        let done = self.store.put(key::encode(key)?, value).await;
        done.map_err(|e| Failure::nats(format!("could not write `{key}`"), e))?;
        Ok(())
    }

    pub(crate) async fn delete(&self, key: &str) -> Result<(), Failure> {
        // As in 1.x: what the key had been is gone too, in buckets that keep some of it.
        let done = self.store.purge(key::encode(key)?).await;
        done.map_err(|e| Failure::nats(format!("could not delete `{key}`"), e))
    }

    /// NATS has no way to ask for less than the value.
    pub(crate) async fn exists(&self, key: &str) -> Result<bool, Failure> {
        Ok(self.get(key).await?.is_some())
    }

    pub(crate) async fn list_keys(&self, cursor: Option<u64>) -> Result<KeysPage, Failure> {
        let (what, bucket) = ("could not list the keys", &*self.store.name);
        let cursor = cursor.map(Cursor::from);
        if let Some(page) = cursor.and_then(|cursor| self.listings.next(bucket, cursor)) {
            return Ok(page);
        }
        let reading = self.listings.read(cursor);
        let mut collector = reading.collector();
        let keys = self.store.keys().await;
        let mut keys = keys.map_err(|e| Failure::nats(what, e))?;
        while let Some(stored) = keys.try_next().await.map_err(|e| Failure::nats(what, e))? {
            collector.offer(key::decode(&stored));
        }
        Ok(reading.finish(bucket, collector))
    }

    pub(crate) async fn increment(&self, key: &str, by: Addend) -> Result<i128, Failure> {
        counter::increment(&self.store, key, &key::encode(key)?, by).await
    }

    /// Values have at most `largest` bytes.
    pub(crate) async fn get_many(
        &self,
        keys: Vec<String>,
        largest: usize,
    ) -> Result<Vec<Option<Entry>>, Failure> {
        // Those that are under way take no more memory than the answer may.
        let at_once = (LARGEST_ANSWER / largest.max(1)).clamp(1, AT_ONCE);
        let read = |key: String| async move {
            let value = self.get(&key).await?;
            Ok::<_, Failure>(value.map(|value| (key, value)))
        };
        let mut read = futures::stream::iter(keys.into_iter().map(read)).buffered(at_once);
        let (mut entries, mut bytes) = (Vec::new(), 0);
        while let Some(entry) = read.try_next().await? {
            bytes += entry.as_ref().map_or(0, |(_, value)| value.len());
            if bytes > LARGEST_ANSWER {
                return Err(Failure::Answer);
            }
            entries.push(entry);
        }
        Ok(entries)
    }

    pub(crate) async fn set_many(&self, entries: Vec<Entry>) -> Result<(), Failure> {
        // One after the other when a key comes twice, so that the last value stays.
        let mut keys: Vec<&str> = entries.iter().map(|(key, _)| key.as_str()).collect();
        keys.sort_unstable();
        let twice = keys.windows(2).any(|pair| pair[0] == pair[1]);
        let at_once = if twice { 1 } else { AT_ONCE };
        let write = |(key, value): Entry| async move { self.set(&key, value).await };
        futures::stream::iter(entries.into_iter().map(write))
            .buffered(at_once)
            .try_collect()
            .await
    }

    pub(crate) async fn delete_many(&self, keys: Vec<String>) -> Result<(), Failure> {
        let delete = |key: String| async move { self.delete(&key).await };
        futures::stream::iter(keys.into_iter().map(delete))
            .buffered(AT_ONCE)
            .try_collect()
            .await
    }
}
