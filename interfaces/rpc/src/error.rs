//! Why a call failed.

use std::time::Duration;

use async_nats::{HeaderMap, Subject};
use bytes::Bytes;
use lattice_codec::DecodeError;
use lattice_core::road::Why;
use lattice_core::text::{clipped_bytes, clipped_line};
use serde::{Deserialize, Serialize};

use crate::header;

/// How much is taken over of the code of another process's error, and of each of its texts: they are
/// kept, and told to guests and logs.
const LONGEST_CODE: usize = 128;
const LONGEST_TEXT: usize = 16 * 1024;

/// The longest pause that the other end is believed, in milliseconds: a day.
const LONGEST_PAUSE: u64 = 24 * 3600 * 1000;

/// An error that the called side reports, as it crosses the wire.
///
/// The code is one of [`lattice_core::reply::ErrorCode`]'s names in kebab case; callers match on
/// it, never on the message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct RemoteError {
    /// What kind of failure it is.
    pub code: String,
    /// What failed and why.
    pub message: String,
    /// What may help.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// After how many milliseconds it may be worth trying again, if that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
}

impl RemoteError {
    /// The callee has no room for the call; it did not start.
    pub const OVERLOADED: &'static str = "overloaded";
    /// The call was not finished in time.
    pub const DEADLINE: &'static str = "deadline-exceeded";
    /// The parameters could not be decoded.
    pub const BAD_REQUEST: &'static str = "bad-request";
    /// The caller has no leave for the call; it did not start.
    pub const DENIED: &'static str = "denied";
    /// The callee failed, for example by a trap.
    pub const FAILED: &'static str = "failed";
    /// The callee stops and no longer takes calls; it did not start.
    pub const STOPPING: &'static str = "stopping";
    /// The callee was stopped while the call ran: part of it may be done.
    pub const INTERRUPTED: &'static str = "interrupted";

    /// The call does not prove who makes it, and has to.
    pub const UNAUTHENTICATED: &'static str = "unauthenticated";
    /// What the call carries as proof of who makes it is none, or that of another call.
    pub const BAD_PROOF: &'static str = "bad-proof";
    /// The call was made once and has come again.
    pub const REPLAYED: &'static str = "replayed";
    /// The call has come after its time.
    pub const STALE: &'static str = "stale";
    /// The key of the call's session is not known to its caller, or could not be had.
    pub const UNKNOWN_SESSION: &'static str = "unknown-session";
    /// Nobody who is trusted vouches for the caller, or for the called side.
    pub const UNTRUSTED: &'static str = "untrusted";
    /// What vouches for the caller has expired.
    pub const EXPIRED: &'static str = "expired";
    /// The caller calls in the name of another.
    pub const FOREIGN_SOURCE: &'static str = "foreign-source";
    /// A provider calls an entity to which it has no link.
    pub const NOT_LINKED: &'static str = "not-linked";

    /// Those by which a call is refused because of who makes it, or of how it is made.
    pub const OF_CALLERS: [&'static str; 11] = [
        Self::BAD_REQUEST,
        Self::OVERLOADED,
        Self::UNAUTHENTICATED,
        Self::BAD_PROOF,
        Self::REPLAYED,
        Self::STALE,
        Self::UNKNOWN_SESSION,
        Self::UNTRUSTED,
        Self::EXPIRED,
        Self::FOREIGN_SOURCE,
        Self::NOT_LINKED,
    ];

    /// Makes an error with a code and a message.
    pub fn new(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            code: code.into(),
            message: message.into(),
            hint: None,
            retry_after_ms: None,
        }
    }

    /// A handler that has ended without a word.
    pub(crate) fn unanswered() -> Self {
        Self::new(Self::FAILED, "the called side ended without an answer")
    }

    /// Adds what may help.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds when it may be worth trying again.
    #[must_use]
    pub fn with_retry_after(mut self, time: Duration) -> Self {
        self.retry_after_ms = u64::try_from(time.as_millis()).ok();
        self
    }

    /// The HTTP-like status that stands beside the code.
    fn status(&self) -> &'static str {
        match self.code.as_str() {
            Self::OVERLOADED | Self::STOPPING => "503",
            Self::DEADLINE => "408",
            Self::BAD_REQUEST => "400",
            Self::DENIED | Self::UNTRUSTED | Self::FOREIGN_SOURCE => "403",
            Self::UNAUTHENTICATED | Self::BAD_PROOF | Self::EXPIRED => "401",
            Self::REPLAYED | Self::STALE | Self::UNKNOWN_SESSION => "401",
            _ => "500",
        }
    }

    pub(crate) fn headers(&self) -> HeaderMap {
        let line = clipped_line(&self.message, 200);
        let mut headers = HeaderMap::new();
        header::put(&mut headers, header::ERROR, &one_line(&self.code));
        header::set(&mut headers, header::STATUS, self.status());
        header::put(&mut headers, header::DESCRIPTION, &line);
        headers
    }

    pub(crate) fn payload(&self) -> Bytes {
        // Strings and a number always serialise; an empty payload still carries the code in the header.
        serde_json::to_vec(self).unwrap_or_default().into()
    }

    /// Reads an error answer; `None` when the message is not one.
    pub(crate) fn read(headers: Option<&HeaderMap>, payload: &[u8]) -> Option<Self> {
        let code = header::text(headers?, header::ERROR)?;
        let mut error = serde_json::from_slice(payload).unwrap_or_else(|_| Self {
            message: headers
                .and_then(|h| header::text(h, header::DESCRIPTION))
                .unwrap_or_else(|| format!("the call failed with `{code}`")),
            code,
            hint: None,
            retry_after_ms: None,
        });
        cut(&mut error.code, LONGEST_CODE);
        cut(&mut error.message, LONGEST_TEXT);
        if let Some(hint) = &mut error.hint {
            cut(hint, LONGEST_TEXT);
        }
        error.retry_after_ms = error.retry_after_ms.map(|ms| ms.min(LONGEST_PAUSE));
        Some(error)
    }
}

/// Leaves no more than `most` bytes of a text.
fn cut(text: &mut String, most: usize) {
    const REST: char = '…';
    if text.len() > most {
        *text = format!("{}{REST}", clipped_bytes(text, most - REST.len_utf8()));
    }
}

fn one_line(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).collect()
}

/// Why a call gave no result.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// Nobody serves the function (NATS status 503).
    #[error("nobody serves `{subject}`")]
    NotServed {
        /// The subject that was called.
        subject: String,
    },
    /// The link of the call keeps it on this machine, and nobody there can serve it.
    #[error(
        "nobody can serve `{subject}` whom this process reaches without NATS ({why}), and its link is local-only"
    )]
    NotLocal {
        /// The subject that was called.
        subject: String,
        /// Why it would have had to leave the machine.
        why: Why,
    },
    /// The deadline passed before the result was there.
    #[error("{}", late(subject, *after, *sent))]
    Deadline {
        /// The subject that was called.
        subject: String,
        /// How long the caller waited.
        after: Duration,
        /// Whether the request may have been sent: if not, NATS never had it, as while it is away.
        sent: bool,
    },
    /// The process that had taken the call is gone, or has forgotten it.
    #[error("whoever served `{subject}` went away before the call was done")]
    Gone {
        /// The subject that was called.
        subject: String,
    },
    /// The called side reports a failure.
    #[error("the call failed: {0}")]
    Remote(#[from] RemoteError),
    /// The called side ended its answer before it was complete, as an old peer does when it fails.
    #[error("`{subject}` ended its answer before the result was complete")]
    Incomplete {
        /// The subject that was called.
        subject: String,
    },
    /// The peer broke the protocol.
    #[error("protocol error: {0}")]
    Protocol(String),
    /// What the peer sent does not decode.
    #[error("could not decode what the peer sent")]
    Decode(#[from] DecodeError),
    /// A value is larger than this peer accepts or sends.
    #[error("{what} of {size} bytes exceeds the limit of {limit} bytes")]
    TooLarge {
        /// What is too large.
        what: &'static str,
        /// Its size so far.
        size: usize,
        /// The limit.
        limit: usize,
    },
    /// The caller did not send the rest of the parameters in time.
    #[error("the caller did not send all parameters within {after:?}")]
    NotSent {
        /// How long they were waited for.
        after: Duration,
    },
    /// A stream was not read as fast as a peer without flow control sent it, or not at all for too long.
    #[error("a stream of the call was not read in time: {buffered} bytes were waiting")]
    SlowReader {
        /// How much had piled up.
        buffered: usize,
    },
    /// The call was given up by its caller, or its connection is closing.
    #[error("the call was cancelled")]
    Cancelled,
    /// This side could not complete what it was sending.
    #[error("the call was given up: {0}")]
    Aborted(String),
    /// The message could not be handed to NATS.
    #[error("could not send to NATS: {0}")]
    Send(String),
}

fn late(subject: &str, after: Duration, sent: bool) -> String {
    match sent {
        true => format!("`{subject}` did not answer within {after:?}"),
        false => format!("`{subject}` was not called: NATS took no request within {after:?}"),
    }
}

impl CallError {
    pub(crate) fn not_local(subject: &Subject, why: Why) -> Self {
        Self::NotLocal {
            subject: subject.to_string(),
            why,
        }
    }

    /// What a called side that could not read the parameters of a call tells its caller.
    pub fn refusal(&self) -> RemoteError {
        let code = match self {
            Self::Remote(error) => return error.clone(),
            Self::Deadline { .. } | Self::NotSent { .. } => RemoteError::DEADLINE,
            _ => RemoteError::BAD_REQUEST,
        };
        RemoteError::new(code, self.to_string())
    }
}

/// Why a peer could not be set up on a NATS connection.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// A subscription was refused or the connection is closed.
    #[error("could not subscribe to `{subject}`: {reason}")]
    Subscribe {
        /// The subject.
        subject: String,
        /// What NATS says.
        reason: String,
    },
    /// The system gives no random bytes, without which no place for answers can be named.
    #[error("the system gives no random bytes")]
    NoRandom(#[source] getrandom::Error),
    /// The server did not confirm within the time limit.
    #[error("NATS did not confirm the subscriptions within {0:?}")]
    Timeout(Duration),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_of_another_process_is_kept_up_to_a_bound() {
        let told = RemoteError::new("é".repeat(1000), "é".repeat(100_000)).with_hint("fine");
        let headers = told.headers();
        let read = RemoteError::read(Some(&headers), &told.payload()).unwrap();
        assert!(read.code.len() <= LONGEST_CODE && read.message.len() <= LONGEST_TEXT);
        assert!(read.code.len() > LONGEST_CODE - 4 && read.message.ends_with("é…"));
        assert_eq!(read.hint.as_deref(), Some("fine"));
        let again = RemoteError::read(Some(&headers), &read.payload());
        assert_eq!(again, Some(read));
    }

    #[test]
    fn no_other_process_asks_for_a_pause_without_end() {
        let told = |ms| {
            let mut told = RemoteError::new(RemoteError::OVERLOADED, "why");
            told.retry_after_ms = Some(ms);
            let read = RemoteError::read(Some(&told.headers()), &told.payload());
            read.unwrap().retry_after_ms
        };
        assert_eq!((told(70), told(u64::MAX)), (Some(70), Some(LONGEST_PAUSE)));
    }
}
