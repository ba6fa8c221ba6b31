//! Opening key-value buckets.

use std::error::Error as _;

use async_nats::jetstream::context::{
    GetStreamError, GetStreamErrorKind, KeyValueError, KeyValueErrorKind,
};
use async_nats::jetstream::{Context, ErrorCode, kv};

use crate::{CreateBucketError, NewBucket, create_bucket};

/// Why there is no open bucket.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenBucketError {
    /// JetStream did not answer or refused.
    #[error("could not open the bucket `{bucket}`")]
    Open {
        /// The bucket.
        bucket: String,
        /// Why.
        source: KeyValueError,
    },
    /// It was missing and could not be created.
    #[error("could not create the bucket `{bucket}`")]
    Create {
        /// The bucket.
        bucket: String,
        /// Why.
        source: CreateBucketError,
    },
}

/// Opens a bucket; `None` when there is none of that name.
///
/// # Errors
///
/// [`OpenBucketError::Open`] when the server refuses or does not answer within the context's
/// timeout.
pub async fn find_bucket(js: &Context, name: &str) -> Result<Option<kv::Store>, OpenBucketError> {
    match js.get_key_value(name).await {
        Ok(store) => Ok(Some(store)),
        Err(source) if is_missing(&source) => Ok(None),
        Err(source) => Err(OpenBucketError::Open {
            bucket: name.to_owned(),
            source,
        }),
    }
}

/// Opens a bucket, which is created when it is missing. One that is there stays as it is, whatever
/// `new` says.
///
/// # Errors
///
/// [`OpenBucketError`] when the server refuses or does not answer within the context's timeout.
pub async fn open_bucket(js: &Context, new: NewBucket) -> Result<kv::Store, OpenBucketError> {
    if let Some(store) = find_bucket(js, &new.name).await? {
        return Ok(store);
    }
    let bucket = new.name.clone();
    create_bucket(js, new)
        .await
        .map_err(|source| OpenBucketError::Create { bucket, source })
}

fn is_missing(error: &KeyValueError) -> bool {
    // A stream that is there but keeps no last values is no bucket.
    if error.kind() == KeyValueErrorKind::InvalidStoreName {
        return true;
    }
    let source = error
        .source()
        .and_then(|s| s.downcast_ref::<GetStreamError>());
    matches!(
        source.map(GetStreamError::kind),
        Some(GetStreamErrorKind::JetStream(error)) if error.error_code() == ErrorCode::STREAM_NOT_FOUND
    )
}
