//! The generated bindings of `lattice:keyvalue@0.1.0` in front of the stores.

use std::time::Duration;

use bytes::Bytes;
use lattice_core::keyvalue;
use lattice_rpc::Context;

use super::bindings::exports::lattice::keyvalue::atomics::Handler as _;
use super::bindings::exports::lattice::keyvalue::atomics::Outcome as SwapOutcome;
use super::bindings::exports::lattice::keyvalue::store::Handler as _;
use super::bindings::exports::lattice::keyvalue::store::{
    Error as StoreError, KeyResponse as TextPage, Versioned as ReadValue,
};
use super::bindings::exports::lattice::keyvalue::{atomics, store};
use super::decimal::Addend;
use super::link::LONGEST;
use super::serve::Linked;
use super::{Backend, KeyValueError, Outcome, Versioned};
use crate::serving::Server;
use crate::wire::{answered, record, variant};

const STORE: &str = "lattice:keyvalue/store@0.1.0";
const ATOMICS: &str = "lattice:keyvalue/atomics@0.1.0";

/// Answers without generated code, and callers in this process with values as they are.
pub(super) fn without_bindings<B: Backend>(server: Server, linked: &Linked<B>) -> Server {
    answered! { server, linked;
        STORE "read" read(bucket: String, key: String);
        STORE "set" set(bucket: String, key: String, value: Bytes, ttl_ms: Option<u64>);
        STORE "list-keys" list_keys(bucket: String, cursor: Option<String>);
        ATOMICS "increment" increment(bucket: String, key: String, delta: i64);
        ATOMICS "swap" swap(bucket: String, key: String, version: String, value: Bytes);
    }
}

variant!(StoreError as keyvalue::Error {
    0 NoSuchStore,
    1 AccessDenied,
    2 Other(why),
});

record!(ReadValue as keyvalue::Versioned { value, version });
record!(TextPage as keyvalue::TextPage { keys, cursor });

variant!(SwapOutcome as keyvalue::Outcome {
    0 Swapped,
    1 Stale(now),
});

/// The outer error would fail the call; everything that can go wrong here is a value instead.
type Answer<T> = anyhow::Result<Result<T, store::Error>>;

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

impl From<Versioned> for store::Versioned {
    fn from(Versioned { value, version }: Versioned) -> Self {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::tests::same;

    #[test]
    fn what_is_handed_over_is_the_same_as_on_the_wire() {
        let now = || keyvalue::Versioned {
            value: Some(Bytes::from_static(&[0, 255])),
            version: "v".to_owned(),
        };
        same::<ReadValue>(now());
        same::<SwapOutcome>(keyvalue::Outcome::Swapped);
        same::<SwapOutcome>(keyvalue::Outcome::Stale(now()));
        same::<TextPage>(keyvalue::TextPage {
            keys: vec!["k".to_owned()],
            cursor: Some("c".to_owned()),
        });
        let errors = [
            keyvalue::Error::NoSuchStore,
            keyvalue::Error::AccessDenied,
            keyvalue::Error::Other("t".to_owned()),
        ];
        for error in errors {
            same::<StoreError>(error.clone());
            same::<KeyValueError>(error);
        }
    }
}
