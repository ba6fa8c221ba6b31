//! The functions of a key-value provider.

use std::sync::Arc;

use lattice_codec::{DecodeError, Reader};
use lattice_rpc::{Context, IncomingCall, RemoteError};

use super::wire::{self, Encode, encode_result};
use super::{Backend, Backends, KeyValueError};
use crate::error::ServeError;
use crate::session::Session;

const STORE: &str = "wrpc:keyvalue/store@0.2.0-draft";
const ATOMICS: &str = "wrpc:keyvalue/atomics@0.2.0-draft";
const BATCH: &str = "wrpc:keyvalue/batch@0.2.0-draft";

/// Serves `store`, `atomics` and `batch` until the provider stops.
///
/// # Errors
///
/// [`ServeError`] when NATS refuses.
pub async fn serve<B: Backend>(
    session: &Session,
    backends: Arc<Backends<B>>,
) -> Result<(), ServeError> {
    let server = Server { session, backends };
    server.serve_store().await?;
    server.serve_atomics().await?;
    server.serve_batch().await
}

struct Server<'a, B> {
    session: &'a Session,
    backends: Arc<Backends<B>>,
}

impl<B: Backend> Server<'_, B> {
    async fn serve_store(&self) -> Result<(), ServeError> {
        self.function(
            STORE,
            "get",
            wire::bucket_and_key,
            |b, (bucket, key)| async move { b.get(&bucket, &key).await },
        )
        .await?;
        self.function(
            STORE,
            "set",
            wire::bucket_key_and_value,
            |b, (bucket, key, value)| async move { b.set(&bucket, &key, value).await },
        )
        .await?;
        self.function(
            STORE,
            "delete",
            wire::bucket_and_key,
            |b, (bucket, key)| async move { b.delete(&bucket, &key).await },
        )
        .await?;
        self.function(
            STORE,
            "exists",
            wire::bucket_and_key,
            |b, (bucket, key)| async move { b.exists(&bucket, &key).await },
        )
        .await?;
        self.function(
            STORE,
            "list-keys",
            wire::bucket_and_cursor,
            |b, (bucket, cursor)| async move { b.list_keys(&bucket, cursor).await },
        )
        .await
    }

    async fn serve_atomics(&self) -> Result<(), ServeError> {
        self.function(
            ATOMICS,
            "increment",
            wire::bucket_key_and_delta,
            |b, (bucket, key, delta)| async move { b.increment(&bucket, &key, delta).await },
        )
        .await
    }

    async fn serve_batch(&self) -> Result<(), ServeError> {
        self.function(
            BATCH,
            "get-many",
            wire::bucket_and_keys,
            |b, (bucket, keys)| async move { b.get_many(&bucket, keys).await },
        )
        .await?;
        self.function(
            BATCH,
            "set-many",
            wire::bucket_and_entries,
            |b, (bucket, entries)| async move { b.set_many(&bucket, entries).await },
        )
        .await?;
        self.function(
            BATCH,
            "delete-many",
            wire::bucket_and_keys,
            |b, (bucket, keys)| async move { b.delete_many(&bucket, keys).await },
        )
        .await
    }

    async fn function<P, T, R, F>(
        &self,
        instance: &str,
        name: &'static str,
        decode: fn(&mut Reader) -> Result<P, DecodeError>,
        run: R,
    ) -> Result<(), ServeError>
    where
        P: Send + 'static,
        T: Encode + Send + 'static,
        R: Fn(Arc<B>, P) -> F + Copy + Send + Sync + 'static,
        F: Future<Output = Result<T, KeyValueError>> + Send + 'static,
    {
        let backends = Arc::clone(&self.backends);
        let handler = move |call: IncomingCall| {
            let backends = Arc::clone(&backends);
            async move {
                let IncomingCall {
                    context,
                    mut params,
                    responder,
                } = call;
                let sent = match params.decode(decode).await {
                    Ok(params) => {
                        let done = match backends.of(&context).await {
                            Ok(backend) => run(backend, params).await,
                            Err(error) => Err(error),
                        };
                        log(name, &context, &done);
                        responder.reply(encode_result(done)).await
                    }
                    Err(error) => {
                        let text = format!("the parameters of `{name}` do not decode: {error}");
                        let error = RemoteError::new(RemoteError::BAD_REQUEST, text);
                        responder.fail(error).await
                    }
                };
                if let Err(error) = sent {
                    tracing::debug!(%error, "an answer was not sent");
                }
            }
        };
        self.session.serve(instance, name, handler).await
    }
}

fn log<T>(function: &str, context: &Context, done: &Result<T, KeyValueError>) {
    if let Err(error) = done {
        let source = context.source_id.as_deref().unwrap_or("<unknown>");
        let link_name = context.link_name.as_str();
        tracing::warn!(source, link_name, function, %error, "a key-value call failed");
    }
}
