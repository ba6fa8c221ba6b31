//! The buckets behind one link.

use std::time::Duration;

use bytes::Bytes;
use lattice_etcd::{Etcd, EtcdError, Range};
use lattice_provider_sdk::keyvalue::decimal::Addend;
use lattice_provider_sdk::keyvalue::{
    Atomics, Batch, Entry, KeyValueError, KeysPage, Outcome, Store, Turns, Versioned, is_own_bucket,
};
use lattice_provider_sdk::{Context, Features, LinkError, Shared, chain};

use crate::bucket::Bucket;
use crate::leases::Leases;
use crate::namespace::Namespace;
use crate::settings::LinkSettings;

/// The longest key that is taken; a whole request may have 1.5 MiB.
pub(crate) const LONGEST_KEY: usize = 64 << 10;

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
        .with("watch", "resumed")
        .having("watch-set")
        .having("watch-delete")
        .with("watch-steps", "each")
        .having("watch-expiry")
        .with("max-value-bytes", settings.longest)
        .with("max-key-bytes", LONGEST_KEY)
}

/// What a link gives its component.
#[derive(Debug)]
pub(crate) struct EtcdBackend {
    etcd: Shared<Etcd>,
    turns: Turns,
    leases: Leases,
    link_name: String,
    settings: LinkSettings,
}

impl EtcdBackend {
    pub(crate) fn new(etcd: Shared<Etcd>, link_name: &str, settings: LinkSettings) -> Self {
        Self {
            etcd,
            turns: Turns::default(),
            leases: Leases::default(),
            link_name: link_name.to_owned(),
            settings,
        }
    }

    /// Whether etcd answers and lets us in.
    pub(crate) async fn check(&self) -> Result<(), LinkError> {
        let own = Namespace::of(&self.settings.prefix, "");
        let count = Range::key(own.prefix()).count_only();
        self.etcd.range(count).await.map_err(unusable)?;
        Ok(())
    }

    fn bucket(&self, bucket: &str) -> Bucket<'_> {
        let own = is_own_bucket(bucket, &self.link_name);
        let name = if own { "" } else { bucket };
        Bucket {
            etcd: &self.etcd,
            turns: &self.turns,
            leases: &self.leases,
            keys: Namespace::of(&self.settings.prefix, name),
            longest: self.settings.longest,
        }
    }
}

/// An etcd that cannot be used may be mended.
pub(crate) fn unusable(error: EtcdError) -> LinkError {
    LinkError::unavailable(chain(&error))
}

impl Store for EtcdBackend {
    async fn get(
        &self,
        _cx: &Context,
        bucket: &str,
        key: &str,
    ) -> Result<Option<Bytes>, KeyValueError> {
        Ok(self.bucket(bucket).get(key).await?)
    }

    async fn read(
        &self,
        _cx: &Context,
        bucket: &str,
        key: &str,
    ) -> Result<Versioned, KeyValueError> {
        Ok(self.bucket(bucket).read(key).await?)
    }

    async fn set(
        &self,
        _cx: &Context,
        bucket: &str,
        key: &str,
        value: Bytes,
        ttl: Option<Duration>,
    ) -> Result<(), KeyValueError> {
        let ttl = ttl.or(self.settings.lifetime);
        Ok(self.bucket(bucket).set(key, value, ttl).await?)
    }

    async fn delete(&self, _cx: &Context, bucket: &str, key: &str) -> Result<(), KeyValueError> {
        Ok(self.bucket(bucket).delete(key).await?)
    }

    async fn exists(&self, _cx: &Context, bucket: &str, key: &str) -> Result<bool, KeyValueError> {
        Ok(self.bucket(bucket).exists(key).await?)
    }

    async fn list_keys(
        &self,
        _cx: &Context,
        bucket: &str,
        cursor: Option<u64>,
    ) -> Result<KeysPage, KeyValueError> {
        Ok(self.bucket(bucket).list(cursor).await?)
    }
}

impl Atomics for EtcdBackend {
    async fn increment(
        &self,
        _cx: &Context,
        bucket: &str,
        key: &str,
        by: Addend,
    ) -> Result<i128, KeyValueError> {
        let ttl = self.settings.lifetime;
        Ok(self.bucket(bucket).increment(key, by, ttl).await?)
    }

    async fn swap(
        &self,
        _cx: &Context,
        bucket: &str,
        key: &str,
        version: &str,
        value: Bytes,
    ) -> Result<Outcome, KeyValueError> {
        let ttl = self.settings.lifetime;
        Ok(self.bucket(bucket).swap(key, version, value, ttl).await?)
    }
}

impl Batch for EtcdBackend {
    async fn get_many(
        &self,
        _cx: &Context,
        bucket: &str,
        keys: Vec<String>,
    ) -> Result<Vec<Option<Entry>>, KeyValueError> {
        Ok(self.bucket(bucket).get_many(keys).await?)
    }

    async fn set_many(
        &self,
        _cx: &Context,
        bucket: &str,
        entries: Vec<Entry>,
    ) -> Result<(), KeyValueError> {
        let ttl = self.settings.lifetime;
        Ok(self.bucket(bucket).set_many(entries, ttl).await?)
    }

    async fn delete_many(
        &self,
        _cx: &Context,
        bucket: &str,
        keys: Vec<String>,
    ) -> Result<(), KeyValueError> {
        Ok(self.bucket(bucket).delete_many(keys).await?)
    }
}
