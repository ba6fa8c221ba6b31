//! What `lattice:lock@0.1.0` passes.

/// `lease`: a lock that is held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// Where the lock is.
    pub store: String,
    /// What it is called there.
    pub name: String,
    /// What only its holder knows.
    pub token: String,
    /// A number that grows with each holder.
    pub fence: u64,
    /// How long it is held, unless it is renewed.
    pub ttl_ms: u32,
}

/// `holder`: who holds a lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// The id of the component.
    pub owner: String,
    /// The number of its lease.
    pub fence: u64,
    /// For how long it still holds the lock, where that is known.
    pub expires_in_ms: Option<u32>,
}

/// `error`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    /// Somebody else holds the lock.
    Held(Option<Holder>),
    /// The caller does not hold it.
    NotHeld,
    /// It cannot be called that.
    InvalidName(String),
    /// It cannot be held for so long.
    InvalidTtl(String),
    /// The caller may not use it.
    AccessDenied,
    /// The backend cannot be reached, or does not do its work.
    Unavailable(String),
    /// Anything else, in words.
    Other(String),
}
