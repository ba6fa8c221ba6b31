//! The buckets behind one link.

use std::sync::Arc;

use bytes::Bytes;
use lattice_provider_sdk::Context;
use lattice_provider_sdk::keyvalue::{
    Atomics, Batch, Entry, KeyValueError, KeysPage, Store, is_own_bucket,
};

use crate::bucket::Bucket;
use crate::buckets::Buckets;
use crate::settings::{Limits, LinkSettings};

/// What a link gives its component.
#[derive(Debug)]
pub(crate) struct MemoryBackend {
    buckets: Arc<Buckets>,
    /// The bucket that the link configures, at hand because nearly all calls mean it.
    own: Arc<Bucket>,
    link_name: String,
    create_others: bool,
    limits: Limits,
}

impl MemoryBackend {
    /// Creates the bucket that the link configures, if it is missing.
    pub(crate) fn new(buckets: Arc<Buckets>, link_name: &str, settings: LinkSettings) -> Self {
        Self {
            own: buckets.of_link(&settings.bucket),
            buckets,
            link_name: link_name.to_owned(),
            create_others: settings.create_others,
            limits: settings.limits,
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

    async fn set(
        &self,
        _cx: &Context,
        bucket: &str,
        key: &str,
        value: Bytes,
    ) -> Result<(), KeyValueError> {
        Ok(self.within(bucket, |b| b.set(key, &value, &self.limits))??)
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
        delta: u64,
    ) -> Result<u64, KeyValueError> {
        Ok(self.within(bucket, |b| b.increment(key, delta, &self.limits))??)
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
        Ok(self.within(bucket, |b| b.set_many(&entries, &self.limits))??)
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
