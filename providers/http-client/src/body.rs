//! Bodies on their way out and in.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use lattice_codec::http::ErrorCode;
use lattice_provider_sdk::chain;
use lattice_rpc::CallError;
use lattice_rpc::http::IncomingBody;
use parking_lot::Mutex;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, Sleep, sleep_until, timeout_at};

use crate::fault::{Fault, Stage, code_of};

/// The body of a request. Attempts that follow each other share it as long as none has read from
/// it.
#[derive(Debug)]
pub(crate) struct Upload {
    shared: Arc<Mutex<Source>>,
    turn: u32,
}

#[derive(Debug)]
struct Source {
    /// `None` when nobody reads it any more.
    body: Option<IncomingBody>,
    /// Which attempt may read.
    turn: u32,
    /// Whether that attempt has let go of it.
    is_left: bool,
    /// Whether no other attempt follows.
    is_last: bool,
    /// What was read before anybody asked for it.
    ahead: Ahead,
    sent: u64,
    most: u64,
    /// How long the head says that it is.
    announced: Option<u64>,
    has_begun: bool,
    /// Why it ended before its end.
    fault: Option<ErrorCode>,
    /// Whether trailers are to follow, for which HTTP/1.1 has to leave the length open.
    has_trailers: bool,
}

/// What is known of how a body goes on.
#[derive(Debug, Default)]
enum Ahead {
    #[default]
    Unread,
    Piece(Frame<Bytes>),
    Nothing,
}

/// Watches a body while it is sent.
#[derive(Debug)]
pub(crate) struct Watch(Arc<Mutex<Source>>);

impl Upload {
    pub(crate) fn new(
        body: IncomingBody,
        most: u64,
        announced: Option<u64>,
        has_trailers: bool,
    ) -> (Self, Watch) {
        let shared = Arc::new(Mutex::new(Source {
            body: Some(body),
            turn: 0,
            is_left: false,
            is_last: false,
            ahead: Ahead::Unread,
            sent: 0,
            most,
            announced,
            has_begun: false,
            fault: None,
            has_trailers,
        }));
        let watch = Watch(Arc::clone(&shared));
        (Self { shared, turn: 0 }, watch)
    }

    /// Waits until it is known whether there is anything in a body of unknown length. False also for
    /// one of a known length, for one that its guest drops before it begins, and for one of which nothing is
    /// known in time. An error where it cannot be read for another reason.
    pub(crate) async fn begins(&self, by: Instant) -> Result<bool, ErrorCode> {
        if self.is_end_stream() || self.size_hint().exact().is_some() {
            return Ok(false);
        }
        let begins = poll_fn(|cx| self.shared.lock().poll_begin(cx));
        timeout_at(by, begins).await.unwrap_or(Ok(false))
    }
}

impl Drop for Upload {
    /// A server that has answered may take no more of the body. Whoever writes it is told so by its
    /// being dropped, and would else wait for as long as the answer is kept.
    fn drop(&mut self) {
        let mut source = self.shared.lock();
        if source.turn != self.turn {
            return;
        }
        source.is_left = true;
        let unread = source.let_go();
        // Not under the lock: it may wake whoever writes it.
        drop(source);
        drop(unread);
    }
}

impl Watch {
    /// The body for another attempt, unless it has begun. What is left of the one before reads no
    /// further.
    pub(crate) fn again(&self) -> Option<Upload> {
        let mut source = self.0.lock();
        if source.has_begun {
            return None;
        }
        source.turn += 1;
        source.is_left = false;
        Some(Upload {
            shared: Arc::clone(&self.0),
            turn: source.turn,
        })
    }

    /// Notes that no other attempt follows.
    pub(crate) fn settle(&self) {
        let mut source = self.0.lock();
        source.is_last = true;
        let unread = source.let_go();
        drop(source);
        drop(unread);
    }

    /// Why the body ended before its end, if it did.
    pub(crate) fn fault(&self) -> Option<ErrorCode> {
        self.0.lock().fault.clone()
    }
}

impl Source {
    /// Gives the body up that nobody reads any more: no attempt does, and none can follow.
    fn let_go(&mut self) -> Option<IncomingBody> {
        let is_over = self.is_left && (self.has_begun || self.is_last);
        if is_over { self.body.take() } else { None }
    }

    fn fail(&mut self, code: ErrorCode) -> Fault {
        self.fault = Some(code.clone());
        Fault(code)
    }

    /// Reads up to the first piece, which stays to be taken.
    fn poll_begin(&mut self, cx: &mut Context<'_>) -> Poll<Result<bool, ErrorCode>> {
        loop {
            let Some(body) = &mut self.body else {
                return Poll::Ready(Ok(false));
            };
            let next = Pin::new(body).poll_frame(cx);
            let frame = match next {
                Poll::Ready(Some(Ok(frame))) => Some(frame),
                // As in 1.x: where a guest writes nothing before it drops the body, there is none.
                Poll::Ready(Some(Err(CallError::Aborted(_)))) => None,
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(broken_off(&error))),
                Poll::Pending if !self.has_only_trailers() => return Poll::Pending,
                Poll::Ready(None) | Poll::Pending => None,
            };
            let data = frame.as_ref().and_then(Frame::data_ref);
            if data.is_some_and(Bytes::is_empty) {
                continue;
            }
            self.ahead = match frame {
                // Trailers alone, which nobody has announced, are not sent.
                Some(frame) if frame.is_data() || self.has_trailers => Ahead::Piece(frame),
                _ => Ahead::Nothing,
            };
            return Poll::Ready(Ok(matches!(self.ahead, Ahead::Piece(_))));
        }
    }

    /// Whether only trailers can follow, which are not sent.
    fn has_only_trailers(&self) -> bool {
        let hint = self.body.as_ref().map(Body::size_hint);
        !self.has_trailers && hint.and_then(|hint| hint.exact()) == Some(0)
    }

    fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Fault>>> {
        let Some(body) = &mut self.body else {
            return Poll::Ready(Some(Err(Fault(ErrorCode::ConnectionTerminated))));
        };
        let next = ready!(Pin::new(body).poll_frame(cx));
        let next = next.map(|next| next.map_err(|error| self.fail(broken_off(&error))));
        Poll::Ready(next)
    }

    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Fault>>> {
        let next = match std::mem::take(&mut self.ahead) {
            Ahead::Piece(frame) => Some(frame),
            Ahead::Nothing => None,
            Ahead::Unread => match ready!(self.poll_body(cx)) {
                Some(Err(fault)) => return Poll::Ready(Some(Err(fault))),
                Some(Ok(frame)) => Some(frame),
                None => None,
            },
        };
        let Some(frame) = next else {
            self.ahead = Ahead::Nothing;
            // A server would wait for the rest, or take the next request for it.
            let is_short = self.announced.is_some_and(|length| self.sent < length);
            return Poll::Ready(is_short.then(|| Err(self.wrong_size())));
        };
        self.has_begun = true;
        self.sent += frame.data_ref().map_or(0, |data| data.len() as u64);
        if self.sent > self.announced.unwrap_or(self.most).min(self.most) {
            return Poll::Ready(Some(Err(self.wrong_size())));
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn wrong_size(&mut self) -> Fault {
        self.fail(ErrorCode::HttpRequestBodySize(Some(self.sent)))
    }

    /// Whether nothing more comes, as far as is known without reading.
    fn is_over(&self) -> bool {
        match &self.ahead {
            Ahead::Unread => self.body.as_ref().is_some_and(Body::is_end_stream),
            Ahead::Piece(_) => false,
            Ahead::Nothing => true,
        }
    }
}

fn broken_off(error: &CallError) -> ErrorCode {
    let why = format!("the body of the request broke off: {}", chain(error));
    ErrorCode::InternalError(Some(why))
}

impl Body for Upload {
    type Data = Bytes;
    type Error = Fault;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Fault>>> {
        let mut source = self.shared.lock();
        if source.turn != self.turn {
            return Poll::Ready(Some(Err(Fault(ErrorCode::ConnectionTerminated))));
        }
        source.poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        let source = self.shared.lock();
        // One that is too short is read on, which tells so.
        source.is_over() && source.announced.is_none_or(|length| length == source.sent)
    }

    fn size_hint(&self) -> SizeHint {
        let source = self.shared.lock();
        match &source.body {
            Some(_) if matches!(source.ahead, Ahead::Piece(_)) => SizeHint::default(),
            Some(body) if !source.has_trailers => body.size_hint(),
            _ => SizeHint::default(),
        }
    }
}

type FrameOrError = Result<Frame<Bytes>, ErrorCode>;

/// The body of a response.
#[derive(Debug)]
pub(crate) struct Download {
    body: Option<Incoming>,
    /// The longest pause.
    pause: Duration,
    timer: Option<Pin<Box<Sleep>>>,
    left: u64,
    seen: u64,
    /// Why it ends before its end, which is told with the next look.
    failed: Option<ErrorCode>,
    /// The body of the request, which the server may still be reading.
    upload: Watch,
    _place: OwnedSemaphorePermit,
}

impl Download {
    pub(crate) fn new(
        body: Incoming,
        upload: Watch,
        most: u64,
        pause: Duration,
        place: OwnedSemaphorePermit,
    ) -> Self {
        Self {
            body: Some(body),
            upload,
            pause,
            timer: None,
            left: most,
            seen: 0,
            failed: None,
            _place: place,
        }
    }

    /// Tells of a failure with the next look, so that the response itself arrives before, as it
    /// does when the failure comes later.
    fn fail(&mut self, code: ErrorCode, cx: &Context<'_>) -> Poll<Option<FrameOrError>> {
        // This closes the connection, on which more is to come.
        self.body = None;
        self.failed = Some(code);
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn take(&mut self, frame: Frame<Bytes>, cx: &Context<'_>) -> Poll<Option<FrameOrError>> {
        self.timer = None;
        let length = frame.data_ref().map_or(0, |data| data.len() as u64);
        self.seen += length;
        match self.left.checked_sub(length) {
            Some(left) => self.left = left,
            None => return self.fail(ErrorCode::HttpResponseBodySize(Some(self.seen)), cx),
        }
        Poll::Ready(Some(Ok(frame)))
    }
}

impl Body for Download {
    type Data = Bytes;
    type Error = ErrorCode;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<FrameOrError>> {
        let this = &mut *self;
        let Some(body) = &mut this.body else {
            return Poll::Ready(this.failed.take().map(Err));
        };
        match Pin::new(body).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => return this.take(frame, cx),
            Poll::Ready(Some(Err(error))) => {
                // A request that breaks off takes its response along: that is the cause to tell.
                let cause = this.upload.fault();
                return this.fail(cause.unwrap_or_else(|| code_of(&error, Stage::Body)), cx);
            }
            Poll::Ready(None) => {
                this.body = None;
                return Poll::Ready(None);
            }
            Poll::Pending => {}
        }
        // Counted only while something is waited for, so that a slow reader is no slow server.
        let until = Instant::now() + this.pause;
        let timer = this
            .timer
            .get_or_insert_with(|| Box::pin(sleep_until(until)));
        ready!(timer.as_mut().poll(cx));
        this.fail(ErrorCode::ConnectionReadTimeout, cx)
    }

    fn is_end_stream(&self) -> bool {
        self.failed.is_none() && self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        let nothing = SizeHint::with_exact(0);
        self.body.as_ref().map_or(nothing, Body::size_hint)
    }
}
