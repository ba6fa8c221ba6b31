//! The buckets behind one link.

use std::time::Duration;

use bytes::Bytes;
use lattice_provider_sdk::keyvalue::decimal::Addend;
use lattice_provider_sdk::keyvalue::{
    Atomics, Batch, Entry, KeyValueError, KeysPage, LARGEST_VALUE, Outcome, Store, Versioned,
    is_own_bucket,
};
use lattice_provider_sdk::{Context, Features, LinkError, Shared};
use redis::{Cmd, Pipeline, cmd};

use crate::connection::Connection;
use crate::namespace::Namespace;
use crate::settings::Buckets;
use crate::{many, numbers, scan, swap};

/// What a link gives its component.
#[derive(Debug)]
pub(crate) struct RedisBackend {
    connection: Shared<Connection>,
    link_name: String,
    buckets: Buckets,
    /// After which time what is written goes.
    lifetime: Option<Duration>,
}

impl RedisBackend {
    pub(crate) fn new(
        connection: Shared<Connection>,
        link_name: &str,
        buckets: Buckets,
        lifetime: Option<Duration>,
    ) -> Self {
        Self {
            connection,
            link_name: link_name.to_owned(),
            buckets,
            lifetime,
        }
    }

    /// What it can do.
    pub(crate) fn features() -> Features {
        Features::new()
            .with("increment", "atomic")
            .with("max-count", numbers::LARGEST)
            .with("cas", "value")
            .with("ttl", "key")
            .with("paging", "stable")
            .with("order", "none")
            // What a replica that takes over has not got yet is lost.
            .with("consistency", "best-effort")
            .with("batch", "atomic")
            .with("watch", "resumed")
            .having("watch-set")
            .having("watch-delete")
            .with("watch-steps", "last")
            .with("watch-expiry", "server")
            .with("max-value-bytes", LARGEST_VALUE)
            .with("max-key-bytes", LARGEST_VALUE)
    }

    /// Whether the server answers.
    pub(crate) async fn check(&self) -> Result<(), LinkError> {
        self.connection.ping().await
    }

    /// Makes a key that is written by the commands before go after the link's time, with them.
    fn keep_for_a_time<'a>(
        &self,
        command: Cmd,
        stored: impl IntoIterator<Item = &'a String>,
    ) -> Option<Pipeline> {
        let millis = millis(self.lifetime?);
        let mut all = redis::pipe();
        all.atomic().add_command(command);
        for key in stored {
            all.cmd("PEXPIRE").arg(key).arg(millis).ignore();
        }
        Some(all)
    }

    fn keys(&self, bucket: &str) -> Namespace {
        // Watchers are told that what changed is in `0`, since hosts of 1.9 take numbers only.
        if is_own_bucket(bucket, &self.link_name) || bucket == "0" {
            return Namespace::of("");
        }
        self.buckets.keys(bucket)
    }

    /// A command whose first arguments are these keys of a bucket, as they are stored.
    fn command<'a>(
        &self,
        name: &str,
        bucket: &str,
        keys: impl IntoIterator<Item = &'a str>,
    ) -> Cmd {
        let namespace = self.keys(bucket);
        let mut command = cmd(name);
        for key in keys {
            command.arg(namespace.stored(key));
        }
        command
    }
}

impl Store for RedisBackend {
    async fn get(
        &self,
        _cx: &Context,
        bucket: &str,
        key: &str,
    ) -> Result<Option<Bytes>, KeyValueError> {
        let command = self.command("GET", bucket, [key]);
        Ok(self.connection.ask(&command).await?)
    }

    async fn read(
        &self,
        _cx: &Context,
        bucket: &str,
        key: &str,
    ) -> Result<Versioned, KeyValueError> {
        let stored = self.keys(bucket).stored(key);
        Ok(swap::read(&self.connection, &stored).await?)
    }

    async fn set(
        &self,
        _cx: &Context,
        bucket: &str,
        key: &str,
        value: Bytes,
        ttl: Option<Duration>,
    ) -> Result<(), KeyValueError> {
        let mut command = self.command("SET", bucket, [key]);
        command.arg(&value[..]);
        if let Some(ttl) = ttl.or(self.lifetime) {
            command.arg("PX").arg(millis(ttl));
        }
        Ok(self.connection.ask(&command).await?)
    }

    async fn delete(&self, _cx: &Context, bucket: &str, key: &str) -> Result<(), KeyValueError> {
        let command = self.command("DEL", bucket, [key]);
        Ok(self.connection.ask(&command).await?)
    }

    async fn exists(&self, _cx: &Context, bucket: &str, key: &str) -> Result<bool, KeyValueError> {
        let command = self.command("EXISTS", bucket, [key]);
        Ok(self.connection.ask(&command).await?)
    }

    async fn list_keys(
        &self,
        _cx: &Context,
        bucket: &str,
        cursor: Option<u64>,
    ) -> Result<KeysPage, KeyValueError> {
        Ok(scan::page(&self.connection, &self.keys(bucket), cursor).await?)
    }
}

impl Atomics for RedisBackend {
    async fn increment(
        &self,
        _cx: &Context,
        bucket: &str,
        key: &str,
        by: Addend,
    ) -> Result<i128, KeyValueError> {
        let stored = self.keys(bucket).stored(key);
        let ttl = self.lifetime.map(millis);
        Ok(numbers::increment(&self.connection, key, &stored, by, ttl).await?)
    }

    async fn swap(
        &self,
        _cx: &Context,
        bucket: &str,
        key: &str,
        version: &str,
        value: Bytes,
    ) -> Result<Outcome, KeyValueError> {
        let stored = self.keys(bucket).stored(key);
        let ttl = self.lifetime.map(millis);
        Ok(swap::swap(&self.connection, &stored, version, &value, ttl).await?)
    }
}

/// A time as Redis takes it, which takes none that is shorter than a millisecond.
fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX).max(1)
}

impl Batch for RedisBackend {
    async fn get_many(
        &self,
        _cx: &Context,
        bucket: &str,
        keys: Vec<String>,
    ) -> Result<Vec<Option<Entry>>, KeyValueError> {
        let namespace = self.keys(bucket);
        let stored: Vec<_> = keys.iter().map(|key| namespace.stored(key)).collect();
        let values = many::read(&self.connection, &stored).await?;
        let entries = keys.into_iter().zip(values);
        Ok(entries
            .map(|(key, value)| value.map(|value| (key, value)))
            .collect())
    }

    async fn set_many(
        &self,
        _cx: &Context,
        bucket: &str,
        entries: Vec<Entry>,
    ) -> Result<(), KeyValueError> {
        // The server takes no empty batches.
        if entries.is_empty() {
            return Ok(());
        }
        let namespace = self.keys(bucket);
        let stored: Vec<_> = entries
            .iter()
            .map(|(key, _)| namespace.stored(key))
            .collect();
        let mut command = cmd("MSET");
        for (key, (_, value)) in stored.iter().zip(&entries) {
            command.arg(key).arg(&value[..]);
        }
        match self.keep_for_a_time(command.clone(), &stored) {
            Some(all) => {
                let ((),) = self.connection.ask_all(&all).await?;
                Ok(())
            }
            None => Ok(self.connection.ask(&command).await?),
        }
    }

    async fn delete_many(
        &self,
        _cx: &Context,
        bucket: &str,
        keys: Vec<String>,
    ) -> Result<(), KeyValueError> {
        if keys.is_empty() {
            return Ok(());
        }
        let command = self.command("DEL", bucket, keys.iter().map(String::as_str));
        Ok(self.connection.ask(&command).await?)
    }
}
