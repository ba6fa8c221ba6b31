//! Objects: looking, reading, deleting, copying.

use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt as _, TryStreamExt as _};
use http::header::{HeaderName, LAST_MODIFIED, RANGE};
use http::{Method, StatusCode};
use lattice_backend_http::reading::{self, PieceError, length, text};
use lattice_backend_http::{date, encode};
use lattice_provider_sdk::blobstore::{Blob, BlobError, ObjectId, ObjectInfo, Span};

use crate::client::{Ask, S3};
use crate::error::S3Error;
use crate::upload::Guard;

/// How much of an object is copied with one request when it is too large for one.
const COPY_PART: u64 = 1 << 30;
const COPY_SOURCE: HeaderName = HeaderName::from_static("x-amz-copy-source");
const COPY_RANGE: HeaderName = HeaderName::from_static("x-amz-copy-source-range");

impl S3 {
    pub(crate) async fn head(&self, bucket: &str, key: &str) -> Result<ObjectInfo, S3Error> {
        let ask = Ask::of_object("look at the object", Method::HEAD, bucket, key);
        let answer = self.ask(&ask).await?;
        let modified = text(answer.headers(), &LAST_MODIFIED).and_then(date::seconds);
        Ok(ObjectInfo {
            created_at: modified.unwrap_or(0),
            size: length(answer.headers()).unwrap_or(0),
        })
    }

    pub(crate) async fn delete(&self, bucket: &str, key: &str) -> Result<(), S3Error> {
        let ask = Ask::of_object("delete the object", Method::DELETE, bucket, key);
        match self.ask(&ask).await {
            Err(error) if error.code() == Some("NoSuchKey") => Ok(()),
            other => other.map(drop),
        }
    }

    /// Opens an object for reading.
    pub(crate) async fn read(
        &self,
        id: &ObjectId,
        span: Span,
        idle: Duration,
    ) -> Result<Blob, BlobError> {
        let mut ask = Ask::of_object("read the object", Method::GET, &id.container, &id.object);
        if !span.is_all() {
            ask.headers = vec![(RANGE, reading::range(span.start(), span.end()))];
        }
        match self.open(&ask).await {
            Ok(answer) => {
                let reading = reading::reading(answer, span.start(), span.end(), idle);
                let reading = reading.map_err(|error| BlobError::other(&error))?;
                Ok(Blob {
                    len: reading.len,
                    data: reading.data.map_err(piece_error).boxed(),
                })
            }
            // The object has no such bytes.
            Err(S3Error::Refused { status, .. }) if status == StatusCode::RANGE_NOT_SATISFIABLE => {
                Ok(Blob::empty())
            }
            Err(error) => Err(error.of_object(id)),
        }
    }

    /// Copies an object within the service.
    pub(crate) async fn copy(
        self: &Arc<Self>,
        from: &ObjectId,
        to: &ObjectId,
    ) -> Result<(), BlobError> {
        // Says by itself what is missing; the copy would not say which of the two.
        let info = self.info(from).await?;
        if info.size > self.copy_at_once {
            return self.copy_in_parts(from, to, info.size).await;
        }
        let mut ask = Ask::of_object("copy the object", Method::PUT, &to.container, &to.object);
        ask.headers = vec![(COPY_SOURCE, source(from))];
        let copied = self.ask_xml(&ask).await;
        copied
            .map(drop)
            .map_err(|error| copy_error(error, from, to))
    }

    /// What is known of an object; when it is not there, whether its bucket is.
    pub(crate) async fn info(&self, id: &ObjectId) -> Result<ObjectInfo, BlobError> {
        match self.head(&id.container, &id.object).await {
            Err(error) if error.is_missing() => match self.bucket_exists(&id.container).await {
                Ok(false) => Err(BlobError::NoContainer(id.container.clone())),
                _ => Err(BlobError::NoObject(id.clone())),
            },
            other => other.map_err(|error| error.of_object(id)),
        }
    }

    async fn copy_in_parts(
        self: &Arc<Self>,
        from: &ObjectId,
        to: &ObjectId,
        size: u64,
    ) -> Result<(), BlobError> {
        let part = COPY_PART.min(self.copy_at_once).max(size / 9_000);
        let upload = Arc::new(self.begin(to).await?);
        let guard = Guard::new(self, &upload);
        let mut start = 0;
        let mut tags = Vec::new();
        while start < size {
            let end = (start + part).min(size) - 1;
            let number = (tags.len() + 1).to_string();
            let mut ask = upload.part_ask("copy a part of the object", &number);
            ask.headers = vec![
                (COPY_SOURCE, source(from)),
                (COPY_RANGE, format!("bytes={start}-{end}")),
            ];
            let copied = self.ask_xml(&ask).await;
            let copied = copied.map_err(|error| copy_error(error, from, to))?;
            tags.push(copied.text_of("ETag").to_owned());
            start = end + 1;
        }
        self.finish(&upload, &tags).await?;
        guard.end();
        Ok(())
    }
}

fn copy_error(error: S3Error, from: &ObjectId, to: &ObjectId) -> BlobError {
    match error.code() {
        Some("NoSuchBucket") => BlobError::NoContainer(to.container.clone()),
        Some("NoSuchKey") => BlobError::NoObject(from.clone()),
        _ => error.of_object(from),
    }
}

fn source(id: &ObjectId) -> String {
    format!("/{}/{}", id.container, encode::path(&id.object))
}

fn piece_error(error: PieceError) -> BlobError {
    match error {
        PieceError::Stalled(after) => BlobError::Stalled {
            who: "the backend",
            after,
        },
        error => BlobError::unavailable(&error),
    }
}
