//! Why one attempt to deliver a message failed.

use std::time::Duration;

use lattice_rpc::{CallError, Reached, RemoteError};

/// Why one attempt to deliver a message failed.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// The handler returned an error.
    #[error("the handler returned an error: {0}")]
    Refused(String),
    /// The handler was not reached, trapped, or took too long.
    #[error(transparent)]
    Call(#[from] CallError),
    /// No call can carry the message.
    #[error("the message has {size} bytes, and a call carries {limit} at most")]
    TooLarge {
        /// Its size.
        size: usize,
        /// The limit.
        limit: usize,
    },
}

impl Failure {
    /// Whether the handler certainly has not seen the message, and may yet.
    #[must_use]
    pub fn is_unreached(&self) -> bool {
        matches!(self, Self::Call(error) if error.reached() == Reached::Never)
    }

    /// Whether no further attempt can do better.
    #[must_use]
    pub fn is_final(&self) -> bool {
        matches!(self, Self::TooLarge { .. })
    }

    /// Whether it is not known what the handler has done: nobody has said that it failed.
    #[must_use]
    pub fn is_unknown(&self) -> bool {
        matches!(self, Self::Call(error) if error.reached() == Reached::Maybe)
    }

    /// When hosts that are overloaded ask to be called again.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Call(CallError::Remote(error)) if error.code == RemoteError::OVERLOADED => {
                Some(Duration::from_millis(error.retry_after_ms.unwrap_or(100)))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_never_ran_was_unreached() {
        let overloaded = RemoteError::new(RemoteError::OVERLOADED, "no room")
            .with_retry_after(Duration::from_millis(70));
        let overloaded = Failure::from(CallError::from(overloaded));
        assert!(overloaded.is_unreached());
        assert_eq!(overloaded.retry_after(), Some(Duration::from_millis(70)));
        let trapped = RemoteError::new(RemoteError::FAILED, "wasm trap: unreachable");
        let trapped = Failure::from(CallError::from(trapped));
        assert!(!trapped.is_unreached() && trapped.retry_after().is_none());
        assert!(trapped.to_string().contains("wasm trap"), "{trapped}");
        assert!(!Failure::Refused("no".into()).is_unreached());
    }

    #[test]
    fn what_nobody_has_said_to_have_failed_may_be_done() {
        let remote = |code| Failure::from(CallError::from(RemoteError::new(code, "why")));
        assert!(!remote(RemoteError::FAILED).is_unknown());
        assert!(!remote(RemoteError::OVERLOADED).is_unknown());
        assert!(!remote(RemoteError::DENIED).is_unknown());
        assert!(!Failure::Refused("no".into()).is_unknown());
        assert!(remote(RemoteError::DEADLINE).is_unknown());
        assert!(remote(RemoteError::INTERRUPTED).is_unknown());
        // Of one that came twice the first may be at work.
        assert!(remote(RemoteError::REPLAYED).is_unknown());
        assert!(remote("a code of others").is_unknown());
        assert!(Failure::from(CallError::Cancelled).is_unknown());
    }
}
