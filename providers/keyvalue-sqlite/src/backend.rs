//! The buckets behind one link.

use std::time::Duration;

use bytes::Bytes;
use lattice_provider_sdk::keyvalue::decimal::Addend;
use lattice_provider_sdk::keyvalue::{
    Atomics, Batch, Entry, KeyValueError, KeysPage, LARGEST_VALUE, Outcome, Store, Versioned,
    is_own_bucket,
};
use lattice_provider_sdk::{Context, Features, Shared};

use crate::database::{Database, OpenError};
use crate::failure::Failure;
use crate::rows::Rows;

/// What a link gives its component.
#[derive(Debug)]
pub(crate) struct SqliteBackend {
    database: Shared<Database>,
    link_name: String,
    lifetime: Option<Duration>,
}

impl SqliteBackend {
    pub(crate) fn new(
        database: Shared<Database>,
        link_name: &str,
        lifetime: Option<Duration>,
    ) -> Self {
        Self {
            database,
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
            .with("max-key-bytes", LARGEST_VALUE)
    }

    pub(crate) async fn check(&self) -> Result<(), OpenError> {
        self.database.check().await
    }

    pub(crate) async fn sweep(&self) -> Result<(), Failure> {
        self.database.sweep().await
    }

    /// The bucket as rows name it.
    fn bucket(&self, bucket: &str) -> String {
        match is_own_bucket(bucket, &self.link_name) {
            true => String::new(),
            false => bucket.to_owned(),
        }
    }

    async fn read<T: Send + 'static>(
        &self,
        bucket: &str,
        work: impl FnOnce(Rows<'_>) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, KeyValueError> {
        let bucket = self.bucket(bucket);
        let done = self.database.read(move |connection| {
            work(Rows {
                connection,
                bucket: &bucket,
            })
        });
        Ok(done.await?)
    }

    async fn write<T: Send + 'static>(
        &self,
        bucket: &str,
        work: impl FnOnce(Rows<'_>) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, KeyValueError> {
        let bucket = self.bucket(bucket);
        let done = self.database.write(move |connection| {
            work(Rows {
                connection,
                bucket: &bucket,
            })
        });
        Ok(done.await?)
    }
}

impl Store for SqliteBackend {
    async fn get(
        &self,
        _cx: &Context,
        bucket: &str,
        key: &str,
    ) -> Result<Option<Bytes>, KeyValueError> {
        let key = key.to_owned();
        self.read(bucket, move |rows| rows.get(&key)).await
    }

    async fn read(
        &self,
        _cx: &Context,
        bucket: &str,
        key: &str,
    ) -> Result<Versioned, KeyValueError> {
        let key = key.to_owned();
        self.read(bucket, move |rows| rows.read(&key)).await
    }

    async fn set(
        &self,
        _cx: &Context,
        bucket: &str,
        key: &str,
        value: Bytes,
        ttl: Option<Duration>,
    ) -> Result<(), KeyValueError> {
        let (key, ttl) = (key.to_owned(), ttl.or(self.lifetime));
        self.write(bucket, move |rows| rows.set(&key, &value, ttl))
            .await
    }

    async fn delete(&self, _cx: &Context, bucket: &str, key: &str) -> Result<(), KeyValueError> {
        let key = key.to_owned();
        self.write(bucket, move |rows| rows.delete(&key)).await
    }

    async fn exists(&self, _cx: &Context, bucket: &str, key: &str) -> Result<bool, KeyValueError> {
        let key = key.to_owned();
        self.read(bucket, move |rows| rows.exists(&key)).await
    }

    async fn list_keys(
        &self,
        _cx: &Context,
        bucket: &str,
        cursor: Option<u64>,
    ) -> Result<KeysPage, KeyValueError> {
        self.read(bucket, move |rows| rows.list(cursor)).await
    }
}

impl Atomics for SqliteBackend {
    async fn increment(
        &self,
        _cx: &Context,
        bucket: &str,
        key: &str,
        by: Addend,
    ) -> Result<i128, KeyValueError> {
        let (key, ttl) = (key.to_owned(), self.lifetime);
        self.write(bucket, move |rows| rows.increment(&key, by, ttl))
            .await
    }

    async fn swap(
        &self,
        _cx: &Context,
        bucket: &str,
        key: &str,
        version: &str,
        value: Bytes,
    ) -> Result<Outcome, KeyValueError> {
        let (key, version) = (key.to_owned(), version.to_owned());
        let ttl = self.lifetime;
        self.write(bucket, move |rows| rows.swap(&key, &version, &value, ttl))
            .await
    }
}

impl Batch for SqliteBackend {
    async fn get_many(
        &self,
        _cx: &Context,
        bucket: &str,
        keys: Vec<String>,
    ) -> Result<Vec<Option<Entry>>, KeyValueError> {
        self.read(bucket, move |rows| rows.get_many(keys)).await
    }

    async fn set_many(
        &self,
        _cx: &Context,
        bucket: &str,
        entries: Vec<Entry>,
    ) -> Result<(), KeyValueError> {
        let ttl = self.lifetime;
        let set = move |rows: Rows<'_>| {
            let mut entries = entries.iter();
            entries.try_for_each(|(key, value)| rows.set(key, value, ttl))
        };
        self.write(bucket, set).await
    }

    async fn delete_many(
        &self,
        _cx: &Context,
        bucket: &str,
        keys: Vec<String>,
    ) -> Result<(), KeyValueError> {
        self.write(bucket, move |rows| {
            keys.iter().try_for_each(|key| rows.delete(key))
        })
        .await
    }
}
