//! What serves stores and messages that no link is put for, so that it is never called.

use std::time::Duration;

use bytes::Bytes;
use lattice_provider_sdk::Context;
use lattice_provider_sdk::keyvalue::decimal::Addend;
use lattice_provider_sdk::keyvalue::{
    Atomics, Batch, Entry, KeyValueError, KeysPage, Outcome, Store, Versioned,
};
use lattice_provider_sdk::messaging::{Broker, Message, MessagingError, Replies};

/// There is none.
pub(crate) enum Nowhere {}

type Answer<T> = Result<T, KeyValueError>;

impl Store for Nowhere {
    async fn get(&self, _: &Context, _: &str, _: &str) -> Answer<Option<Bytes>> {
        match *self {}
    }

    async fn read(&self, _: &Context, _: &str, _: &str) -> Answer<Versioned> {
        match *self {}
    }

    async fn set(
        &self,
        _: &Context,
        _: &str,
        _: &str,
        _: Bytes,
        _: Option<Duration>,
    ) -> Answer<()> {
        match *self {}
    }

    async fn delete(&self, _: &Context, _: &str, _: &str) -> Answer<()> {
        match *self {}
    }

    async fn exists(&self, _: &Context, _: &str, _: &str) -> Answer<bool> {
        match *self {}
    }

    async fn list_keys(&self, _: &Context, _: &str, _: Option<u64>) -> Answer<KeysPage> {
        match *self {}
    }
}

impl Atomics for Nowhere {
    async fn increment(&self, _: &Context, _: &str, _: &str, _: Addend) -> Answer<i128> {
        match *self {}
    }

    async fn swap(&self, _: &Context, _: &str, _: &str, _: &str, _: Bytes) -> Answer<Outcome> {
        match *self {}
    }
}

impl Batch for Nowhere {
    async fn get_many(&self, _: &Context, _: &str, _: Vec<String>) -> Answer<Vec<Option<Entry>>> {
        match *self {}
    }

    async fn set_many(&self, _: &Context, _: &str, _: Vec<Entry>) -> Answer<()> {
        match *self {}
    }

    async fn delete_many(&self, _: &Context, _: &str, _: Vec<String>) -> Answer<()> {
        match *self {}
    }
}

impl Broker for Nowhere {
    async fn publish(&self, _: &Context, _: Message) -> Result<(), MessagingError> {
        match *self {}
    }

    async fn request(
        &self,
        _: &Context,
        _: Message,
        _: Duration,
        _: &mut Replies,
    ) -> Result<(), MessagingError> {
        match *self {}
    }
}
