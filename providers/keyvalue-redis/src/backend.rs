//! The buckets behind one link.

use bytes::Bytes;
use lattice_provider_sdk::keyvalue::{
    Atomics, Batch, Entry, KeyValueError, KeysPage, Store, is_own_bucket,
};
use lattice_provider_sdk::{Context, Shared};
use redis::{Cmd, cmd};

use crate::connection::Connection;
use crate::namespace::Namespace;
use crate::scan;

/// What a link gives its component.
#[derive(Debug)]
pub(crate) struct RedisBackend {
    connection: Shared<Connection>,
    link_name: String,
}

impl RedisBackend {
    pub(crate) fn new(connection: Shared<Connection>, link_name: &str) -> Self {
        Self {
            connection,
            link_name: link_name.to_owned(),
        }
    }

    fn keys(&self, bucket: &str) -> Namespace {
        if is_own_bucket(bucket, &self.link_name) {
            return Namespace::of("");
        }
        Namespace::of(bucket)
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

    async fn set(
        &self,
        _cx: &Context,
        bucket: &str,
        key: &str,
        value: Bytes,
    ) -> Result<(), KeyValueError> {
        let mut command = self.command("SET", bucket, [key]);
        command.arg(&value[..]);
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
        delta: u64,
    ) -> Result<u64, KeyValueError> {
        let delta = i64::try_from(delta).map_err(|_| {
            KeyValueError::other(format!(
                "Redis cannot add {delta}: it counts to {}",
                i64::MAX
            ))
        })?;
        let mut command = self.command("INCRBY", bucket, [key]);
        command.arg(delta);
        let sum: i64 = self.connection.ask(&command).await.map_err(|error| {
            match KeyValueError::from(error) {
                KeyValueError::Other(why) => {
                    KeyValueError::other(format!("could not increment `{key}`: {why}"))
                }
                refusal => refusal,
            }
        })?;
        u64::try_from(sum).map_err(|_| {
            KeyValueError::other(format!("the value of `{key}` is {sum}, less than zero"))
        })
    }
}

impl Batch for RedisBackend {
    async fn get_many(
        &self,
        _cx: &Context,
        bucket: &str,
        keys: Vec<String>,
    ) -> Result<Vec<Option<Entry>>, KeyValueError> {
        // The server takes no empty batches.
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let command = self.command("MGET", bucket, keys.iter().map(String::as_str));
        let values: Vec<Option<Bytes>> = self.connection.ask(&command).await?;
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
        if entries.is_empty() {
            return Ok(());
        }
        let namespace = self.keys(bucket);
        let mut command = cmd("MSET");
        for (key, value) in &entries {
            command.arg(namespace.stored(key)).arg(&value[..]);
        }
        Ok(self.connection.ask(&command).await?)
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
