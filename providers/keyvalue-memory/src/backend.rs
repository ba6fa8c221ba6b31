//! The buckets behind one link.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use lattice_provider_sdk::keyvalue::decimal::Addend;
use lattice_provider_sdk::keyvalue::{
    Atomics, Backend, Batch, Entry, KeyValueError, KeysPage, Outcome, Store, Versioned,
    is_own_bucket,
};
use lattice_provider_sdk::{Context, Features};

use crate::bucket::{Bucket, LONGEST_KEY, Writing};
use crate::buckets::Buckets;
use crate::settings::LinkSettings;

/// A store that is a part of no provider and is gone with its owner, as a link without config has
/// it.
#[must_use]
pub fn store() -> impl Backend + Debug {
    MemoryBackend::new(Arc::default(), "default", LinkSettings::default())
}

/// What a link can do that says this, at either end.
pub(crate) fn features(settings: &LinkSettings) -> Features {
    Features::new()
        .with("increment", "atomic")
        .with("max-count", u64::MAX)
        .with("cas", "version")
        .with("ttl", "key")
        .with("paging", "once")
        .with("order", "none")
        .with("consistency", "linearizable")
        .with("batch", "each")
        .with("watch", "live")
        .having("watch-set")
        .having("watch-delete")
        .with("watch-steps", "each")
        .having("watch-expiry")
        .with("max-value-bytes", settings.limits.value)
        .with("max-key-bytes", LONGEST_KEY)
}

/// What a link gives its component.
#[derive(Debug)]
pub(crate) struct MemoryBackend {
    buckets: Arc<Buckets>,
    /// The bucket that the link configures, at hand because nearly all calls mean it.
    own: Arc<Bucket>,
    link_name: String,
    create_others: bool,
    how: Writing,
}

impl MemoryBackend {
    /// Creates the bucket that the link configures, if it is missing.
    pub(crate) fn new(buckets: Arc<Buckets>, link_name: &str, settings: LinkSettings) -> Self {
        Self {
            own: buckets.of_link(&settings.bucket),
            buckets,
            link_name: link_name.to_owned(),
            create_others: settings.create_others,
            how: Writing {
                limits: settings.limits,
                lifetime: settings.lifetime,
            },
        }
    }

    /// Does something in the bucket that a component means.
    fn within<T>(&self, bucket: &str, work: impl FnOnce(&Bucket) -> T) -> Result<T, KeyValueError> {
        if is_own_bucket(bucket, &self.link_name) || bucket == self.own.name() {
            return Ok(work(&self.own));
        }
        let other = self.buckets.of_call(bucket, self.create_others)?;
        Ok(work(&other))
    }
}

impl Store for MemoryBackend {
    async fn get(
        &self,
        _cx: &Context,
        bucket: &str,
        key: &str,
    ) -> Result<Option<Bytes>, KeyValueError> {
        self.within(bucket, |b| b.get(key))
    }

    async fn read(
        &self,
        _cx: &Context,
        bucket: &str,
        key: &str,
    ) -> Result<Versioned, KeyValueError> {
        self.within(bucket, |b| b.read(key))
    }

    async fn set(
        &self,
        _cx: &Context,
        bucket: &str,
        key: &str,
        value: Bytes,
        ttl: Option<Duration>,
    ) -> Result<(), KeyValueError> {
        Ok(self.within(bucket, |b| b.set(key, &value, ttl, &self.how))??)
    }

    async fn delete(&self, _cx: &Context, bucket: &str, key: &str) -> Result<(), KeyValueError> {
        self.within(bucket, |b| b.delete(key))
    }

    async fn exists(&self, _cx: &Context, bucket: &str, key: &str) -> Result<bool, KeyValueError> {
        self.within(bucket, |b| b.exists(key))
    }

    async fn list_keys(
        &self,
        _cx: &Context,
        bucket: &str,
        cursor: Option<u64>,
    ) -> Result<KeysPage, KeyValueError> {
        self.within(bucket, |b| b.list_keys(cursor))
    }
}

impl Atomics for MemoryBackend {
    async fn increment(
        &self,
        _cx: &Context,
        bucket: &str,
        key: &str,
        by: Addend,
    ) -> Result<i128, KeyValueError> {
        Ok(self.within(bucket, |b| b.increment(key, by, &self.how))??)
    }

    async fn swap(
        &self,
        _cx: &Context,
        bucket: &str,
        key: &str,
        version: &str,
        value: Bytes,
    ) -> Result<Outcome, KeyValueError> {
        Ok(self.within(bucket, |b| b.swap(key, version, &value, &self.how))??)
    }
}

impl Batch for MemoryBackend {
    async fn get_many(
        &self,
        _cx: &Context,
        bucket: &str,
        keys: Vec<String>,
    ) -> Result<Vec<Option<Entry>>, KeyValueError> {
        Ok(self.within(bucket, |b| b.get_many(keys))??)
    }

    async fn set_many(
        &self,
        _cx: &Context,
        bucket: &str,
        entries: Vec<Entry>,
    ) -> Result<(), KeyValueError> {
        Ok(self.within(bucket, |b| b.set_many(&entries, &self.how))??)
    }

    async fn delete_many(
        &self,
        _cx: &Context,
        bucket: &str,
        keys: Vec<String>,
    ) -> Result<(), KeyValueError> {
        self.within(bucket, |b| keys.iter().for_each(|key| b.delete(key)))
    }
}
