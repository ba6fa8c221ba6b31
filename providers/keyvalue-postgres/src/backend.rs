//! The buckets behind one link.

use std::time::Duration;

use bytes::Bytes;
use lattice_postgres::PostgresError;
use lattice_provider_sdk::keyvalue::decimal::Addend;
use lattice_provider_sdk::keyvalue::{
    Atomics, Batch, Entry, KeyValueError, KeysPage, LARGEST_VALUE, Outcome, Store, Versioned,
    is_own_bucket,
};
use lattice_provider_sdk::{Context, Features, LinkError};

use crate::key;
use crate::table::{Bucket, Table};

/// What a link gives its component.
#[derive(Debug)]
pub(crate) struct PostgresBackend {
    table: Table,
    link_name: String,
    lifetime: Option<Duration>,
}

impl PostgresBackend {
    pub(crate) fn new(table: Table, link_name: &str, lifetime: Option<Duration>) -> Self {
        Self {
            table,
            link_name: link_name.to_owned(),
            lifetime,
        }
    }

    /// What it can do.
    pub(crate) fn features() -> Features {
        Features::new()
            .with("increment", "atomic")
            .with("max-count", u64::MAX)
            .with("cas", "version")
            .with("ttl", "key")
            .with("paging", "once")
            .with("order", "none")
            .with("consistency", "linearizable")
            .with("batch", "atomic")
            .with("watch", "resumed")
            .having("watch-set")
            .having("watch-delete")
            .with("watch-steps", "last")
            .having("watch-expiry")
            .with("max-value-bytes", LARGEST_VALUE)
            .with("max-key-bytes", key::LONGEST)
    }

    pub(crate) async fn check(&self) -> Result<(), LinkError> {
        self.table.check().await
    }

    pub(crate) async fn sweep(&self) -> Result<(), PostgresError> {
        self.table.sweep().await
    }

    fn bucket<'a>(&'a self, cx: &Context, bucket: &'a str) -> Bucket<'a> {
        let own = is_own_bucket(bucket, &self.link_name);
        let name = if own { "" } else { bucket };
        self.table.bucket(name, cx.deadline)
    }
}

impl Store for PostgresBackend {
    async fn get(
        &self,
        cx: &Context,
        bucket: &str,
        key: &str,
    ) -> Result<Option<Bytes>, KeyValueError> {
        Ok(self.bucket(cx, bucket).get(key).await?)
    }

    async fn read(
        &self,
        cx: &Context,
        bucket: &str,
        key: &str,
    ) -> Result<Versioned, KeyValueError> {
        Ok(self.bucket(cx, bucket).read(key).await?)
    }

    async fn set(
        &self,
        cx: &Context,
        bucket: &str,
        key: &str,
        value: Bytes,
        ttl: Option<Duration>,
    ) -> Result<(), KeyValueError> {
        let ttl = ttl.or(self.lifetime);
        Ok(self.bucket(cx, bucket).set(key, &value, ttl).await?)
    }

    async fn delete(&self, cx: &Context, bucket: &str, key: &str) -> Result<(), KeyValueError> {
        Ok(self.bucket(cx, bucket).delete(key).await?)
    }

    async fn exists(&self, cx: &Context, bucket: &str, key: &str) -> Result<bool, KeyValueError> {
        Ok(self.bucket(cx, bucket).exists(key).await?)
    }

    async fn list_keys(
        &self,
        cx: &Context,
        bucket: &str,
        cursor: Option<u64>,
    ) -> Result<KeysPage, KeyValueError> {
        Ok(self.bucket(cx, bucket).list(cursor).await?)
    }
}

impl Atomics for PostgresBackend {
    async fn increment(
        &self,
        cx: &Context,
        bucket: &str,
        key: &str,
        by: Addend,
    ) -> Result<i128, KeyValueError> {
        let bucket = self.bucket(cx, bucket);
        Ok(bucket.increment(key, by, self.lifetime).await?)
    }

    async fn swap(
        &self,
        cx: &Context,
        bucket: &str,
        key: &str,
        version: &str,
        value: Bytes,
    ) -> Result<Outcome, KeyValueError> {
        let bucket = self.bucket(cx, bucket);
        Ok(bucket.swap(key, version, &value, self.lifetime).await?)
    }
}

impl Batch for PostgresBackend {
    async fn get_many(
        &self,
        cx: &Context,
        bucket: &str,
        keys: Vec<String>,
    ) -> Result<Vec<Option<Entry>>, KeyValueError> {
        Ok(self.bucket(cx, bucket).get_many(keys).await?)
    }

    async fn set_many(
        &self,
        cx: &Context,
        bucket: &str,
        entries: Vec<Entry>,
    ) -> Result<(), KeyValueError> {
        let bucket = self.bucket(cx, bucket);
        Ok(bucket.set_many(&entries, self.lifetime).await?)
    }

    async fn delete_many(
        &self,
        cx: &Context,
        bucket: &str,
        keys: Vec<String>,
    ) -> Result<(), KeyValueError> {
        Ok(self.bucket(cx, bucket).delete_many(&keys).await?)
    }
}
