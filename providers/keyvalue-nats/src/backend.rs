//! The buckets behind one link.

use std::sync::Arc;

use bytes::Bytes;
use lattice_core::subject::store::BUCKET_PREFIXES;
use lattice_provider_sdk::keyvalue::{
    Atomics, Batch, Entry, KeyValueError, KeysPage, Store, is_own_bucket,
};
use lattice_provider_sdk::{Context, Shared, chain};

use crate::bucket::{Bucket, Failure};
use crate::cluster::{Cluster, OpenError};
use crate::settings::LinkSettings;

/// Buckets in which tools of a lattice keep their own data. A component must not read or change
/// them or those of the lattice, although they may be on the same NATS.
const RESERVED: [&str; 3] = ["WASMCLOUD_", "SECRETS_", "wadm_"];

/// What a link gives its component.
pub(crate) struct NatsBackend {
    cluster: Shared<Cluster>,
    link_name: String,
    settings: LinkSettings,
}

impl NatsBackend {
    pub(crate) fn new(cluster: Shared<Cluster>, link_name: &str, settings: LinkSettings) -> Self {
        Self {
            cluster,
            link_name: link_name.to_owned(),
            settings,
        }
    }

    /// Opens the bucket that the link configures.
    pub(crate) async fn open_own(&self) -> Result<(), OpenError> {
        let LinkSettings {
            bucket, create_own, ..
        } = &self.settings;
        self.cluster.bucket(bucket, *create_own).await?;
        Ok(())
    }

    /// The bucket a component means, by its real name, and whether it may be created.
    fn resolve<'a>(&'a self, bucket: &'a str) -> Result<(&'a str, bool), KeyValueError> {
        if is_own_bucket(bucket, &self.link_name) {
            return Ok((&self.settings.bucket, self.settings.create_own));
        }
        // What the operator configured is not refused.
        let mut reserved = RESERVED.iter().chain(&BUCKET_PREFIXES);
        if bucket != self.settings.bucket && reserved.any(|prefix| bucket.starts_with(prefix)) {
            return Err(KeyValueError::AccessDenied);
        }
        Ok((bucket, self.settings.create_others))
    }

    /// Does something in the bucket that a component means.
    async fn within<T, F>(
        &self,
        bucket: &str,
        work: impl FnOnce(Arc<Bucket>) -> F,
    ) -> Result<T, KeyValueError>
    where
        F: Future<Output = Result<T, Failure>>,
    {
        let (name, create) = self.resolve(bucket)?;
        let cluster = &self.cluster;
        let opened = cluster.bucket(name, create).await.map_err(refusal)?;
        work(opened).await.map_err(|failure| {
            if failure.is_of_bucket() {
                cluster.forget(name);
            }
            failure.into()
        })
    }
}

fn refusal(error: OpenError) -> KeyValueError {
    match error {
        OpenError::Missing(_) => KeyValueError::NoSuchStore,
        other => KeyValueError::other(chain(&other)),
    }
}

impl Store for NatsBackend {
    async fn get(
        &self,
        _cx: &Context,
        bucket: &str,
        key: &str,
    ) -> Result<Option<Bytes>, KeyValueError> {
        self.within(bucket, |b| async move { b.get(key).await })
            .await
    }

    async fn set(
        &self,
        _cx: &Context,
        bucket: &str,
        key: &str,
        value: Bytes,
    ) -> Result<(), KeyValueError> {
        self.within(bucket, |b| async move { b.set(key, value).await })
            .await
    }

    async fn delete(&self, _cx: &Context, bucket: &str, key: &str) -> Result<(), KeyValueError> {
        self.within(bucket, |b| async move { b.delete(key).await })
            .await
    }

    async fn exists(&self, _cx: &Context, bucket: &str, key: &str) -> Result<bool, KeyValueError> {
        self.within(bucket, |b| async move { b.exists(key).await })
            .await
    }

    async fn list_keys(
        &self,
        _cx: &Context,
        bucket: &str,
        cursor: Option<u64>,
    ) -> Result<KeysPage, KeyValueError> {
        self.within(bucket, |b| async move { b.list_keys(cursor).await })
            .await
    }
}

impl Atomics for NatsBackend {
    async fn increment(
        &self,
        _cx: &Context,
        bucket: &str,
        key: &str,
        delta: u64,
    ) -> Result<u64, KeyValueError> {
        let (name, _) = self.resolve(bucket)?;
        let _turn = self.cluster.turn(name, key).await;
        self.within(bucket, |b| async move { b.increment(key, delta).await })
            .await
    }
}

impl Batch for NatsBackend {
    async fn get_many(
        &self,
        _cx: &Context,
        bucket: &str,
        keys: Vec<String>,
    ) -> Result<Vec<Option<Entry>>, KeyValueError> {
        self.within(bucket, |b| async move { b.get_many(keys).await })
            .await
    }

    async fn set_many(
        &self,
        _cx: &Context,
        bucket: &str,
        entries: Vec<Entry>,
    ) -> Result<(), KeyValueError> {
        self.within(bucket, |b| async move { b.set_many(entries).await })
            .await
    }

    async fn delete_many(
        &self,
        _cx: &Context,
        bucket: &str,
        keys: Vec<String>,
    ) -> Result<(), KeyValueError> {
        self.within(bucket, |b| async move { b.delete_many(keys).await })
            .await
    }
}
