//! The generated bindings in front of the stores.

use std::sync::Arc;

use bytes::Bytes;
use lattice_rpc::Context;

use super::bindings;
use super::bindings::exports::wrpc::keyvalue::{atomics, batch, store};
use crate::error::ServeError;
use crate::keyvalue::{Backend, Backends, Entry, KeyValueError};
use crate::session::Session;

/// Serves `store`, `atomics` and `batch` until the provider stops.
///
/// # Errors
///
/// [`ServeError`] when NATS refuses.
pub async fn serve<B: Backend>(
    session: &Session,
    backends: Arc<Backends<B>>,
) -> Result<(), ServeError> {
    let server = session.server();
    let functions = bindings::serve(&server, Handler { backends })
        .await
        .map_err(|e| ServeError::Bindings(e.into()))?;
    session.drive(functions);
    Ok(())
}

struct Handler<B> {
    backends: Arc<Backends<B>>,
}

impl<B> Clone for Handler<B> {
    fn clone(&self) -> Self {
        Self {
            backends: Arc::clone(&self.backends),
        }
    }
}

/// The outer error would fail the call; everything that can go wrong here is a value instead.
type Answer<T> = anyhow::Result<Result<T, store::Error>>;

fn answer<T>(done: Result<T, KeyValueError>, context: &Context, what: &str) -> Answer<T> {
    Ok(done.map_err(|error| {
        let source = context.source_id.as_deref().unwrap_or("<unknown>");
        tracing::warn!(source, link_name = context.link_name, %error, "`{what}` failed");
        match error {
            KeyValueError::NoSuchStore => store::Error::NoSuchStore,
            KeyValueError::AccessDenied => store::Error::AccessDenied,
            KeyValueError::Other(text) => store::Error::Other(text),
        }
    }))
}

impl<B: Backend> store::Handler<Context> for Handler<B> {
    async fn get(&self, cx: Context, bucket: String, key: String) -> Answer<Option<Bytes>> {
        let work = async { self.backends.of(&cx)?.get(&bucket, &key).await };
        answer(work.await, &cx, "get")
    }

    async fn set(&self, cx: Context, bucket: String, key: String, value: Bytes) -> Answer<()> {
        let work = async { self.backends.of(&cx)?.set(&bucket, &key, value).await };
        answer(work.await, &cx, "set")
    }

    async fn delete(&self, cx: Context, bucket: String, key: String) -> Answer<()> {
        let work = async { self.backends.of(&cx)?.delete(&bucket, &key).await };
        answer(work.await, &cx, "delete")
    }

    async fn exists(&self, cx: Context, bucket: String, key: String) -> Answer<bool> {
        let work = async { self.backends.of(&cx)?.exists(&bucket, &key).await };
        answer(work.await, &cx, "exists")
    }

    async fn list_keys(
        &self,
        cx: Context,
        bucket: String,
        cursor: Option<u64>,
    ) -> Answer<store::KeyResponse> {
        let work = async { self.backends.of(&cx)?.list_keys(&bucket, cursor).await };
        let page = work.await.map(|page| store::KeyResponse {
            keys: page.keys,
            cursor: page.cursor,
        });
        answer(page, &cx, "list-keys")
    }
}

impl<B: Backend> atomics::Handler<Context> for Handler<B> {
    async fn increment(&self, cx: Context, bucket: String, key: String, delta: u64) -> Answer<u64> {
        let work = async { self.backends.of(&cx)?.increment(&bucket, &key, delta).await };
        answer(work.await, &cx, "increment")
    }
}

impl<B: Backend> batch::Handler<Context> for Handler<B> {
    async fn get_many(
        &self,
        cx: Context,
        bucket: String,
        keys: Vec<String>,
    ) -> Answer<Vec<Option<Entry>>> {
        let work = async { self.backends.of(&cx)?.get_many(&bucket, keys).await };
        answer(work.await, &cx, "get-many")
    }

    async fn set_many(&self, cx: Context, bucket: String, entries: Vec<Entry>) -> Answer<()> {
        let work = async { self.backends.of(&cx)?.set_many(&bucket, entries).await };
        answer(work.await, &cx, "set-many")
    }

    async fn delete_many(&self, cx: Context, bucket: String, keys: Vec<String>) -> Answer<()> {
        let work = async { self.backends.of(&cx)?.delete_many(&bucket, keys).await };
        answer(work.await, &cx, "delete-many")
    }
}
