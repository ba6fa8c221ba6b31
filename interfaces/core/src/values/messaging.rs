//! What `wasmcloud:messaging@0.2.0` and `lattice:messaging@0.1.0` pass.

use bytes::Bytes;

/// `broker-message` of `wasmcloud:messaging`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokerMessage {
    /// Where it goes.
    pub subject: String,
    /// What it says.
    pub body: Bytes,
    /// Where an answer goes.
    pub reply_to: Option<String>,
}

/// `message` of `lattice:messaging`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Where it goes.
    pub subject: String,
    /// Where an answer goes.
    pub reply_to: Option<String>,
    /// Of which type its body is.
    pub content_type: Option<String>,
    /// What is told of it, by name.
    pub metadata: Vec<(String, String)>,
    /// What it says.
    pub body: Bytes,
}

/// `error` of `lattice:messaging`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    /// There was no answer in time.
    Timeout,
    /// The broker cannot be reached.
    Connection(String),
    /// The caller may not do that.
    PermissionDenied(String),
    /// Anything else, in words.
    Other(String),
}
