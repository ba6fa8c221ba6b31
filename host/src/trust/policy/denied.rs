//! Why there is no leave.

use std::time::Duration;

use lattice_core::ErrorCode;

/// Why the host has no leave for something.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum Denied {
    /// The service says no.
    #[error("{}", said(message.as_deref()))]
    Refused {
        /// Its reason.
        message: Option<String>,
    },
    /// Nobody listens.
    #[error("no policy service answers at `{topic}`")]
    NoService {
        /// Where it was asked.
        topic: String,
    },
    /// It did not answer in time.
    #[error("the policy service at `{topic}` did not answer within {within:?}")]
    TooLate {
        /// Where it was asked.
        topic: String,
        /// How long it was given.
        within: Duration,
    },
    /// What it answered is no answer to the question.
    #[error("the policy service at `{topic}` gave no valid answer: {why}")]
    Invalid {
        /// Where it was asked.
        topic: String,
        /// What is wrong with it.
        why: String,
    },
    /// The question could not be sent.
    #[error("the policy service at `{topic}` could not be asked: {why}")]
    NotAsked {
        /// Where it was to be asked.
        topic: String,
        /// Why not.
        why: String,
    },
}

fn said(message: Option<&str>) -> &str {
    match message {
        Some(message) if !message.trim().is_empty() => message,
        _ => "the policy service says no, and not why",
    }
}

impl Denied {
    /// The code under which the error crosses the wire.
    pub(crate) fn code(&self) -> ErrorCode {
        ErrorCode::PolicyDenied
    }

    /// What the reader can do about it.
    pub(crate) fn hint(&self) -> &'static str {
        match self {
            Self::Refused { .. } => "ask who runs the policy service, or change its rules",
            Self::NoService { .. } => {
                "start the policy service, such as `wash policy serve FILE`, or start the host \
                 without `--policy-topic`"
            }
            Self::TooLate { .. } => {
                "look at the policy service, or give it more time with `--policy-timeout-ms`"
            }
            Self::Invalid { .. } => "look at the log of the policy service",
            Self::NotAsked { .. } => {
                "check the connection of the host to NATS, and that it may \
                                      publish to the subject of the policy service"
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_says_what_the_service_said() {
        let refused = |message: Option<&str>| Denied::Refused {
            message: message.map(str::to_owned),
        };
        assert_eq!(
            refused(Some("not on Sundays")).to_string(),
            "not on Sundays"
        );
        for silent in [None, Some(" ")] {
            assert!(refused(silent).to_string().contains("not why"));
        }
        assert_eq!(refused(None).code(), ErrorCode::PolicyDenied);
    }
}
