//! Why bytes and values do not go together.

use lattice_codec::DecodeError;

/// Why bytes are not a value of the planned type, or a value cannot be put into bytes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CodecError {
    /// The bytes are malformed, end early, or go on after the value.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// The value has more parts than this host is willing to build.
    #[error("the value has more than {limit} parts")]
    TooManyParts {
        /// The limit.
        limit: usize,
    },
    /// A value does not have the type that was planned for it.
    #[error("expected {expected}, found {found}")]
    Mismatch {
        /// The planned type.
        expected: &'static str,
        /// What is there instead.
        found: String,
    },
    /// A resource handle that cannot travel.
    #[error("a resource handle cannot be carried here: {0}")]
    Handle(String),
}
