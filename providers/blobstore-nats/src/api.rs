//! What JetStream says, in the terms of blobs.

use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::context::{CreateStreamErrorKind, GetStreamErrorKind, PublishError};
use async_nats::jetstream::stream::{
    ConsumerErrorKind, InfoError, LastRawMessageErrorKind, PurgeErrorKind,
};
use lattice_provider_sdk::blobstore::BlobError;
use lattice_provider_sdk::chain;

/// An error that may have a code of JetStream.
pub(crate) trait Coded: std::error::Error + 'static {
    /// The code, where the server answered with one.
    fn code(&self) -> Option<ErrorCode>;
}

macro_rules! coded {
    ($($kind:ident),+) => {
        $(impl Coded for async_nats::error::Error<$kind> {
            fn code(&self) -> Option<ErrorCode> {
                match self.kind() {
                    $kind::JetStream(error) => Some(error.error_code()),
                    _ => in_source(self),
                }
            }
        })+
    };
}

coded!(
    CreateStreamErrorKind,
    GetStreamErrorKind,
    ConsumerErrorKind,
    LastRawMessageErrorKind,
    PurgeErrorKind
);

impl Coded for PublishError {
    fn code(&self) -> Option<ErrorCode> {
        in_source(self)
    }
}

impl Coded for InfoError {
    fn code(&self) -> Option<ErrorCode> {
        in_source(self)
    }
}

fn in_source(error: &(dyn std::error::Error + 'static)) -> Option<ErrorCode> {
    let known = error
        .source()?
        .downcast_ref::<async_nats::jetstream::Error>();
    known.map(async_nats::jetstream::Error::error_code)
}

/// What an error means for a container.
pub(crate) fn failed(container: &str, error: &impl Coded) -> BlobError {
    let text = || chain(error);
    match error.code() {
        Some(ErrorCode::STREAM_NOT_FOUND) => BlobError::NoContainer(container.to_owned()),
        Some(
            ErrorCode::STREAM_STORE_FAILED
            | ErrorCode::STORAGE_RESOURCES_EXCEEDED
            | ErrorCode::ACCOUNT_RESOURCES_EXCEEDED
            | ErrorCode::INSUFFICIENT_RESOURCES
            | ErrorCode::MAXIMUM_STREAMS_LIMIT
            | ErrorCode::STREAM_MAX_STREAM_BYTES_EXCEEDED,
        ) => BlobError::Full(text()),
        Some(ErrorCode::STREAM_SEALED) => BlobError::Denied(text()),
        _ => BlobError::Unavailable(text()),
    }
}

/// The connection is lost at the moment.
pub(crate) fn disconnected() -> BlobError {
    BlobError::Unavailable("there is no connection to NATS at the moment".to_owned())
}
