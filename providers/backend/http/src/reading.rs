//! Reading parts of large things, a piece at a time.

use std::time::Duration;

use crate::Answer;
use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream::{self, BoxStream};
use http::header::{CONTENT_LENGTH, CONTENT_RANGE, HeaderName};
use http::{HeaderMap, Response, StatusCode};
use http_body_util::BodyExt as _;

/// The largest piece that is passed on.
const PIECE: usize = 256 * 1024;
/// Larger numbers are not taken by all services.
const LARGEST_END: u64 = 1 << 53;

/// Bytes as they come. Nothing is read before it is asked for.
pub type Pieces = BoxStream<'static, Result<Bytes, PieceError>>;

/// Why there is no next piece.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PieceError {
    /// Nothing came for too long.
    #[error("nothing came for {0:?}")]
    Stalled(Duration),
    /// The connection broke, or the body is shorter than was said.
    #[error("the answer broke off")]
    Broken(#[source] hyper::Error),
}

/// An answer does not say what it is a part of.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the answer does not say {0}")]
pub struct UnknownPart(&'static str);

/// What is read.
pub struct Reading {
    /// How many bytes it is.
    pub len: u64,
    /// The bytes.
    pub data: Pieces,
}

impl std::fmt::Debug for Reading {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reading")
            .field("len", &self.len)
            .finish_non_exhaustive()
    }
}

/// The value of the header `range` for the bytes from `start` to `end`, which both belong to it.
#[must_use]
pub fn range(start: u64, end: u64) -> String {
    match end < LARGEST_END {
        true => format!("bytes={start}-{end}"),
        false => format!("bytes={start}-"),
    }
}

/// What an answer says in a header.
#[must_use]
pub fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// How long an answer is, as it says.
#[must_use]
pub fn length(headers: &HeaderMap) -> Option<u64> {
    text(headers, &CONTENT_LENGTH)?.parse().ok()
}

/// The bytes from `start` to `end` out of the answer to a request for them. A service that knows no
/// ranges sends everything; what was not asked for is left out then.
///
/// # Errors
///
/// [`UnknownPart`] when the answer says not enough of itself.
pub fn reading(
    answer: Response<Answer>,
    start: u64,
    end: u64,
    idle: Duration,
) -> Result<Reading, UnknownPart> {
    let headers = answer.headers();
    let len = length(headers).ok_or(UnknownPart("how long it is"))?;
    let is_part = answer.status() == StatusCode::PARTIAL_CONTENT;
    if is_part && text(headers, &CONTENT_RANGE).is_none() {
        return Err(UnknownPart("which bytes it has"));
    }
    let data = pieces(answer.into_body(), idle);
    if is_part || (start == 0 && end >= len) {
        return Ok(Reading { len, data });
    }
    let end = end.saturating_add(1).min(len);
    let start = start.min(end);
    Ok(Reading {
        len: end - start,
        data: cut(data, start, end - start),
    })
}

/// A body in pieces that are not too large.
fn pieces(body: Answer, idle: Duration) -> Pieces {
    stream::try_unfold(
        (body, Bytes::new()),
        move |(mut body, mut rest)| async move {
            while rest.is_empty() {
                let frame = tokio::time::timeout(idle, body.frame()).await;
                let frame = frame.map_err(|_| PieceError::Stalled(idle))?;
                let Some(frame) = frame else {
                    return Ok(None);
                };
                let frame = frame.map_err(PieceError::Broken)?;
                rest = frame.into_data().unwrap_or_default();
            }
            let piece = rest.split_to(rest.len().min(PIECE));
            Ok(Some((piece, (body, rest))))
        },
    )
    .boxed()
}

/// Some bytes from the middle.
fn cut(data: Pieces, skip: u64, take: u64) -> Pieces {
    stream::try_unfold(
        (data, skip, take),
        |(mut data, mut skip, take)| async move {
            if take == 0 {
                return Ok(None);
            }
            loop {
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
        assert_eq!(range(2, 4), "bytes=2-4");
        assert_eq!(range(2, u64::MAX), "bytes=2-");
    }
}
