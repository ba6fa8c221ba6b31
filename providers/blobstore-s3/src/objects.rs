//! Objects: looking, reading, deleting, copying.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream::{self, BoxStream};
use http::header::{CONTENT_LENGTH, CONTENT_RANGE, HeaderName, LAST_MODIFIED, RANGE};
use http::{HeaderMap, Method, Response, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use lattice_backend_http::{date, encode};
use lattice_provider_sdk::blobstore::{Blob, BlobError, ObjectId, ObjectInfo, Span};

use crate::client::{Ask, S3};
use crate::error::S3Error;
use crate::upload::Guard;

/// The largest piece that is passed on.
const PIECE: usize = 256 * 1024;
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
            ask.headers = vec![(RANGE, range(span))];
        }
        match self.open(&ask).await {
            Ok(answer) => blob(answer, span, idle),
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

/// Both ends belong to it here as well. An end that no object has is left out, since not all
/// services take such numbers.
fn range(span: Span) -> String {
    match span.end() < 1 << 53 {
        true => format!("bytes={}-{}", span.start(), span.end()),
        false => format!("bytes={}-", span.start()),
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

fn length(headers: &HeaderMap) -> Option<u64> {
    text(headers, &CONTENT_LENGTH)?.parse().ok()
}

/// What an answer has of the range. A service that knows no ranges sends everything.
fn blob(answer: Response<Incoming>, span: Span, idle: Duration) -> Result<Blob, BlobError> {
    let len = length(answer.headers())
        .ok_or_else(|| BlobError::Other("S3 does not say how long the object is".to_owned()))?;
    let is_part = answer.status() == StatusCode::PARTIAL_CONTENT;
    if is_part && text(answer.headers(), &CONTENT_RANGE).is_none() {
        return Err(BlobError::Other(
            "S3 does not say which bytes of the object it sends".to_owned(),
        ));
    }
    let data = pieces(answer.into_body(), idle);
    if is_part || span.is_all() {
        return Ok(Blob { len, data });
    }
    let wanted = span.within(len);
    Ok(Blob {
        len: wanted.end - wanted.start,
        data: cut(data, wanted.start, wanted.end - wanted.start),
    })
}

/// A body in pieces that are not too large. Hyper fails when it is shorter than announced.
fn pieces(body: Incoming, idle: Duration) -> BoxStream<'static, Result<Bytes, BlobError>> {
    stream::try_unfold(
        (body, Bytes::new()),
        move |(mut body, mut rest)| async move {
            while rest.is_empty() {
                let frame = tokio::time::timeout(idle, body.frame()).await;
                let frame = frame.map_err(|_| BlobError::Stalled {
                    who: "the backend",
                    after: idle,
                })?;
                let Some(frame) = frame else {
                    return Ok(None);
                };
                let frame = frame.map_err(|error| BlobError::unavailable(&error))?;
                rest = frame.into_data().unwrap_or_default();
            }
            let piece = rest.split_to(rest.len().min(PIECE));
            Ok(Some((piece, (body, rest))))
        },
    )
    .boxed()
}

/// Some bytes from the middle.
fn cut(
    data: BoxStream<'static, Result<Bytes, BlobError>>,
    skip: u64,
    take: u64,
) -> BoxStream<'static, Result<Bytes, BlobError>> {
    stream::try_unfold(
        (data, skip, take),
        |(mut data, mut skip, take)| async move {
            while take > 0 {
                let Some(mut piece) = data.next().await.transpose()? else {
                    return Ok(None);
                };
                let skipped = skip.min(piece.len() as u64);
                skip -= skipped;
                // No longer than the piece.
                piece = piece.split_off(usize::try_from(skipped).unwrap_or(piece.len()));
                piece.truncate(usize::try_from(take).unwrap_or(usize::MAX));
                if !piece.is_empty() {
                    let left = take - piece.len() as u64;
                    return Ok(Some((piece, (data, skip, left))));
                }
            }
            Ok(None)
        },
    )
    .boxed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_range_is_cut_out_of_everything() {
        let cut_out = async |skip, take| {
            let pieces = ["abc", "", "de", "fgh"].map(|p| Ok(Bytes::from_static(p.as_bytes())));
            let data = cut(stream::iter(pieces).boxed(), skip, take);
            let pieces: Vec<_> = data.map(Result::unwrap).collect().await;
            String::from_utf8(pieces.concat()).unwrap()
        };
        assert_eq!(cut_out(0, 8).await, "abcdefgh");
        assert_eq!(cut_out(1, 3).await, "bcd");
        assert_eq!(cut_out(3, 1).await, "d");
        assert_eq!(cut_out(7, 1).await, "h");
        assert_eq!(cut_out(2, 0).await, "");
    }

    #[test]
    fn ranges_have_both_ends() {
        assert_eq!(range(Span::new(2, 4).unwrap()), "bytes=2-4");
        assert_eq!(range(Span::new(2, u64::MAX).unwrap()), "bytes=2-");
    }
}
