//! Why an operation in a bucket failed.

use lattice_etcd::EtcdError;
use lattice_provider_sdk::chain;
use lattice_provider_sdk::keyvalue::KeyValueError;
use lattice_provider_sdk::keyvalue::decimal::NotCounted;

/// Why an operation in a bucket failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The value of the key is no number that can grow.
    #[error("the value of `{key}` {why}")]
    Number { key: String, why: NotCounted },
    /// The value cannot be stored.
    #[error(
        "could not write `{key}`: the value has {bytes} bytes, more than the {most} of \
         `max_value_bytes`"
    )]
    Value {
        key: String,
        bytes: usize,
        most: usize,
    },
    /// The key cannot be stored.
    #[error("could not write `{start}…`: the key has {bytes} bytes, more than the {most} of a key")]
    Key {
        start: String,
        bytes: usize,
        most: usize,
    },
    /// The values that a batch asks for do not fit into one answer.
    #[error("the values of the batch do not fit into one answer")]
    Answer,
    /// etcd refused to write or did not answer.
    #[error("could not write `{key}`")]
    Write { key: String, source: EtcdError },
    /// etcd refused to read or did not answer.
    #[error("could not read the keys")]
    Read(#[from] EtcdError),
}

impl Failure {
    fn is_denied(&self) -> bool {
        let (Self::Write { source, .. } | Self::Read(source)) = self else {
            return false;
        };
        source.is_denied()
    }
}

impl From<Failure> for KeyValueError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Answer => Self::answer_too_large(),
            denied if denied.is_denied() => {
                // The component hears no reason, so it is told here.
                tracing::warn!(error = chain(&denied), "access denied");
                Self::AccessDenied
            }
            other => Self::other(chain(&other)),
        }
    }
}

/// Names the key that could not be written.
pub(crate) fn of_key(key: &str) -> impl FnOnce(EtcdError) -> Failure {
    move |source| Failure::Write {
        key: key.to_owned(),
        source,
    }
}
