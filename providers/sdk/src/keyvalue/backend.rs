//! What a key-value provider does for one link, one trait for each interface.

use std::time::Duration;

use bytes::Bytes;
use lattice_core::keyvalue::{Outcome, Versioned};
use lattice_rpc::Context;

use super::decimal::Addend;
use crate::NoLink;

pub use super::bindings::exports::wrpc::keyvalue::store::{
    Error as KeyValueError, KeyResponse as KeysPage,
};

impl KeyValueError {
    /// A failure in words.
    pub fn other(text: impl Into<String>) -> Self {
        Self::Other(text.into())
    }

    /// The values of a batch are more than [`LARGEST_ANSWER`].
    #[must_use]
    pub fn answer_too_large() -> Self {
        Self::other(format!(
            "the values of the batch have more than {LARGEST_ANSWER} bytes together; ask for fewer \
             keys at once"
        ))
    }

    /// A number became one that the caller cannot take.
    #[must_use]
    pub fn out_of_range(key: &str, number: i128) -> Self {
        Self::other(format!(
            "the value of `{key}` is {number}, out of the caller's range"
        ))
    }

    /// What happened, for a log.
    #[must_use]
    pub fn text(&self) -> &str {
        match self {
            Self::NoSuchStore => "there is no such bucket",
            Self::AccessDenied => {
                "access denied: the bucket is kept for others, or the backend's user has no leave there; a link \
                 whose config names the bucket, with a user who has, may use it"
            }
            Self::Other(text) => text,
        }
    }
}

impl From<NoLink> for KeyValueError {
    fn from(error: NoLink) -> Self {
        Self::other(error.to_string())
    }
}

/// The most bytes of the values of a batch together: the largest answer that is taken. A key may
/// come many times in one question, so a short one could have an endless answer.
pub const LARGEST_ANSWER: usize = 64 << 20;

/// A key with its value.
pub type Entry = (String, Bytes);

/// Whether a component that opens `bucket` through the link `link_name` means the bucket that the
/// link configures: the empty name, `default` and the name of the link do.
#[must_use]
pub fn is_own_bucket(bucket: &str, link_name: &str) -> bool {
    bucket.is_empty() || bucket == "default" || bucket == link_name
}

/// The store behind one link: all interfaces of the packages.
///
/// An operation is dropped when its caller gives up and when its deadline passes, so it needs no
/// time limit of its own against a slow caller, only against a backend that is gone. The context
/// says who calls, through which link, and until when.
pub trait Backend: Store + Atomics + Batch + Send + Sync + 'static {}

impl<B: Store + Atomics + Batch + Send + Sync + 'static> Backend for B {}

/// The interface `store`.
pub trait Store {
    /// The value of a key.
    fn get(
        &self,
        cx: &Context,
        bucket: &str,
        key: &str,
    ) -> impl Future<Output = Result<Option<Bytes>, KeyValueError>> + Send;

    /// The value of a key with its version, which no other value of the key has: not even an equal
    /// one that was set again, where the backend can tell. Absent keys have a version too.
    fn read(
        &self,
        cx: &Context,
        bucket: &str,
        key: &str,
    ) -> impl Future<Output = Result<Versioned, KeyValueError>> + Send;

    /// Sets the value of a key, which is deleted by itself after `ttl`; without one it stays as
    /// long as the link says. A backend that cannot forget single keys refuses a `ttl`.
    fn set(
        &self,
        cx: &Context,
        bucket: &str,
        key: &str,
        value: Bytes,
        ttl: Option<Duration>,
    ) -> impl Future<Output = Result<(), KeyValueError>> + Send;

    /// Deletes a key; one that is not there is deleted already.
    fn delete(
        &self,
        cx: &Context,
        bucket: &str,
        key: &str,
    ) -> impl Future<Output = Result<(), KeyValueError>> + Send;

    /// Whether a key has a value, without fetching it.
    fn exists(
        &self,
        cx: &Context,
        bucket: &str,
        key: &str,
    ) -> impl Future<Output = Result<bool, KeyValueError>> + Send;

    /// Some of the keys, each at most once in one page, from where `cursor` says on. The page says
    /// where the next one starts; `None` after the last one.
    fn list_keys(
        &self,
        cx: &Context,
        bucket: &str,
        cursor: Option<u64>,
    ) -> impl Future<Output = Result<KeysPage, KeyValueError>> + Send;
}

/// The interface `atomics`.
pub trait Atomics {
    /// Adds to a number and returns the sum; a key without a value counts as zero. Increments made
    /// at the same time all count.
    fn increment(
        &self,
        cx: &Context,
        bucket: &str,
        key: &str,
        by: Addend,
    ) -> impl Future<Output = Result<i128, KeyValueError>> + Send;

    /// Sets the value of a key if it still has the version that [`Store::read`] told.
    fn swap(
        &self,
        cx: &Context,
        bucket: &str,
        key: &str,
        version: &str,
        value: Bytes,
    ) -> impl Future<Output = Result<Outcome, KeyValueError>> + Send;
}

/// The interface `batch`.
pub trait Batch {
    /// The entries of several keys, in their order, with `None` where there is no value.
    fn get_many(
        &self,
        cx: &Context,
        bucket: &str,
        keys: Vec<String>,
    ) -> impl Future<Output = Result<Vec<Option<Entry>>, KeyValueError>> + Send;

    /// Sets several keys; not all at once, so that a failure may leave some of them set.
    fn set_many(
        &self,
        cx: &Context,
        bucket: &str,
        entries: Vec<Entry>,
    ) -> impl Future<Output = Result<(), KeyValueError>> + Send;

    /// Deletes several keys; a failure may leave some of them.
    fn delete_many(
        &self,
        cx: &Context,
        bucket: &str,
        keys: Vec<String>,
    ) -> impl Future<Output = Result<(), KeyValueError>> + Send;
}
