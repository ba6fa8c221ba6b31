//! What `wrpc:keyvalue@0.2.0-draft` passes (protocol page, 9.1), for callers and stores in one
//! process, between which nothing is encoded.
//!
//! A call is the tuple of its parameters, with buckets by name; its answer is a
//! [`Result`](Answer) of what the function returns.

/// What is answered to a call.
pub type Answer<T> = Result<T, Error>;

/// `error` of `store`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    /// There is no such bucket.
    NoSuchStore,
    /// The caller may not use the bucket.
    AccessDenied,
    /// Anything else, in words.
    Other(String),
}

/// `key-response` of `store`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeysPage {
    /// Some of the keys.
    pub keys: Vec<String>,
    /// Where the next page starts; `None` after the last one.
    pub cursor: Option<u64>,
}
