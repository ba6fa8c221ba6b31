//! Why an operation failed.

use lattice_provider_sdk::keyvalue::KeyValueError;
use lattice_provider_sdk::keyvalue::decimal::NotCounted;

/// Why an operation failed. Several writes that go to the disk together may fail for one reason.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Failure {
    /// The value of the key is no number that can grow.
    #[error("the value of `{key}` {why}")]
    Number { key: String, why: NotCounted },
    /// The key cannot be written.
    #[error("could not write `{key}`: {why}")]
    Write { key: String, why: String },
    /// The values that a batch asks for do not fit into one answer.
    #[error("the values of the batch do not fit into one answer")]
    Answer,
    /// SQLite refuses.
    #[error("SQLite: {0}")]
    Sqlite(String),
    /// The file was deleted or replaced while it was open.
    #[error("the file was deleted or replaced, and what was written to it is lost")]
    Gone,
    /// The file is being closed.
    #[error("the file is closed")]
    Closed,
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error.to_string())
    }
}

impl From<Failure> for KeyValueError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Answer => Self::answer_too_large(),
            other => Self::other(other.to_string()),
        }
    }
}

/// Names the key that could not be written.
pub(crate) fn of_key(key: &str) -> impl FnOnce(rusqlite::Error) -> Failure {
    move |error| Failure::Write {
        key: key.to_owned(),
        why: error.to_string(),
    }
}
