//! What can go wrong between a process and the buckets.

use std::time::Duration;

use lattice_core::{ErrorCode, InvalidId};

/// An error of the NATS client, whose kinds differ from call to call.
pub(crate) type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Why something could not be read from or written to a bucket.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// A name cannot be a key.
    #[error(transparent)]
    InvalidName(#[from] InvalidId),
    /// A bucket could neither be opened nor created.
    #[error("could not open bucket `{bucket}`")]
    Open {
        /// The bucket.
        bucket: String,
        /// What JetStream said.
        source: BoxError,
    },
    /// A record could not be read.
    #[error("could not read `{key}` from bucket `{bucket}`")]
    Read {
        /// The bucket.
        bucket: String,
        /// The key.
        key: String,
        /// What JetStream said.
        source: BoxError,
    },
    /// A record could not be written.
    #[error("could not write `{key}` to bucket `{bucket}`")]
    Write {
        /// The bucket.
        bucket: String,
        /// The key.
        key: String,
        /// What JetStream said last.
        source: BoxError,
    },
    /// Others changed the record each time before it could be written.
    #[error(
        "`{key}` in bucket `{bucket}` was changed by others during {attempts} attempts to write it"
    )]
    Contended {
        /// The bucket.
        bucket: String,
        /// The key.
        key: String,
        /// How often it was tried.
        attempts: u32,
    },
    /// JetStream did not answer in time.
    #[error("no answer from bucket `{bucket}` within {within:?}")]
    Timeout {
        /// The bucket.
        bucket: String,
        /// How long was waited.
        within: Duration,
    },
    /// A record is not what it should be.
    #[error("`{key}` in bucket `{bucket}` is not {expected}")]
    Malformed {
        /// The bucket.
        bucket: String,
        /// The key.
        key: String,
        /// What it should be.
        expected: &'static str,
        /// What the parser said.
        source: serde_json::Error,
    },
    /// A record could not be turned into JSON.
    #[error("could not encode the record for `{key}`")]
    Encode {
        /// The key.
        key: String,
        /// What the encoder said.
        source: serde_json::Error,
    },
}

impl StoreError {
    /// The code under which the error crosses the wire.
    #[must_use]
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::InvalidName(_) => ErrorCode::InvalidId,
            Self::Contended { .. } => ErrorCode::Busy,
            Self::Timeout { .. } => ErrorCode::Timeout,
            Self::Malformed { .. } | Self::Encode { .. } => ErrorCode::Internal,
            Self::Open { .. } | Self::Read { .. } | Self::Write { .. } => {
                ErrorCode::StoreUnavailable
            }
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::InvalidName(error) => Some(error.hint()),
            Self::Open { .. } => Some(
                "check that JetStream is enabled on the NATS server, that the JetStream domain is \
                 right and that the server has as many nodes as replicas are asked for",
            ),
            Self::Contended { .. } => Some("try again"),
            Self::Timeout { .. } | Self::Read { .. } | Self::Write { .. } => {
                Some("check that the NATS server is reachable and has JetStream enabled")
            }
            Self::Malformed { .. } => Some("put the record again to replace it"),
            Self::Encode { .. } => None,
        }
    }
}
