//! Creating key-value buckets.

use std::time::Duration;

use async_nats::jetstream::context::{CreateStreamError, KeyValueError};
use async_nats::jetstream::stream::{Config, DiscardPolicy};
use async_nats::jetstream::{Context, kv};
use lattice_core::subject::store::{bucket_stream, bucket_subjects};

/// How long the name of a bucket may be, in bytes. Servers put it into names of files.
const LONGEST_NAME: usize = 200;

/// A bucket to create.
#[derive(Debug, Clone, Default)]
pub struct NewBucket {
    /// What it is called.
    pub name: String,
    /// How many servers of a cluster keep a copy; zero means one.
    pub replicas: usize,
    /// After which time an entry is dropped; zero means never.
    pub max_age: Duration,
    /// How many values of a key are kept, the last included; zero means one.
    pub history: i64,
}

/// Why a bucket was not created.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CreateBucketError {
    /// The name is empty or too long, or has other characters than letters, digits, `_` and `-`.
    #[error("`{0}` cannot be the name of a bucket")]
    Name(String),
    /// The server did not answer, or refuses the settings; a bucket of that name with others is
    /// such a case.
    #[error("the server did not create the stream of the bucket")]
    Create(#[source] CreateStreamError),
    /// It was created, but is no bucket as this client understands it.
    #[error("the bucket was created but could not be opened")]
    Open(#[source] KeyValueError),
}

/// Creates a bucket and opens it. One that exists with the same settings is opened.
///
/// The client's own way asks for the account's limits first and cannot read what a 2.9 server
/// says about them; no setting used here depends on them.
///
/// # Errors
///
/// [`CreateBucketError`] when the server refuses or does not answer within the context's timeout.
pub async fn create_bucket(js: &Context, new: NewBucket) -> Result<kv::Store, CreateBucketError> {
    if !is_bucket_name(&new.name) {
        return Err(CreateBucketError::Name(new.name));
    }
    let config = Config {
        name: bucket_stream(&new.name),
        subjects: vec![bucket_subjects(&new.name)],
        max_messages_per_subject: new.history.max(1),
        max_age: new.max_age,
        num_replicas: new.replicas.max(1),
        // What makes a stream a bucket: purges by roll-up, and reads from any copy.
        allow_rollup: true,
        deny_delete: true,
        allow_direct: true,
        discard: DiscardPolicy::New,
        ..Config::default()
    };
    js.create_stream(config)
        .await
        .map_err(CreateBucketError::Create)?;
    js.get_key_value(new.name)
        .await
        .map_err(CreateBucketError::Open)
}

/// Whether clients take a text for the name of a bucket.
#[must_use]
pub fn is_bucket_name(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    !text.is_empty() && text.len() <= LONGEST_NAME && text.bytes().all(allowed)
}
