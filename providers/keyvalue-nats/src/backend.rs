//! The buckets behind one link.

use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use lattice_core::subject::store::BUCKET_PREFIXES;
use lattice_nats::connection::NatsSystem;
use lattice_provider_sdk::keyvalue::decimal::Addend;
use lattice_provider_sdk::keyvalue::{
    Atomics, Batch, Entry, KeyValueError, KeysPage, Outcome, Store, Versioned, is_own_bucket,
};
use lattice_provider_sdk::{Backends, Context, Features, ProviderLink, Shared, chain};

use crate::bucket::{Bucket, Failure};
use crate::cluster::{Cluster, New, OpenError};
use crate::key;
use crate::ruled::{RuledLinks, There};
use crate::settings::{LinkSettings, is_kept_for_some};

/// Buckets in which tools of a lattice keep their own data. A component must not read or change
/// them or those of the lattice, although they may be on the same NATS.
const RESERVED: [&str; 3] = ["WASMCLOUD_", "SECRETS_", "wadm_"];

/// What a link can do that is for a bucket, at either end.
pub(crate) async fn features(cluster: &Cluster, bucket: &str, new: New) -> Features {
    let features = Features::new()
        .with("increment", "atomic")
        .with("max-count", u64::MAX)
        .with("cas", "version")
        .with("ttl", "bucket")
        .with("paging", "once")
        .with("order", "none")
        .with("batch", "each")
        .with("watch", "resumed")
        .having("watch-set")
        .having("watch-delete")
        .with("watch-steps", "last")
        .with("max-key-bytes", key::LONGEST);
    let Ok(own) = cluster.bucket(bucket, new).await else {
        return features
            .lacking("watch-expiry")
            .with("consistency", "eventual")
            .with("max-value-bytes", cluster.largest_message());
    };
    let config = &own.stream().cached_info().config;
    // With copies, a read may be answered by one that is behind.
    let consistency = match config.num_replicas {
        0 | 1 => "linearizable",
        _ => "eventual",
    };
    // Where no time ends, nothing of it is left untold.
    let never = config.max_age.is_zero();
    let tells = never || cluster.tells_of_expiry(bucket).await;
    let of_stream = usize::try_from(config.max_message_size).ok();
    let of_stream = of_stream.filter(|bytes| *bytes > 0);
    let of_server = cluster.largest_message();
    let largest = of_stream.map_or(of_server, |bytes| bytes.min(of_server));
    features
        .having_if("watch-expiry", tells)
        .with("consistency", consistency)
        .with("max-value-bytes", largest)
}

/// What a link gives its component.
pub(crate) struct NatsBackend {
    cluster: Shared<Cluster>,
    link_name: String,
    settings: LinkSettings,
    /// Those of all links, which hold this one.
    all: Weak<Backends<Self>>,
    /// Links whose buckets the component has through them alone.
    ruled: Arc<RuledLinks>,
}

/// Where a component means to do something.
struct Place<'a> {
    cluster: &'a Cluster,
    bucket: &'a str,
    new: New,
}

impl NatsBackend {
    pub(crate) fn new(
        cluster: Shared<Cluster>,
        link: &ProviderLink,
        settings: LinkSettings,
        all: &Arc<Backends<Self>>,
        ruled: &Arc<RuledLinks>,
    ) -> Self {
        Self {
            cluster,
            link_name: link.name.to_string(),
            settings,
            all: Arc::downgrade(all),
            ruled: Arc::clone(ruled),
        }
    }

    /// Looks at the bucket that the link configures, as if nothing were known of it.
    pub(crate) async fn check(&self) -> Result<Arc<Bucket>, OpenError> {
        let LinkSettings {
            bucket, lifetime, ..
        } = &self.settings;
        // Looked at every few seconds, whether or not anybody calls.
        self.cluster.sweep_listings();
        let opened = self.cluster.bucket_anew(bucket, self.new_own()).await?;
        let kept = opened.stream().cached_info().config.max_age;
        match lifetime {
            Some(wanted) if *wanted != kept => Err(OpenError::Lifetime {
                bucket: bucket.clone(),
                kept,
                wanted: *wanted,
            }),
            _ => Ok(opened),
        }
    }

    /// What it can do.
    pub(crate) async fn features(&self) -> Features {
        features(&self.cluster, &self.settings.bucket, self.new_own()).await
    }

    fn new_own(&self) -> New {
        New {
            create: self.settings.create_own,
            lifetime: self.settings.lifetime,
        }
    }

    /// The place that the link configures.
    fn own(&self) -> Place<'_> {
        Place {
            cluster: &self.cluster,
            bucket: &self.settings.bucket,
            new: self.new_own(),
        }
    }

    /// The other link of the component that is called so, which a component of 1.x means by it.
    fn sibling(&self, cx: &Context, bucket: &str) -> Result<Option<Arc<Self>>, KeyValueError> {
        if is_own_bucket(bucket, &self.link_name) {
            return Ok(None);
        }
        let source = cx.source_id.as_deref().unwrap_or_default();
        // The host has looked at the rules of this link, not at those of another. Two may have one name.
        if self.ruled.has_name(source, bucket) || self.leads_into_ruled(source, bucket) {
            return Err(KeyValueError::AccessDenied);
        }
        let all = self.all.upgrade();
        Ok(all.and_then(|all| all.named(source, bucket)))
    }

    /// Whether a bucket, by its own name, may be that of a link with rules, and not of this one.
    fn leads_into_ruled(&self, source: &str, bucket: &str) -> bool {
        let there = || There {
            place: &self.settings.cluster,
            system: self.cluster.system(),
        };
        self.settings.bucket != bucket && self.ruled.has_bucket(source, bucket, there)
    }

    /// Which NATS it is on.
    pub(crate) fn system(&self) -> NatsSystem {
        self.cluster.system()
    }

    /// The bucket a component means, by its real name, and how it may be created.
    fn resolve<'a>(&'a self, bucket: &'a str) -> Result<Place<'a>, KeyValueError> {
        if is_own_bucket(bucket, &self.link_name) {
            return Ok(self.own());
        }
        // What the operator configured is not refused.
        let LinkSettings {
            bucket: configured,
            usual,
            ..
        } = &self.settings;
        let mut reserved = RESERVED.iter().chain(&BUCKET_PREFIXES);
        let is_reserved = reserved.any(|prefix| bucket.starts_with(prefix));
        let is_of_others = bucket != usual && is_kept_for_some(bucket);
        if bucket != configured && (is_reserved || is_of_others) {
            return Err(KeyValueError::AccessDenied);
        }
        let new = New {
            create: self.settings.create_others,
            lifetime: self.settings.lifetime,
        };
        Ok(Place {
            cluster: &self.cluster,
            bucket,
            new,
        })
    }

    /// Does something in the bucket that a component means.
    async fn within<T, F>(
        &self,
        cx: &Context,
        bucket: &str,
        work: impl FnOnce(Arc<Bucket>) -> F,
    ) -> Result<T, KeyValueError>
    where
        F: Future<Output = Result<T, Failure>>,
    {
        match self.sibling(cx, bucket)? {
            Some(other) => other.own().within(work).await,
            None => self.resolve(bucket)?.within(work).await,
        }
    }
}

impl Place<'_> {
    async fn within<T, F>(&self, work: impl FnOnce(Arc<Bucket>) -> F) -> Result<T, KeyValueError>
    where
        F: Future<Output = Result<T, Failure>>,
    {
        let opened = self.cluster.bucket(self.bucket, self.new).await;
        work(opened.map_err(refusal)?).await.map_err(|failure| {
            if failure.is_of_bucket() {
                self.cluster.forget(self.bucket);
            }
            failure.into()
        })
    }

    /// Adds to a number, one of this process after the other.
    async fn increment(&self, key: &str, by: Addend) -> Result<i128, KeyValueError> {
        let _turn = self.cluster.turn(self.bucket, key).await;
        self.within(|b| async move { b.increment(key, by).await })
            .await
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
        cx: &Context,
        bucket: &str,
        key: &str,
    ) -> Result<Option<Bytes>, KeyValueError> {
        self.within(cx, bucket, |b| async move { b.get(key).await })
            .await
    }

    async fn read(
        &self,
        cx: &Context,
        bucket: &str,
        key: &str,
    ) -> Result<Versioned, KeyValueError> {
        self.within(cx, bucket, |b| async move { b.read(key).await })
            .await
    }

    async fn set(
        &self,
        cx: &Context,
        bucket: &str,
        key: &str,
        value: Bytes,
        ttl: Option<Duration>,
    ) -> Result<(), KeyValueError> {
        if ttl.is_some() {
            return Err(Failure::Time(key.to_owned()).into());
        }
        self.within(cx, bucket, |b| async move { b.set(key, value).await })
            .await
    }

    async fn delete(&self, cx: &Context, bucket: &str, key: &str) -> Result<(), KeyValueError> {
        self.within(cx, bucket, |b| async move { b.delete(key).await })
            .await
    }

    async fn exists(&self, cx: &Context, bucket: &str, key: &str) -> Result<bool, KeyValueError> {
        self.within(cx, bucket, |b| async move { b.exists(key).await })
            .await
    }

    async fn list_keys(
        &self,
        cx: &Context,
        bucket: &str,
        cursor: Option<u64>,
    ) -> Result<KeysPage, KeyValueError> {
        self.within(cx, bucket, |b| async move { b.list_keys(cursor).await })
            .await
    }
}

impl Atomics for NatsBackend {
    async fn increment(
        &self,
        cx: &Context,
        bucket: &str,
        key: &str,
        by: Addend,
    ) -> Result<i128, KeyValueError> {
        match self.sibling(cx, bucket)? {
            Some(other) => other.own().increment(key, by).await,
            None => self.resolve(bucket)?.increment(key, by).await,
        }
    }

    async fn swap(
        &self,
        cx: &Context,
        bucket: &str,
        key: &str,
        version: &str,
        value: Bytes,
    ) -> Result<Outcome, KeyValueError> {
        self.within(
            cx,
            bucket,
            |b| async move { b.swap(key, version, value).await },
        )
        .await
    }
}

impl Batch for NatsBackend {
    async fn get_many(
        &self,
        cx: &Context,
        bucket: &str,
        keys: Vec<String>,
    ) -> Result<Vec<Option<Entry>>, KeyValueError> {
        let largest = self.cluster.largest_message();
        self.within(
            cx,
            bucket,
            |b| async move { b.get_many(keys, largest).await },
        )
        .await
    }

    async fn set_many(
        &self,
        cx: &Context,
        bucket: &str,
        entries: Vec<Entry>,
    ) -> Result<(), KeyValueError> {
        self.within(cx, bucket, |b| async move { b.set_many(entries).await })
            .await
    }

    async fn delete_many(
        &self,
        cx: &Context,
        bucket: &str,
        keys: Vec<String>,
    ) -> Result<(), KeyValueError> {
        self.within(cx, bucket, |b| async move { b.delete_many(keys).await })
            .await
    }
}
