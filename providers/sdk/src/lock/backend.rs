//! What a lock provider does for one link.

use std::time::Duration;

use tokio::time::Instant;

use super::claim::{Claim, LockName};
use crate::describe::Features;
use crate::error::LinkError;

pub use super::bindings::lattice::lock::types::{Error as LockError, Holder, Lease};

/// A lock that was got or renewed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Granted {
    /// Greater than that of every earlier holder of the same name.
    pub fence: u64,
    /// How long it lasts, from before it was asked for.
    pub ttl: Duration,
}

/// The locks behind one link.
///
/// What has to hold for every backend: at any time at most one claim holds a place, and each
/// holder's fence is greater than those of all before. An operation may be dropped at any time;
/// [`Locks::release`] is then called with its claim, to undo what it may have done.
pub trait Locks: Send + Sync + 'static {
    /// Takes the lock for a claim, if need be when the one who holds it is done, by `until` at the
    /// latest. Tries once when that has passed.
    ///
    /// # Errors
    ///
    /// [`LockError::Held`] when the wait ran out.
    fn acquire(
        &self,
        claim: &Claim,
        ttl: Duration,
        until: Instant,
    ) -> impl Future<Output = Result<Granted, LockError>> + Send;

    /// Lets the lock last for `ttl` from now on.
    ///
    /// # Errors
    ///
    /// [`LockError::NotHeld`] when the claim does not hold it any more.
    fn renew(
        &self,
        claim: &Claim,
        ttl: Duration,
    ) -> impl Future<Output = Result<Granted, LockError>> + Send;

    /// Gives the lock up, and with it any wait for it under the same claim.
    ///
    /// # Errors
    ///
    /// [`LockError::NotHeld`] when the claim does not hold it any more.
    fn release(&self, claim: &Claim) -> impl Future<Output = Result<(), LockError>> + Send;

    /// Who holds a lock.
    ///
    /// # Errors
    ///
    /// [`LockError`]
    fn inspect(
        &self,
        place: &LockName,
    ) -> impl Future<Output = Result<Option<Holder>, LockError>> + Send;

    /// What the backend can do, besides the bounds of leases.
    fn features(&self) -> Features;

    /// Looks whether the backend is there.
    ///
    /// # Errors
    ///
    /// [`LinkError`] says what is wrong with it.
    fn check(&self) -> impl Future<Output = Result<(), LinkError>> + Send;
}

impl LockError {
    /// The backend cannot be reached, or does not do its work.
    pub fn unavailable(why: impl Into<String>) -> Self {
        Self::Unavailable(why.into())
    }

    /// What happened, for a log.
    #[must_use]
    pub fn text(&self) -> &str {
        match self {
            Self::Held(_) => "somebody else holds it",
            Self::NotHeld => "it is not held",
            Self::AccessDenied => "access denied",
            Self::InvalidName(text)
            | Self::InvalidTtl(text)
            | Self::Unavailable(text)
            | Self::Other(text) => text,
        }
    }

    /// Whether it is an answer as good as any other, rather than a failure.
    pub(crate) fn is_usual(&self) -> bool {
        matches!(self, Self::Held(_) | Self::NotHeld)
    }
}

/// Milliseconds as the interface counts them, rounded down: a lease is not longer than told.
pub(crate) fn millis(time: Duration) -> u32 {
    u32::try_from(time.as_millis()).unwrap_or(u32::MAX)
}
