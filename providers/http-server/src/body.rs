//! Bodies on their way in and out.

use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use lattice_rpc::CallError;
use lattice_rpc::http::IncomingBody;
use tokio::time::{Instant, Sleep, sleep_until};

use crate::failure::Failure;
use crate::settings::BodyLimits;
use crate::upload::{Upload, awaited};
use crate::watch::Busy;
use crate::websocket::FromClient;

/// The largest request body that is waited for, so that it goes with the call in one message.
const SMALL: u64 = 64 * 1024;

/// How long a small body is waited for. Usually it lies in the socket's buffer already; a client
/// that sends it slowly gets a stream.
const SMALL_WAIT: Duration = Duration::from_millis(10);

/// The body of a request.
#[derive(Debug)]
pub(crate) enum RequestBody {
    /// All of it, or nothing more.
    Whole(Option<Bytes>, Option<Box<HeaderMap>>),
    /// What has come, and what may follow.
    Stream(Option<Bytes>, Box<Limited>),
    /// The client failed to send it.
    Failed(Option<hyper::Error>),
    /// What follows on a connection that the component may take over.
    Tunnel(FromClient),
}

/// A body that must neither be too large nor come too slowly.
#[derive(Debug)]
pub(crate) struct Limited {
    body: Incoming,
    left: u64,
    pause: Duration,
    timer: Option<Pin<Box<Sleep>>>,
    upload: Arc<Upload>,
}

impl Limited {
    fn new(body: Incoming, taken: usize, limits: &BodyLimits) -> Box<Self> {
        Box::new(Self {
            body,
            left: limits.bytes.saturating_sub(taken as u64),
            pause: limits.pause,
            timer: None,
            upload: Arc::new(Upload::new()),
        })
    }

    fn refuse(&self, failure: Failure) -> BrokenOff {
        let why = failure.text();
        self.upload.refuse(failure);
        BrokenOff::Refused(why)
    }

    /// The next frame, which is known to be waited for where there is none yet.
    fn poll_body(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) {
            return Poll::Ready(frame);
        }
        self.upload.waits();
        let waker = awaited(&self.upload, cx.waker());
        Pin::new(&mut self.body).poll_frame(&mut Context::from_waker(&waker))
    }

    fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        let Poll::Ready(frame) = self.poll_body(cx) else {
            // Only counted while the client is waited for.
            let until = Instant::now() + self.pause;
            let timer = self
                .timer
                .get_or_insert_with(|| Box::pin(sleep_until(until)));
            std::task::ready!(timer.as_mut().poll(cx));
            return Poll::Ready(Some(Err(self.refuse(Failure::BODY_TIMEOUT))));
        };
        self.timer = None;
        let frame = match frame {
            Some(Ok(frame)) => frame,
            Some(Err(error)) => {
                // A component that fails over it, or makes something of it, has not seen all.
                self.upload.refuse(Failure::REQUEST_BODY);
                return Poll::Ready(Some(Err(BrokenOff::Client(Some(error)))));
            }
            None => {
                // A body in chunks does not say with its last piece that there is no other.
                self.upload.ends();
                return Poll::Ready(None);
            }
        };
        let length = frame.data_ref().map_or(0, |data| data.len() as u64);
        match self.left.checked_sub(length) {
            Some(left) => self.left = left,
            None => return Poll::Ready(Some(Err(self.refuse(Failure::BODY_SIZE)))),
        }
        if self.body.is_end_stream() {
            self.upload.ends();
        } else {
            self.upload.moves();
        }
        Poll::Ready(Some(Ok(frame)))
    }
}

impl Drop for Limited {
    /// Whoever takes no more of it has its end.
    fn drop(&mut self) {
        self.upload.ends();
    }
}

impl RequestBody {
    /// Takes a body over; a small one is collected if that is a matter of an instant.
    pub(crate) async fn take(mut body: Incoming, limits: &BodyLimits) -> Self {
        if body.is_end_stream() {
            return Self::Whole(None, None);
        }
        if body.size_hint().exact().is_none_or(|size| size > SMALL) {
            return Self::Stream(None, Limited::new(body, 0, limits));
        }
        let mut collected = Collected::default();
        let done = tokio::time::timeout(SMALL_WAIT, collected.fill(&mut body)).await;
        match done {
            Ok(Ok(())) => {
                let trailers = collected.trailers.take();
                Self::Whole(collected.into_bytes(), trailers)
            }
            Ok(Err(error)) => Self::Failed(Some(error)),
            Err(_) => {
                let taken = collected.len();
                let rest = Limited::new(body, taken, limits);
                Self::Stream(collected.into_bytes(), rest)
            }
        }
    }

    /// How far it has come, unless it is all there.
    pub(crate) fn upload(&self) -> Option<Arc<Upload>> {
        match self {
            Self::Stream(_, rest) => Some(Arc::clone(&rest.upload)),
            Self::Whole(..) | Self::Failed(_) | Self::Tunnel(_) => None,
        }
    }
}

/// Pieces put together; a single one is passed on without a copy.
#[derive(Default)]
struct Collected {
    first: Bytes,
    joined: BytesMut,
    trailers: Option<Box<HeaderMap>>,
}

impl Collected {
    async fn fill(&mut self, body: &mut Incoming) -> Result<(), hyper::Error> {
        while !body.is_end_stream() {
            match poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await {
                None => break,
                Some(frame) => match frame?.into_data() {
                    Ok(data) => self.add(data),
                    Err(frame) => self.trailers = frame.into_trailers().ok().map(Box::new),
                },
            }
        }
        Ok(())
    }

    fn add(&mut self, data: Bytes) {
        if self.first.is_empty() && self.joined.is_empty() {
            self.first = data;
            return;
        }
        if self.joined.is_empty() {
            self.joined.extend_from_slice(&self.first);
            self.first = Bytes::new();
        }
        self.joined.extend_from_slice(&data);
    }

    fn len(&self) -> usize {
        self.first.len() + self.joined.len()
    }

    fn into_bytes(self) -> Option<Bytes> {
        let all = if self.joined.is_empty() {
            self.first
        } else {
            self.joined.freeze()
        };
        (!all.is_empty()).then_some(all)
    }
}

/// Why the body of a request broke off.
#[derive(Debug)]
pub(crate) enum BrokenOff {
    /// The client did not send it.
    Client(Option<hyper::Error>),
    /// It was not taken.
    Refused(&'static str),
}

impl fmt::Display for BrokenOff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Client(Some(error)) => write!(f, "the client did not send all of it: {error}"),
            Self::Client(None) => f.write_str("the client did not send all of it"),
            Self::Refused(why) => f.write_str(why),
        }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BrokenOff;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        match &mut *self {
            Self::Whole(data, trailers) => {
                let data = data.take().map(Frame::data);
                let rest = || trailers.take().map(|trailers| Frame::trailers(*trailers));
                Poll::Ready(data.or_else(rest).map(Ok))
            }
            Self::Failed(error) => Poll::Ready(Some(Err(BrokenOff::Client(error.take())))),
            Self::Stream(first, rest) => match first.take() {
                Some(data) => Poll::Ready(Some(Ok(Frame::data(data)))),
                None => rest.poll_frame(cx),
            },
            Self::Tunnel(pieces) => pieces.poll_frame(cx).map_err(|never| match never {}),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(data, trailers) => data.is_none() && trailers.is_none(),
            Self::Stream(first, rest) => first.is_none() && rest.body.is_end_stream(),
            Self::Failed(_) | Self::Tunnel(_) => false,
        }
    }
}

/// The body of a response.
#[derive(Debug)]
pub(crate) enum ReplyBody {
    /// What the component sends.
    Component(IncomingBody),
    /// What the provider says itself.
    Own(Option<Bytes>),
}

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = CallError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, CallError>>> {
        match &mut *self {
            Self::Own(data) => Poll::Ready(data.take().map(|data| Ok(Frame::data(data)))),
            Self::Component(body) => {
                let frame = Pin::new(body).poll_frame(cx);
                if let Poll::Ready(Some(Err(error))) = &frame {
                    tracing::warn!(%error, "the body of a response broke off");
                }
                frame
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Own(data) => data.is_none(),
            Self::Component(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Own(None) => SizeHint::with_exact(0),
            Self::Own(Some(data)) => SizeHint::with_exact(data.len() as u64),
            Self::Component(body) => body.size_hint(),
        }
    }
}

/// The body of a response, and the request that it answers.
#[derive(Debug)]
pub(crate) struct Held {
    body: ReplyBody,
    _busy: Busy,
}

impl Held {
    pub(crate) fn new(body: ReplyBody, busy: Busy) -> Self {
        Self { body, _busy: busy }
    }
}

impl Body for Held {
    type Data = Bytes;
    type Error = CallError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, CallError>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
