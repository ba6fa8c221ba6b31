//! What `lattice:queue@0.1.0` passes.

use bytes::Bytes;

/// `message`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// What it says.
    pub body: Bytes,
    /// Of which type that is.
    pub content_type: Option<String>,
    /// What is told of it, by name.
    pub attributes: Vec<(String, String)>,
    /// Messages of the same id are one.
    pub dedup_id: Option<String>,
    /// Messages of the same group keep their order.
    pub group: Option<String>,
}

/// `delivery`: a message that was received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// What it is settled with.
    pub receipt: String,
    /// The id that it was given when it was sent.
    pub id: String,
    /// The message.
    pub message: Message,
    /// How many times it was received, this time among them.
    pub attempt: u32,
    /// When it was sent, in milliseconds since 1970.
    pub enqueued_at_ms: u64,
    /// For how long it is the receiver's.
    pub lease_ms: u32,
}

/// `depth`: how many messages there are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Depth {
    /// To be received.
    pub ready: u64,
    /// Received and not settled, where that is known.
    pub leased: Option<u64>,
    /// To be received later, where that is known.
    pub delayed: Option<u64>,
    /// Given up, where that is known.
    pub dead: Option<u64>,
}

/// `error`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    /// There is no such queue.
    NoSuchQueue,
    /// A message has more than so many bytes.
    TooLarge(u64),
    /// The message is no longer the receiver's.
    ReceiptExpired,
    /// The caller may not use the queue.
    AccessDenied,
    /// The queue takes no more.
    Full(String),
    /// What was asked for makes no sense.
    Invalid(String),
    /// The backend cannot be reached, or does not do its work.
    Unavailable(String),
    /// The backend cannot do it.
    Unsupported(String),
    /// Anything else, in words.
    Other(String),
}

/// `outcome`: what became of a delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It is done.
    Ack,
    /// It is to be delivered again, after so many milliseconds.
    Retry(Option<u32>),
    /// It is given up, for this reason.
    Reject(String),
}
