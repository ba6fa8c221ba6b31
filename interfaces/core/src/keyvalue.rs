//! What `wrpc:keyvalue@0.2.0-draft` (protocol page, 9.1) and `lattice:keyvalue@0.1.0` pass, for
//! callers and stores in one process, between which nothing is encoded.
//!
//! A call is the tuple of its parameters, with buckets by name; its answer is a
//! [`Result`](Answer) of what the function returns.

use bytes::Bytes;

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

/// `key-response` of `lattice:keyvalue/store`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TextPage {
    /// Some of the keys.
    pub keys: Vec<String>,
    /// Where the next page starts; `None` after the last one.
    pub cursor: Option<String>,
}

/// `versioned` of `lattice:keyvalue/store`: what a key holds, and a text that changes with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Versioned {
    /// The value; `None` for an absent key.
    pub value: Option<Bytes>,
    /// Means something to the store that made it only.
    pub version: String,
}

/// `outcome` of `lattice:keyvalue/atomics`: what became of a swap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The key holds the new value.
    Swapped,
    /// It was not as it had been read, and holds this.
    Stale(Versioned),
}
