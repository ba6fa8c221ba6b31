//! Being told of keys whose time is over.
//!
//! Servers from 2.11 on put a marker in the place of what a stream drops for its age, where the stream
//! asks for it. The client does not know that part of a stream's config in the releases that older
//! servers need, so it is read and written as it comes. Older servers do not look at it.

use std::time::Duration;

use async_nats::jetstream::Context;
use async_nats::jetstream::response::Response;
use lattice_core::subject::store::bucket_stream;
use lattice_provider_sdk::BoxError;
use serde_json::Value;

/// How long a marker stays: who watches may be away for so long.
const STAYS: Duration = Duration::from_secs(3600);
/// What says so in the config of a stream, and what lets single messages have a time at all.
const MARKERS: &str = "subject_delete_marker_ttl";
const TIMES: &str = "allow_msg_ttl";

/// Asks for markers in a bucket that was just made. One without them is a bucket all the same.
pub(crate) async fn ask_for(jetstream: &Context, bucket: &str) {
    if let Err(error) = set(jetstream, bucket).await {
        tracing::warn!(
            bucket,
            error,
            "NATS does not tell of keys whose time is over"
        );
    }
}

async fn set(jetstream: &Context, bucket: &str) -> Result<(), BoxError> {
    let mut config = config(jetstream, bucket).await?;
    let stays = u64::try_from(STAYS.as_nanos())?;
    if let Some(config) = config.as_object_mut() {
        config.insert(MARKERS.to_owned(), stays.into());
        config.insert(TIMES.to_owned(), true.into());
    }
    let update = format!("STREAM.UPDATE.{}", bucket_stream(bucket));
    ask(jetstream, update, &config).await.map(drop)
}

/// Whether there is a marker for a key whose time is over.
pub(crate) async fn are_made(jetstream: &Context, bucket: &str) -> bool {
    let config = config(jetstream, bucket).await.unwrap_or_else(|error| {
        tracing::debug!(bucket, error, "could not read the config of a bucket");
        Value::Null
    });
    config[MARKERS].as_u64().is_some_and(|stays| stays > 0)
}

async fn config(jetstream: &Context, bucket: &str) -> Result<Value, BoxError> {
    let info = format!("STREAM.INFO.{}", bucket_stream(bucket));
    let mut info = ask(jetstream, info, &()).await?;
    Ok(info["config"].take())
}

async fn ask<T: serde::Serialize + Sync>(
    jetstream: &Context,
    what: String,
    of: &T,
) -> Result<Value, BoxError> {
    match jetstream.request(what, of).await? {
        Response::Ok(answer) => Ok(answer),
        Response::Err { error } => Err(error.into()),
    }
}
