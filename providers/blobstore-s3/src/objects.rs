//! Objects: looking, reading, deleting, copying.

use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt as _, TryStreamExt as _};
use http::header::{ETAG, HeaderName, LAST_MODIFIED, RANGE};
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
const COPY_IF_MATCH: HeaderName = HeaderName::from_static("x-amz-copy-source-if-match");

/// An object as it was found.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) info: ObjectInfo,
    /// What the service calls its version; some call it nothing.
    pub(crate) tag: Option<String>,
}

impl S3 {
    pub(crate) async fn head(&self, bucket: &str, key: &str) -> Result<Found, S3Error> {
        let ask = Ask::of_object("look at the object", Method::HEAD, bucket, key);
        let answer = self.ask(&ask).await?;
        let modified = text(answer.headers(), &LAST_MODIFIED).and_then(date::seconds);
        Ok(Found {
            info: ObjectInfo {
                created_at: modified.unwrap_or(0),
                size: length(answer.headers()).unwrap_or(0),
            },
            tag: text(answer.headers(), &ETAG).map(str::to_owned),
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
        let mut found = self.find(from).await?;
        if found.info.size <= self.copy_at_once {
            // One request copies one version, and any will do.
            found.tag = None;
        }
        self.copy_found(from, &found, to).await
    }

    /// Moves an object within the service.
    pub(crate) async fn move_to(
        self: &Arc<Self>,
        from: &ObjectId,
        to: &ObjectId,
    ) -> Result<(), BlobError> {
        let found = self.find(from).await?;
        self.copy_found(from, &found, to).await?;
        // One that was written meanwhile was not moved.
        match self.head(&from.container, &from.object).await {
            Ok(now) if now.tag == found.tag => {
                let deleted = self.delete(&from.container, &from.object).await;
                deleted.map_err(|error| error.of_object(from))
            }
            Ok(_) => Ok(()),
            Err(error) if error.is_missing() => Ok(()),
            Err(error) => Err(error.of_object(from)),
        }
    }

    /// Copies an object if it still is as it was found.
    async fn copy_found(
        self: &Arc<Self>,
        from: &ObjectId,
        found: &Found,
        to: &ObjectId,
    ) -> Result<(), BlobError> {
        if found.info.size > self.copy_at_once {
            return self.copy_in_parts(from, found, to).await;
        }
        let mut ask = Ask::of_object("copy the object", Method::PUT, &to.container, &to.object);
        ask.headers = source(from, found);
        let copied = self.ask_xml(&ask).await;
        copied
            .map(drop)
            .map_err(|error| copy_error(error, from, to))
    }

    /// What is known of an object; when it is not there, whether its bucket is.
    pub(crate) async fn info(&self, id: &ObjectId) -> Result<ObjectInfo, BlobError> {
        Ok(self.find(id).await?.info)
    }

    async fn find(&self, id: &ObjectId) -> Result<Found, BlobError> {
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
        found: &Found,
        to: &ObjectId,
    ) -> Result<(), BlobError> {
        let size = found.info.size;
        let part = COPY_PART.min(self.copy_at_once).max(size / 9_000);
        let upload = Arc::new(self.begin(to).await?);
        let guard = Guard::new(self, &upload);
        let mut start = 0;
        let mut tags = Vec::new();
        while start < size {
            let end = (start + part).min(size) - 1;
            let number = (tags.len() + 1).to_string();
            let mut ask = upload.part_ask("copy a part of the object", &number);
            ask.headers = source(from, found);
            ask.headers
                .push((COPY_RANGE, format!("bytes={start}-{end}")));
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
        _ if error.is_outdated() => {
            BlobError::Unavailable("the object was replaced while it was copied".to_owned())
        }
        _ => error.of_object(from),
    }
}

/// The headers that say what is copied.
fn source(id: &ObjectId, found: &Found) -> Vec<(HeaderName, String)> {
    let path = format!("/{}/{}", id.container, encode::path(&id.object));
    let tag = found.tag.clone().map(|tag| (COPY_IF_MATCH, tag));
    std::iter::once((COPY_SOURCE, path)).chain(tag).collect()
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
