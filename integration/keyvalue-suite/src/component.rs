//! A component as its provider sees it.

use std::time::Duration;

use bytes::Bytes;
use lattice_core::keyvalue::TextPage;
use lattice_core::{ComponentId, LatticeName};
use lattice_provider_sdk::keyvalue::{Entry, KeyValueError, KeysPage, Outcome, Versioned};
use lattice_rpc::Peer;
use lattice_rpc::wrpc::{CallContext, Client};

use crate::PATIENCE;
use crate::bindings::lattice::keyvalue::{atomics as more_atomics, store as more};
use crate::bindings::wrpc::keyvalue::{atomics, batch, store};

/// Calls a provider through one link. A call that fails as such, rather than with an error of the
/// interface, panics.
#[derive(Debug, Clone)]
pub struct Component {
    client: Client,
    link_name: String,
}

type Answer<T> = Result<T, KeyValueError>;

fn answer<T>(called: anyhow::Result<Result<T, store::Error>>) -> Answer<T> {
    called
        .expect("the call itself succeeds")
        .map_err(|error| match error {
            store::Error::NoSuchStore => KeyValueError::NoSuchStore,
            store::Error::AccessDenied => KeyValueError::AccessDenied,
            store::Error::Other(text) => KeyValueError::Other(text),
        })
}

fn more_answer<T>(called: anyhow::Result<Result<T, more::Error>>) -> Answer<T> {
    called
        .expect("the call itself succeeds")
        .map_err(|error| match error {
            more::Error::NoSuchStore => KeyValueError::NoSuchStore,
            more::Error::AccessDenied => KeyValueError::AccessDenied,
            more::Error::Other(text) => KeyValueError::Other(text),
        })
}

fn versioned(more::Versioned { value, version }: more::Versioned) -> Versioned {
    Versioned { value, version }
}

impl Component {
    /// The component `id` that calls `provider` through the link `link_name`.
    #[must_use]
    pub fn new(peer: &Peer, provider: &ComponentId, id: &str, link_name: &str) -> Self {
        let id = ComponentId::new(id).expect("a valid id");
        let lattice = LatticeName::default();
        Self {
            client: Client::new(peer.clone(), &lattice, id, provider.clone(), PATIENCE),
            link_name: link_name.to_owned(),
        }
    }

    fn cx(&self) -> CallContext {
        CallContext::through(&self.link_name)
    }

    /// `store.get`
    ///
    /// # Errors
    ///
    /// What the provider answers.
    pub async fn get(&self, bucket: &str, key: &str) -> Answer<Option<Bytes>> {
        answer(store::get(&self.client, self.cx(), bucket, key).await)
    }

    /// `store.set`
    ///
    /// # Errors
    ///
    /// What the provider answers.
    pub async fn set(&self, bucket: &str, key: &str, value: impl Into<Bytes>) -> Answer<()> {
        let value = value.into();
        answer(store::set(&self.client, self.cx(), bucket, key, &value).await)
    }

    /// `store.delete`
    ///
    /// # Errors
    ///
    /// What the provider answers.
    pub async fn delete(&self, bucket: &str, key: &str) -> Answer<()> {
        answer(store::delete(&self.client, self.cx(), bucket, key).await)
    }

    /// `store.exists`
    ///
    /// # Errors
    ///
    /// What the provider answers.
    pub async fn exists(&self, bucket: &str, key: &str) -> Answer<bool> {
        answer(store::exists(&self.client, self.cx(), bucket, key).await)
    }

    /// `store.list-keys`
    ///
    /// # Errors
    ///
    /// What the provider answers.
    pub async fn list_keys(&self, bucket: &str, cursor: Option<u64>) -> Answer<KeysPage> {
        let page = store::list_keys(&self.client, self.cx(), bucket, cursor).await;
        answer(page).map(|page| KeysPage {
            keys: page.keys,
            cursor: page.cursor,
        })
    }

    /// `atomics.increment`
    ///
    /// # Errors
    ///
    /// What the provider answers.
    pub async fn increment(&self, bucket: &str, key: &str, delta: u64) -> Answer<u64> {
        answer(atomics::increment(&self.client, self.cx(), bucket, key, delta).await)
    }

    /// `batch.get-many`
    ///
    /// # Errors
    ///
    /// What the provider answers.
    pub async fn get_many(&self, bucket: &str, keys: &[&str]) -> Answer<Vec<Option<Entry>>> {
        answer(batch::get_many(&self.client, self.cx(), bucket, keys).await)
    }

    /// `batch.set-many`
    ///
    /// # Errors
    ///
    /// What the provider answers.
    pub async fn set_many(&self, bucket: &str, entries: &[(&str, Bytes)]) -> Answer<()> {
        let entries: Vec<_> = entries.iter().map(|(key, value)| (*key, value)).collect();
        answer(batch::set_many(&self.client, self.cx(), bucket, &entries).await)
    }

    /// `batch.delete-many`
    ///
    /// # Errors
    ///
    /// What the provider answers.
    pub async fn delete_many(&self, bucket: &str, keys: &[&str]) -> Answer<()> {
        answer(batch::delete_many(&self.client, self.cx(), bucket, keys).await)
    }

    /// `lattice:keyvalue/store.read`
    ///
    /// # Errors
    ///
    /// What the provider answers.
    pub async fn read(&self, bucket: &str, key: &str) -> Answer<Versioned> {
        let read = more::read(&self.client, self.cx(), bucket, key).await;
        more_answer(read).map(versioned)
    }

    /// `lattice:keyvalue/store.set`, with a time after which the key goes.
    ///
    /// # Errors
    ///
    /// What the provider answers.
    pub async fn set_for(
        &self,
        bucket: &str,
        key: &str,
        value: impl Into<Bytes>,
        ttl: Duration,
    ) -> Answer<()> {
        let ttl = u64::try_from(ttl.as_millis()).ok();
        let value = value.into();
        more_answer(more::set(&self.client, self.cx(), bucket, key, &value, ttl).await)
    }

    /// `lattice:keyvalue/store.list-keys`
    ///
    /// # Errors
    ///
    /// What the provider answers.
    pub async fn list_keys_by_text(&self, bucket: &str, cursor: Option<&str>) -> Answer<TextPage> {
        let page = more::list_keys(&self.client, self.cx(), bucket, cursor).await;
        more_answer(page).map(|page| TextPage {
            keys: page.keys,
            cursor: page.cursor,
        })
    }

    /// `lattice:keyvalue/atomics.increment`
    ///
    /// # Errors
    ///
    /// What the provider answers.
    pub async fn add(&self, bucket: &str, key: &str, delta: i64) -> Answer<i64> {
        more_answer(more_atomics::increment(&self.client, self.cx(), bucket, key, delta).await)
    }

    /// `lattice:keyvalue/atomics.swap`
    ///
    /// # Errors
    ///
    /// What the provider answers.
    pub async fn swap(
        &self,
        bucket: &str,
        key: &str,
        version: &str,
        value: impl Into<Bytes>,
    ) -> Answer<Outcome> {
        let value = value.into();
        let (client, cx) = (&self.client, self.cx());
        let outcome = more_atomics::swap(client, cx, bucket, key, version, &value).await;
        more_answer(outcome).map(|outcome| match outcome {
            more_atomics::Outcome::Swapped => Outcome::Swapped,
            more_atomics::Outcome::Stale(now) => Outcome::Stale(versioned(now)),
        })
    }
}
