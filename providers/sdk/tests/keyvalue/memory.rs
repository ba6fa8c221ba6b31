//! A provider that keeps everything in memory.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use lattice_core::ComponentId;
use lattice_keyvalue_suite::bindings;
use lattice_keyvalue_suite::bindings::exports::wrpc::keyvalue::watcher as served;
use lattice_keyvalue_suite::bindings::wrpc::keyvalue::watcher;
use lattice_provider_sdk::keyvalue::decimal::Addend;
use lattice_provider_sdk::keyvalue::{
    self, Atomics, Batch, Entry, KeyValueError, KeysPage, Outcome, Store, Versioned,
};
use lattice_provider_sdk::{
    Backends, CallContext, Context, LinkError, Provider, ProviderLink, Session, StartError,
};
use parking_lot::Mutex;

/// Everything in memory; the bucket `denied` and unknown ones are refused, a `slow` one never
/// answers.
#[derive(Debug, Default)]
pub(crate) struct Memory(Mutex<BTreeMap<String, Bytes>>);

impl Memory {
    fn open(
        &self,
        bucket: &str,
    ) -> Result<parking_lot::MutexGuard<'_, BTreeMap<String, Bytes>>, KeyValueError> {
        match bucket {
            "mine" => Ok(self.0.lock()),
            "denied" => Err(KeyValueError::AccessDenied),
            "broken" => Err(KeyValueError::other("it is broken")),
            _ => Err(KeyValueError::NoSuchStore),
        }
    }
}

impl Memory {
    fn mark(&self, key: &str) {
        self.0.lock().insert(key.to_owned(), Bytes::new());
    }
}

/// Tells when the work on a slow call has been dropped.
struct Ended<'a>(&'a Memory);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.mark("ended");
    }
}

impl Store for Memory {
    async fn get(
        &self,
        _cx: &Context,
        bucket: &str,
        key: &str,
    ) -> Result<Option<Bytes>, KeyValueError> {
        if bucket == "slow" {
            self.mark("began");
            let _ended = Ended(self);
            return std::future::pending().await;
        }
        Ok(self.open(bucket)?.get(key).cloned())
    }

    async fn read(
        &self,
        _cx: &Context,
        bucket: &str,
        key: &str,
    ) -> Result<Versioned, KeyValueError> {
        let value = self.open(bucket)?.get(key).cloned();
        let version = format!("{value:?}");
        Ok(Versioned { value, version })
    }

    async fn set(
        &self,
        _cx: &Context,
        bucket: &str,
        key: &str,
        value: Bytes,
        _ttl: Option<Duration>,
    ) -> Result<(), KeyValueError> {
        self.open(bucket)?.insert(key.to_owned(), value);
        Ok(())
    }

    async fn delete(&self, _cx: &Context, bucket: &str, key: &str) -> Result<(), KeyValueError> {
        self.open(bucket)?.remove(key);
        Ok(())
    }

    async fn exists(&self, _cx: &Context, bucket: &str, key: &str) -> Result<bool, KeyValueError> {
        Ok(self.open(bucket)?.contains_key(key))
    }

    async fn list_keys(
        &self,
        _cx: &Context,
        bucket: &str,
        cursor: Option<u64>,
    ) -> Result<KeysPage, KeyValueError> {
        let keys = self.open(bucket)?.keys().cloned().collect();
        let cursor = cursor.map(|n| n + 300);
        Ok(KeysPage { keys, cursor })
    }
}

impl Atomics for Memory {
    async fn increment(
        &self,
        _cx: &Context,
        bucket: &str,
        key: &str,
        by: Addend,
    ) -> Result<i128, KeyValueError> {
        let mut all = self.open(bucket)?;
        let sum = by.to_value(all.get(key).map(|value| &value[..])).unwrap();
        all.insert(key.to_owned(), sum.to_string().into());
        Ok(sum)
    }

    async fn swap(
        &self,
        cx: &Context,
        bucket: &str,
        key: &str,
        version: &str,
        value: Bytes,
    ) -> Result<Outcome, KeyValueError> {
        let now = self.read(cx, bucket, key).await?;
        if now.version != version {
            return Ok(Outcome::Stale(now));
        }
        self.set(cx, bucket, key, value, None).await?;
        Ok(Outcome::Swapped)
    }
}

impl Batch for Memory {
    async fn get_many(
        &self,
        _cx: &Context,
        bucket: &str,
        keys: Vec<String>,
    ) -> Result<Vec<Option<Entry>>, KeyValueError> {
        let all = self.open(bucket)?;
        let entry = |key: String| all.get(&key).cloned().map(|value| (key, value));
        Ok(keys.into_iter().map(entry).collect())
    }

    async fn set_many(
        &self,
        _cx: &Context,
        bucket: &str,
        entries: Vec<Entry>,
    ) -> Result<(), KeyValueError> {
        self.open(bucket)?.extend(entries);
        Ok(())
    }

    async fn delete_many(
        &self,
        _cx: &Context,
        bucket: &str,
        keys: Vec<String>,
    ) -> Result<(), KeyValueError> {
        self.open(bucket)?.retain(|key, _| !keys.contains(key));
        Ok(())
    }
}

/// Keeps everything in memory.
#[derive(Clone)]
pub(crate) struct MemoryProvider {
    session: Session,
    backends: Arc<Backends<Memory>>,
}

#[lattice_provider_sdk::async_trait]
impl Provider for MemoryProvider {
    const NAME: &'static str = "keyvalue-memory";

    async fn start(session: Session) -> Result<Arc<Self>, StartError> {
        let backends = Arc::new(Backends::new());
        keyvalue::serve(&session, Arc::clone(&backends)).await?;
        let provider = Self {
            session: session.clone(),
            backends,
        };
        let server = session.server();
        let functions = bindings::serve(&server, provider.clone())
            .await
            .map_err(|e| StartError::because("could not serve", e))?;
        server.drive(functions).await?;
        Ok(Arc::new(provider))
    }

    async fn put_target_link(&self, link: &ProviderLink) -> Result<(), LinkError> {
        self.backends.put(link, Arc::default());
        Ok(())
    }

    async fn delete_target_link(&self, link: &ProviderLink) {
        self.backends.delete(link);
    }
}

/// Passes calls on to the component `echo`.
impl served::Handler<Context> for MemoryProvider {
    async fn on_set(
        &self,
        cx: Context,
        bucket: String,
        key: String,
        value: Bytes,
    ) -> anyhow::Result<()> {
        let own = CallContext {
            link_name: Some(cx.link_name.to_string()),
            deadline: Some(cx.deadline),
            trace: cx.trace,
        };
        let echo = self.session.client(&ComponentId::new("echo")?);
        watcher::on_set(&echo, own, &bucket, &key, &value).await
    }

    async fn on_delete(&self, _cx: Context, _bucket: String, _key: String) -> anyhow::Result<()> {
        anyhow::bail!("on purpose")
    }
}
