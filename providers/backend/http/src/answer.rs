//! The body of an answer.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
#[cfg(feature = "aws")]
use http_body_util::Full;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::sync::OwnedSemaphorePermit;

/// The body of an answer, which keeps its place among the requests under way until it is dropped.
#[derive(Debug)]
pub struct Answer(Source);

#[derive(Debug)]
enum Source {
    Coming {
        body: Incoming,
        _place: OwnedSemaphorePermit,
    },
    /// It was read already, and has no place any more.
    #[cfg(feature = "aws")]
    Read(Full<Bytes>),
}

impl Answer {
    pub(crate) fn new(body: Incoming, place: OwnedSemaphorePermit) -> Self {
        Self(Source::Coming {
            body,
            _place: place,
        })
    }

    /// A body that was read to see what it says.
    #[cfg(feature = "aws")]
    pub(crate) fn read(body: Bytes) -> Self {
        Self(Source::Read(Full::new(body)))
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match &mut self.0 {
            Source::Coming { body, .. } => Pin::new(body).poll_frame(cx),
            #[cfg(feature = "aws")]
            Source::Read(body) => {
                let frame = Pin::new(body).poll_frame(cx);
                frame.map_err(|never| match never {})
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Source::Coming { body, .. } => body.is_end_stream(),
            #[cfg(feature = "aws")]
            Source::Read(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Source::Coming { body, .. } => body.size_hint(),
            #[cfg(feature = "aws")]
            Source::Read(body) => body.size_hint(),
        }
    }
}
