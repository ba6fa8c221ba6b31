//! The generated bindings of `lattice:keyvalue@0.1.0` in front of the stores.

use std::time::Duration;

use bytes::Bytes;
use lattice_core::keyvalue;
use lattice_rpc::Context;

use super::bindings::exports::lattice::keyvalue::atomics::Handler as _;
use super::bindings::exports::lattice::keyvalue::store::Handler as _;
use super::bindings::exports::lattice::keyvalue::{atomics, store};
use super::decimal::Addend;
use super::lanes::{self, as_is, lanes};
use super::link::LONGEST;
use super::serve::Linked;
use super::{Backend, KeyValueError, Outcome, Versioned};
use crate::serving::Server;

const STORE: &str = "lattice:keyvalue/store@0.1.0";
const ATOMICS: &str = "lattice:keyvalue/atomics@0.1.0";

/// Answers components on the same host without decoding and encoding.
pub(super) fn with_lanes<B: Backend>(server: Server, linked: &Linked<B>) -> Server {
    let server = lanes! { server, linked;
        STORE "set" set(bucket: String, key: String, value: Bytes, ttl_ms: Option<u64>);
        ATOMICS "increment" increment(bucket: String, key: String, delta: i64);
    };
    let (read, list, swap) = (linked.clone(), linked.clone(), linked.clone());
    server
        .lane(STORE, "read", move |cx, (bucket, key): (String, String)| {
            let linked = read.clone();
            async move { as_is(linked.read(cx, bucket, key).await).map(Versioned::from) }
        })
        .lane(
            STORE,
            "list-keys",
            move |cx, (bucket, cursor): (String, Option<String>)| {
                let linked = list.clone();
                async move {
                    let page = as_is(linked.list_keys(cx, bucket, cursor).await);
                    page.map(|page: store::KeyResponse| keyvalue::TextPage {
                        keys: page.keys,
                        cursor: page.cursor,
                    })
                }
            },
        )
        .lane(
            ATOMICS,
            "swap",
            move |cx, (bucket, key, version, value): (String, String, String, Bytes)| {
                let linked = swap.clone();
                async move {
                    let outcome = linked.swap(cx, bucket, key, version, value).await;
                    as_is(outcome).map(Outcome::from)
                }
            },
        )
}

type Answer<T> = lanes::Answer<T, store::Error>;

fn answer<T>(done: Result<T, KeyValueError>) -> Answer<T> {
    Ok(done.map_err(store::Error::from))
}

/// The backend's own cursors are numbers, which are texts here.
fn number_of(cursor: Option<String>) -> Result<Option<u64>, KeyValueError> {
    let Some(cursor) = cursor else {
        return Ok(None);
    };
    let number = cursor.parse().map(Some);
    number.map_err(|_| KeyValueError::other(format!("`{cursor}` is no cursor of this store")))
}

impl<B: Backend> store::Handler<Context> for Linked<B> {
    async fn read(&self, cx: Context, bucket: String, key: String) -> Answer<store::Versioned> {
        let work = async { self.of(&cx).await?.read(&cx, &bucket, &key).await };
        answer(self.answered((STORE, "read"), &cx, work.await.map(Into::into)))
    }

    async fn set(
        &self,
        cx: Context,
        bucket: String,
        key: String,
        value: Bytes,
        ttl_ms: Option<u64>,
    ) -> Answer<()> {
        let ttl = ttl_ms.map(|ms| Duration::from_millis(ms).min(Duration::from_secs(LONGEST)));
        let work = async {
            let backend = self.of(&cx).await?;
            backend.set(&cx, &bucket, &key, value, ttl).await
        };
        answer(self.answered((STORE, "set"), &cx, work.await))
    }

    async fn list_keys(
        &self,
        cx: Context,
        bucket: String,
        cursor: Option<String>,
    ) -> Answer<store::KeyResponse> {
        let work = async {
            let cursor = number_of(cursor)?;
            let page = self.of(&cx).await?.list_keys(&cx, &bucket, cursor).await?;
            Ok(store::KeyResponse {
                keys: page.keys,
                cursor: page.cursor.map(|cursor| cursor.to_string()),
            })
        };
        answer(self.answered((STORE, "list-keys"), &cx, work.await))
    }
}

impl<B: Backend> atomics::Handler<Context> for Linked<B> {
    async fn increment(&self, cx: Context, bucket: String, key: String, delta: i64) -> Answer<i64> {
        let work = async {
            let backend = self.of(&cx).await?;
            let by = Addend::from(delta);
            let sum = backend.increment(&cx, &bucket, &key, by).await?;
            i64::try_from(sum).map_err(|_| KeyValueError::out_of_range(&key, sum))
        };
        answer(self.answered((ATOMICS, "increment"), &cx, work.await))
    }

    async fn swap(
        &self,
        cx: Context,
        bucket: String,
        key: String,
        version: String,
        value: Bytes,
    ) -> Answer<atomics::Outcome> {
        let work = async {
            let backend = self.of(&cx).await?;
            let swapped = backend.swap(&cx, &bucket, &key, &version, value).await;
            swapped.map(Into::into)
        };
        answer(self.answered((ATOMICS, "swap"), &cx, work.await))
    }
}

impl From<KeyValueError> for store::Error {
    fn from(error: KeyValueError) -> Self {
        match error {
            KeyValueError::NoSuchStore => Self::NoSuchStore,
            KeyValueError::AccessDenied => Self::AccessDenied,
            KeyValueError::Other(text) => Self::Other(text),
        }
    }
}

impl From<store::Error> for keyvalue::Error {
    fn from(error: store::Error) -> Self {
        match error {
            store::Error::NoSuchStore => Self::NoSuchStore,
            store::Error::AccessDenied => Self::AccessDenied,
            store::Error::Other(text) => Self::Other(text),
        }
    }
}

impl From<Versioned> for store::Versioned {
    fn from(Versioned { value, version }: Versioned) -> Self {
        Self { value, version }
    }
}

impl From<store::Versioned> for Versioned {
    fn from(store::Versioned { value, version }: store::Versioned) -> Self {
        Self { value, version }
    }
}

impl From<Outcome> for atomics::Outcome {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Swapped => Self::Swapped,
            Outcome::Stale(now) => Self::Stale(now.into()),
        }
    }
}

impl From<atomics::Outcome> for Outcome {
    fn from(outcome: atomics::Outcome) -> Self {
        match outcome {
            atomics::Outcome::Swapped => Self::Swapped,
            atomics::Outcome::Stale(now) => Self::Stale(now.into()),
        }
    }
}
