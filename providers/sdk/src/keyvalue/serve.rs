//! The generated bindings of `wrpc:keyvalue@0.2.0-draft` in front of the stores.

use std::sync::Arc;

use bytes::Bytes;
use lattice_core::keyvalue;
use lattice_core::values::Plain;
use lattice_rpc::Context;

use super::bindings;
use super::bindings::exports::wrpc::keyvalue::atomics::Handler as _;
use super::bindings::exports::wrpc::keyvalue::batch::Handler as _;
use super::bindings::exports::wrpc::keyvalue::store::Handler as _;
use super::bindings::exports::wrpc::keyvalue::{atomics, batch, store};
use super::serve_versions;
use super::{Backend, Entry, KeyValueError, KeysPage};
use crate::backends::Backends;
use crate::complaint;
use crate::error::ServeError;
use crate::serving::Server;
use crate::session::Session;
use crate::wire::{answered, record, variant};

const STORE: &str = "wrpc:keyvalue/store@0.2.0-draft";
const ATOMICS: &str = "wrpc:keyvalue/atomics@0.2.0-draft";
const BATCH: &str = "wrpc:keyvalue/batch@0.2.0-draft";

/// Serves all interfaces of both packages until the provider stops.
///
/// # Errors
///
/// [`ServeError`] when NATS refuses.
pub async fn serve<B: Backend>(
    session: &Session,
    backends: Arc<Backends<B>>,
) -> Result<(), ServeError> {
    let linked = Linked {
        backends,
        session: session.clone(),
    };
    let server = without_bindings(session.server(), &linked);
    let server = serve_versions::without_bindings(server, &linked);
    let functions = bindings::serve(&server, linked)
        .await
        .map_err(|e| ServeError::Bindings(e.into()))?;
    server.drive(functions).await
}

/// Answers without generated code, and callers in this process with values as they are.
fn without_bindings<B: Backend>(server: Server, linked: &Linked<B>) -> Server {
    answered! { server, linked;
        STORE "get" get(bucket: String, key: String);
        STORE "set" set(bucket: String, key: String, value: Bytes);
        STORE "delete" delete(bucket: String, key: String);
        STORE "exists" exists(bucket: String, key: String);
        STORE "list-keys" list_keys(bucket: String, cursor: Option<u64>);
        ATOMICS "increment" increment(bucket: String, key: String, delta: u64);
        BATCH "get-many" get_many(bucket: String, keys: Vec<String>);
        BATCH "set-many" set_many(bucket: String, entries: Vec<Entry>);
        BATCH "delete-many" delete_many(bucket: String, keys: Vec<String>);
    }
}

variant!(KeyValueError as keyvalue::Error {
    0 NoSuchStore,
    1 AccessDenied,
    2 Other(why),
});

impl From<KeyValueError> for keyvalue::Error {
    fn from(error: KeyValueError) -> Self {
        Plain::into_plain(error)
    }
}

record!(KeysPage as keyvalue::KeysPage { keys, cursor });

/// The outer error would fail the call; everything that can go wrong here is a value instead.
type Answer<T> = anyhow::Result<Result<T, KeyValueError>>;

/// Answers each call with the store that its link names.
pub(super) struct Linked<B> {
    backends: Arc<Backends<B>>,
    session: Session,
}

impl<B> Clone for Linked<B> {
    fn clone(&self) -> Self {
        Self {
            backends: Arc::clone(&self.backends),
            session: self.session.clone(),
        }
    }
}

impl<B> Linked<B> {
    pub(super) async fn of(&self, cx: &Context) -> Result<Arc<B>, KeyValueError> {
        Ok(self.backends.of(cx).await?)
    }

    /// Tells the log of a call that failed, and the lattice of one that its caller has no leave for.
    pub(super) fn answered<T>(
        &self,
        (instance, function): (&str, &str),
        cx: &Context,
        done: Result<T, KeyValueError>,
    ) -> Result<T, KeyValueError> {
        if let Err(failed) = &done {
            let error = failed.text();
            complaint::warn("a key-value call failed", cx, function, &error);
            if matches!(failed, KeyValueError::AccessDenied) {
                self.session.denied(cx, instance, function, error);
            }
        }
        done
    }
}

impl<B: Backend> store::Handler<Context> for Linked<B> {
    async fn get(&self, cx: Context, bucket: String, key: String) -> Answer<Option<Bytes>> {
        let work = async { self.of(&cx).await?.get(&cx, &bucket, &key).await };
        Ok(self.answered((STORE, "get"), &cx, work.await))
    }

    async fn set(&self, cx: Context, bucket: String, key: String, value: Bytes) -> Answer<()> {
        let work = async {
            let backend = self.of(&cx).await?;
            backend.set(&cx, &bucket, &key, value, None).await
        };
        Ok(self.answered((STORE, "set"), &cx, work.await))
    }

    async fn delete(&self, cx: Context, bucket: String, key: String) -> Answer<()> {
        let work = async { self.of(&cx).await?.delete(&cx, &bucket, &key).await };
        Ok(self.answered((STORE, "delete"), &cx, work.await))
    }

    async fn exists(&self, cx: Context, bucket: String, key: String) -> Answer<bool> {
        let work = async { self.of(&cx).await?.exists(&cx, &bucket, &key).await };
        Ok(self.answered((STORE, "exists"), &cx, work.await))
    }

    async fn list_keys(
        &self,
        cx: Context,
        bucket: String,
        cursor: Option<u64>,
    ) -> Answer<KeysPage> {
        let work = async { self.of(&cx).await?.list_keys(&cx, &bucket, cursor).await };
        Ok(self.answered((STORE, "list-keys"), &cx, work.await))
    }
}

impl<B: Backend> atomics::Handler<Context> for Linked<B> {
    async fn increment(&self, cx: Context, bucket: String, key: String, delta: u64) -> Answer<u64> {
        let work = async {
            let backend = self.of(&cx).await?;
            let sum = backend.increment(&cx, &bucket, &key, delta.into()).await?;
            u64::try_from(sum).map_err(|_| KeyValueError::out_of_range(&key, sum))
        };
        Ok(self.answered((ATOMICS, "increment"), &cx, work.await))
    }
}

impl<B: Backend> batch::Handler<Context> for Linked<B> {
    async fn get_many(
        &self,
        cx: Context,
        bucket: String,
        keys: Vec<String>,
    ) -> Answer<Vec<Option<Entry>>> {
        let work = async { self.of(&cx).await?.get_many(&cx, &bucket, keys).await };
        Ok(self.answered((BATCH, "get-many"), &cx, work.await))
    }

    async fn set_many(&self, cx: Context, bucket: String, entries: Vec<Entry>) -> Answer<()> {
        let work = async { self.of(&cx).await?.set_many(&cx, &bucket, entries).await };
        Ok(self.answered((BATCH, "set-many"), &cx, work.await))
    }

    async fn delete_many(&self, cx: Context, bucket: String, keys: Vec<String>) -> Answer<()> {
        let work = async { self.of(&cx).await?.delete_many(&cx, &bucket, keys).await };
        Ok(self.answered((BATCH, "delete-many"), &cx, work.await))
    }
}
