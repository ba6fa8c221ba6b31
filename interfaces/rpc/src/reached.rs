//! What is known of whether a call that failed has run.

use crate::error::{CallError, RemoteError};

/// How far a call came that failed: the one answer to whether making it again could run it twice.
///
/// Only what is certain says that a call has not begun. Whatever else it may be is [`Self::Maybe`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reached {
    /// It has not begun and never will. The same call may be taken another time, so that there is no limit
    /// to making it again but the caller's time.
    ///
    /// Certain when NATS or the machine says that nobody serves it, when it was taken back before NATS had
    /// it, and when whoever had it says that it has no room or stops.
    Never,
    /// It has not begun and never will, as whoever had it refuses such calls from this caller. Made again it
    /// runs nothing twice, but is most likely refused again.
    ///
    /// Certain when the answer is one of the codes that calls are refused with at the door.
    Refused,
    /// It has not begun, or runs still, or has run in part or to its end: nobody says which.
    ///
    /// The request may have left, and there was no answer, none that could be read, or one that tells of no
    /// end: the time was over, or the callee was stopped.
    Maybe,
    /// Whoever was called had it, and is done with it: it says itself that it failed. What it did before that
    /// is done.
    ///
    /// Certain when that is the answer, or that the callee could not read what it was called with, which it
    /// may find out late.
    Ran,
}

impl CallError {
    /// What is known of whether the call has run.
    pub fn reached(&self) -> Reached {
        match self {
            Self::NotServed { .. } | Self::NotLocal { .. } => Reached::Never,
            Self::Deadline { sent: false, .. } => Reached::Never,
            Self::Deadline { sent: true, .. } => Reached::Maybe,
            Self::Remote(error) => error.reached(),
            // The one who took it is gone, and cannot be asked any more.
            Self::Gone { .. } => Reached::Maybe,
            // A peer of 1.9 ends its answer like that wherever it fails.
            Self::Incomplete { .. } => Reached::Maybe,
            // There was an answer, but of what is not known.
            Self::Protocol(_) | Self::Decode(_) => Reached::Maybe,
            // The request or the parameters that follow it; the answer, or a stream of it.
            Self::TooLarge { .. } | Self::Send(_) | Self::SlowReader { .. } => Reached::Maybe,
            // This side has ended the call, at whatever time.
            Self::Cancelled | Self::Aborted(_) | Self::NotSent { .. } => Reached::Maybe,
        }
    }

    /// Whether the call certainly never started and may be taken another time: [`Reached::Never`].
    pub fn never_started(&self) -> bool {
        self.reached() == Reached::Never
    }

    /// Whether nobody serves the function, or nobody where the link has its calls go.
    pub fn is_nowhere(&self) -> bool {
        matches!(self, Self::NotServed { .. } | Self::NotLocal { .. })
    }
}

impl RemoteError {
    fn reached(&self) -> Reached {
        match self.code.as_str() {
            Self::OVERLOADED | Self::STOPPING => Reached::Never,
            Self::DENIED
            | Self::UNAUTHENTICATED
            | Self::BAD_PROOF
            | Self::STALE
            | Self::UNKNOWN_SESSION
            | Self::UNTRUSTED
            | Self::EXPIRED
            | Self::FOREIGN_SOURCE
            | Self::NOT_LINKED => Reached::Refused,
            Self::FAILED | Self::BAD_REQUEST => Reached::Ran,
            // Late or interrupted: part of it may be done. Of one that came twice the first may be at work.
            // What others say in their own words is not known.
            _ => Reached::Maybe,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::time::Duration;

    use lattice_codec::DecodeError;
    use lattice_core::road::Why;

    fn subject() -> String {
        "default.web.wrpc.0.0.1.f".to_owned()
    }

    fn late(sent: bool) -> CallError {
        CallError::Deadline {
            subject: subject(),
            after: Duration::from_secs(1),
            sent,
        }
    }

    fn too_large() -> CallError {
        CallError::TooLarge {
            what: "a value",
            size: 2,
            limit: 1,
        }
    }

    #[test]
    fn each_failure_says_how_far_its_call_came() {
        let (subject, after, why) = (subject(), Duration::from_secs(1), Why::NotConnected);
        let same = || subject.clone();
        let cases = [
            (CallError::NotServed { subject: same() }, Reached::Never),
            (
                CallError::NotLocal {
                    subject: same(),
                    why,
                },
                Reached::Never,
            ),
            (late(false), Reached::Never),
            (late(true), Reached::Maybe),
            (CallError::Gone { subject: same() }, Reached::Maybe),
            (CallError::Incomplete { subject: same() }, Reached::Maybe),
            (CallError::Protocol("why".into()), Reached::Maybe),
            (
                CallError::from(DecodeError::Incomplete { needed: 1 }),
                Reached::Maybe,
            ),
            (too_large(), Reached::Maybe),
            (CallError::NotSent { after }, Reached::Maybe),
            (CallError::SlowReader { buffered: 1 }, Reached::Maybe),
            (CallError::Cancelled, Reached::Maybe),
            (CallError::Aborted("why".into()), Reached::Maybe),
            (CallError::Send("why".into()), Reached::Maybe),
        ];
        for (error, reached) in cases {
            assert_eq!(error.reached(), reached, "{error}");
            assert_eq!(error.never_started(), reached == Reached::Never, "{error}");
        }
    }

    #[test]
    fn each_code_says_how_far_its_call_came() {
        let cases = [
            (RemoteError::OVERLOADED, Reached::Never),
            (RemoteError::STOPPING, Reached::Never),
            (RemoteError::DENIED, Reached::Refused),
            (RemoteError::UNAUTHENTICATED, Reached::Refused),
            (RemoteError::BAD_PROOF, Reached::Refused),
            (RemoteError::STALE, Reached::Refused),
            (RemoteError::UNKNOWN_SESSION, Reached::Refused),
            (RemoteError::UNTRUSTED, Reached::Refused),
            (RemoteError::EXPIRED, Reached::Refused),
            (RemoteError::FOREIGN_SOURCE, Reached::Refused),
            (RemoteError::NOT_LINKED, Reached::Refused),
            (RemoteError::REPLAYED, Reached::Maybe),
            (RemoteError::DEADLINE, Reached::Maybe),
            (RemoteError::INTERRUPTED, Reached::Maybe),
            ("cancelled", Reached::Maybe),
            ("a code of others", Reached::Maybe),
            (RemoteError::FAILED, Reached::Ran),
            (RemoteError::BAD_REQUEST, Reached::Ran),
        ];
        for (code, reached) in cases {
            let error = CallError::from(RemoteError::new(code, "why"));
            assert_eq!(error.reached(), reached, "{code}");
        }
        let told = |code: &str| cases.iter().any(|(known, _)| *known == code);
        assert!(RemoteError::OF_CALLERS.into_iter().all(told));
    }
}
