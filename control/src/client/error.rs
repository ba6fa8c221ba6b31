//! Why a request of a client failed.

use std::time::Duration;

use async_nats::RequestError;
use async_nats::client::RequestErrorKind;
use lattice_core::subject::ControlOp;
use lattice_core::{ErrorCode, InvalidId};

use super::operation;

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// A name breaks a rule; nothing was sent.
    #[error(transparent)]
    InvalidName(#[from] InvalidId),
    /// Nobody is there to answer.
    #[error("no host answers `{operation}` on `{subject}`")]
    NoResponders {
        /// The operation.
        operation: String,
        /// Where it was sent.
        subject: String,
    },
    /// Nobody answered in time.
    #[error("no answer to `{operation}` within {after:?}")]
    Timeout {
        /// The operation.
        operation: String,
        /// How long was waited.
        after: Duration,
    },
    /// The host refused.
    #[error("`{operation}` was refused: {message}{}", caused(cause.as_ref()))]
    Refused {
        /// The operation.
        operation: String,
        /// The kind of failure; hosts of the 1.9 generation do not tell.
        code: Option<ErrorCode>,
        /// What the host said.
        message: String,
        /// Why, if the message does not say.
        cause: Option<String>,
        /// What the host suggests.
        hint: Option<String>,
    },
    /// The answer is not the JSON it should be.
    #[error("could not read the answer to `{operation}`")]
    BadReply {
        /// The operation.
        operation: String,
        /// What the parser said.
        source: serde_json::Error,
    },
    /// The answer lacks the data that was asked for.
    #[error("the answer to `{operation}` has no data")]
    NoData {
        /// The operation.
        operation: String,
    },
    /// The request is larger than NATS takes; nothing was sent.
    #[error("the request `{operation}` has {size} bytes, but the NATS server takes at most {max}")]
    TooLarge {
        /// The operation.
        operation: String,
        /// Its size.
        size: usize,
        /// The limit.
        max: usize,
    },
    /// The request could not be turned into JSON.
    #[error("could not encode the request `{operation}`")]
    Encode {
        /// The operation.
        operation: String,
        /// What the encoder said.
        source: serde_json::Error,
    },
    /// The connection to NATS failed.
    #[error("could not send `{operation}` to NATS")]
    Transport {
        /// The operation.
        operation: String,
        /// What the NATS client said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

fn caused(cause: Option<&String>) -> String {
    cause.map(|cause| format!(": {cause}")).unwrap_or_default()
}

impl ClientError {
    /// The code, if the host told one.
    #[must_use]
    pub fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::Refused { code, .. } => *code,
            Self::InvalidName(_) => Some(ErrorCode::InvalidId),
            _ => None,
        }
    }

    /// Whether the lattice could not be reached, as opposed to having refused.
    #[must_use]
    pub fn is_unreachable(&self) -> bool {
        matches!(
            self,
            Self::NoResponders { .. } | Self::Timeout { .. } | Self::Transport { .. }
        )
    }

    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        let text = match self {
            Self::Refused { hint, .. } => return hint.clone(),
            Self::InvalidName(error) => error.hint(),
            Self::NoResponders { .. } => {
                "check the lattice name and the host id, and that a host is running"
            }
            Self::Timeout { .. } => "check that the host is alive, or wait longer",
            Self::TooLarge { .. } => "raise `max_payload` in the configuration of the NATS server",
            Self::Transport { .. } => "check that the NATS server is running and reachable",
            Self::BadReply { .. } | Self::NoData { .. } | Self::Encode { .. } => return None,
        };
        Some(text.to_owned())
    }

    pub(super) fn of_request(
        op: &ControlOp,
        subject: &str,
        after: Duration,
        error: RequestError,
    ) -> Self {
        match error.kind() {
            RequestErrorKind::NoResponders => Self::no_responders(op, subject),
            RequestErrorKind::TimedOut => Self::timeout(op, after),
            _ => Self::transport(op, error),
        }
    }

    pub(super) fn no_responders(op: &ControlOp, subject: &str) -> Self {
        Self::NoResponders {
            operation: operation(op),
            subject: subject.to_owned(),
        }
    }

    pub(super) fn timeout(op: &ControlOp, after: Duration) -> Self {
        Self::Timeout {
            operation: operation(op),
            after,
        }
    }

    pub(super) fn transport(
        op: &ControlOp,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self::Transport {
            operation: operation(op),
            source: source.into(),
        }
    }
}
