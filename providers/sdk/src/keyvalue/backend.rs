//! What a key-value provider does for one link.

use bytes::Bytes;

/// Why an operation failed, as the component sees it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyValueError {
    /// There is no bucket of that name.
    #[error("there is no such bucket")]
    NoSuchStore,
    /// The store does not let this component do that.
    #[error("access denied")]
    AccessDenied,
    /// Anything else, in words.
    #[error("{0}")]
    Other(String),
}

impl KeyValueError {
    /// A failure in words.
    pub fn other(text: impl Into<String>) -> Self {
        Self::Other(text.into())
    }
}

/// A key with its value.
pub type Entry = (String, Bytes);

/// Some of the keys of a bucket.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeysPage {
    /// The keys, each at most once in one page.
    pub keys: Vec<String>,
    /// Where the next page starts; `None` after the last one.
    pub cursor: Option<u64>,
}

/// The store behind one link.
///
/// An operation is dropped when its caller gives up and when its deadline passes, so it needs no
/// time limit of its own against a slow caller, only against a backend that is gone.
pub trait Backend: Send + Sync + 'static {
    /// The value of a key.
    fn get(
        &self,
        bucket: &str,
        key: &str,
    ) -> impl Future<Output = Result<Option<Bytes>, KeyValueError>> + Send;

    /// Sets the value of a key.
    fn set(
        &self,
        bucket: &str,
        key: &str,
        value: Bytes,
    ) -> impl Future<Output = Result<(), KeyValueError>> + Send;

    /// Deletes a key; one that is not there is deleted already.
    fn delete(
        &self,
        bucket: &str,
        key: &str,
    ) -> impl Future<Output = Result<(), KeyValueError>> + Send;

    /// Whether a key has a value, without fetching it.
    fn exists(
        &self,
        bucket: &str,
        key: &str,
    ) -> impl Future<Output = Result<bool, KeyValueError>> + Send;

    /// Some of the keys, from where `cursor` says on.
    fn list_keys(
        &self,
        bucket: &str,
        cursor: Option<u64>,
    ) -> impl Future<Output = Result<KeysPage, KeyValueError>> + Send;

    /// Adds to a number and returns the sum; a key without a value counts as zero. Increments made
    /// at the same time all count.
    fn increment(
        &self,
        bucket: &str,
        key: &str,
        delta: u64,
    ) -> impl Future<Output = Result<u64, KeyValueError>> + Send;

    /// The entries of several keys, in their order, with `None` where there is no value.
    fn get_many(
        &self,
        bucket: &str,
        keys: Vec<String>,
    ) -> impl Future<Output = Result<Vec<Option<Entry>>, KeyValueError>> + Send;

    /// Sets several keys; not all at once, so that a failure may leave some of them set.
    fn set_many(
        &self,
        bucket: &str,
        entries: Vec<Entry>,
    ) -> impl Future<Output = Result<(), KeyValueError>> + Send;

    /// Deletes several keys; a failure may leave some of them.
    fn delete_many(
        &self,
        bucket: &str,
        keys: Vec<String>,
    ) -> impl Future<Output = Result<(), KeyValueError>> + Send;
}
