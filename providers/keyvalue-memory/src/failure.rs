//! Why an operation in a bucket failed.

use lattice_provider_sdk::keyvalue::KeyValueError;

use crate::bucket::LONGEST_KEY;
use crate::settings::{MAX_BYTES, MAX_TOTAL_BYTES, MAX_VALUE_BYTES};
use lattice_provider_sdk::keyvalue::decimal::NotCounted;

/// Why an operation in a bucket failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Failure {
    /// The key cannot be stored.
    #[error("the key has {bytes} bytes, more than the {LONGEST_KEY} that are allowed")]
    Key { bytes: usize },
    /// The value of the key is no number that can grow.
    #[error("the value of `{key}` {why}")]
    Number { key: String, why: NotCounted },
    /// The value cannot be stored.
    #[error(
        "could not write `{key}`: the value has {bytes} bytes, more than the {most} of `{MAX_VALUE_BYTES}`"
    )]
    Value { key: String, bytes: u64, most: u64 },
    /// There is no room in the bucket.
    #[error(
        "could not write `{key}`: the bucket `{bucket}` is full; it holds {held} of the {most} bytes of `{MAX_BYTES}`"
    )]
    Full {
        key: String,
        bucket: String,
        held: u64,
        most: u64,
    },
    /// There is no room in all buckets together.
    #[error(
        "could not write `{key}`: there is no room for it in the bucket `{bucket}`; all buckets of the provider hold {held} of the {most} bytes of `{MAX_TOTAL_BYTES}`"
    )]
    AllFull {
        key: String,
        bucket: String,
        held: u64,
        most: u64,
    },
    /// The values that a batch asks for do not fit into one answer.
    #[error("the values of the batch do not fit into one answer")]
    Answer,
}

impl From<Failure> for KeyValueError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Answer => Self::answer_too_large(),
            other => Self::other(other.to_string()),
        }
    }
}
