//! Bodies of answers whose guests still run.
//!
//! Such a guest runs in a task of its own, whether or not somebody reads: what it calls goes on, and
//! it ends by its deadline, and earlier when whoever reads its body has paused for good.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame};
use lattice_codec::http::ErrorCode;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio::time::{Instant, Sleep, sleep_until, timeout};
use wasmtime_wasi_http::p2::body::HyperOutgoingBody;

use super::error::to_wire;
use super::serve::Guest;
use super::tails::{self, Tails};
use crate::CallError;
use crate::imports::chain;
use crate::limits::Meter;

/// How many pieces wait for the reader, beside those that wait in the guest's own channel.
const PIECES: usize = 1;

/// How long a reader may take nothing of what waits for it before the body breaks off: its guest holds
/// an instance meanwhile. It is as long for readers in this process as for those that are reached by
/// messages, see `PeerConfig::longest_stall` of `lattice-rpc`.
const LONGEST_STALL: Duration = Duration::from_secs(180);

/// What was read of a body already.
#[derive(Default)]
pub(super) struct Start {
    pub(super) data: Bytes,
    pub(super) trailers: Option<HeaderMap>,
}

/// The body of an answer, and the guest that writes it.
pub(super) struct GuestBody {
    guest: Guest,
    /// Has the clock by which a busy guest gives way to others.
    meter: Arc<Meter>,
    timer: Pin<Box<Sleep>>,
    deadline: Instant,
    tails: Weak<Tails>,
    body: Option<HyperOutgoingBody>,
    start: Start,
    /// Why it ends before its end.
    failed: Option<ErrorCode>,
}

type BodyFrame = Option<Result<Frame<Bytes>, ErrorCode>>;

impl GuestBody {
    pub(super) fn new(
        guest: Guest,
        meter: Arc<Meter>,
        body: HyperOutgoingBody,
        start: Start,
        deadline: Instant,
        tails: Weak<Tails>,
    ) -> Self {
        Self {
            guest,
            meter,
            timer: Box::pin(sleep_until(deadline)),
            deadline,
            tails,
            body: Some(body),
            start,
            failed: None,
        }
    }

    /// Has a task run the guest, and gives what it writes. The guest is ended when that is dropped
    /// before its end, and with its component.
    pub(super) fn pumped(self) -> Pumped {
        let (pieces, read) = mpsc::channel(PIECES);
        let task = self
            .tails
            .upgrade()
            .map(|tails| tails.run(pump(self, pieces)));
        Pumped {
            pieces: read,
            task,
            ended: false,
        }
    }

    fn fail(&mut self, code: ErrorCode) {
        self.guest = Guest::default();
        self.body = None;
        self.failed = Some(code);
    }

    /// Lets the guest run, but not past its deadline.
    fn drive(&mut self, cx: &mut Context<'_>) {
        if self.guest.poll(cx) {
            self.guest.keep();
        }
        if self.body.is_some() && self.timer.as_mut().poll(cx).is_ready() {
            self.fail(code(&CallError::Deadline));
        }
    }

    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<BodyFrame> {
        if let Some(code) = self.failed.take() {
            return Poll::Ready(Some(Err(code)));
        }
        let Some(body) = &mut self.body else {
            return Poll::Ready(None);
        };
        let broken = match ready!(Pin::new(body).poll_frame(cx)) {
            Some(Ok(frame)) => return Poll::Ready(Some(Ok(frame))),
            Some(Err(error)) => Some(to_wire(error)),
            None => {
                // It may have had to give way between its last piece and its end.
                if self.guest.poll(cx) {
                    self.guest.keep();
                }
                None
            }
        };
        let cause = self.guest.failure().map(|cause| code(&cause));
        self.body = None;
        if let Some(code) = cause.or(broken) {
            self.guest = Guest::default();
            return Poll::Ready(Some(Err(code)));
        }
        tails::let_finish(&self.tails, std::mem::take(&mut self.guest), self.deadline);
        Poll::Ready(None)
    }

    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<BodyFrame> {
        if !self.start.data.is_empty() {
            let data = std::mem::take(&mut self.start.data);
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
        if let Some(trailers) = self.start.trailers.take() {
            return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
        }
        if let Poll::Ready(frame) = self.poll_data(cx) {
            return Poll::Ready(frame);
        }
        self.drive(cx);
        self.poll_data(cx)
    }
}

/// Passes on what a guest writes; it runs while its reader does not.
async fn pump(mut body: GuestBody, pieces: mpsc::Sender<BodyFrame>) {
    let mut began = body.meter.now();
    loop {
        let piece = poll_fn(|cx| body.poll_piece(cx)).await;
        let mut room = pin!(timeout(LONGEST_STALL, pieces.reserve()));
        let room = poll_fn(|cx| {
            let room = room.as_mut().poll(cx);
            if room.is_pending() {
                body.drive(cx);
            }
            room
        });
        // A reader that comes back finds no end, which is as if the guest had been stopped.
        let Ok(Ok(room)) = room.await else { return };
        let is_last = !matches!(piece, Some(Ok(_)));
        room.send(piece);
        if is_last {
            return;
        }
        // A busy guest gives way at each tick, which its next piece would make nothing of.
        if body.meter.now() != began {
            tokio::task::yield_now().await;
            began = body.meter.now();
        }
    }
}

/// What the reader of a body is told about the failure of its guest.
fn code(error: &CallError) -> ErrorCode {
    ErrorCode::InternalError(Some(chain(error)))
}

/// What comes out of a [`pump`].
pub(super) struct Pumped {
    pieces: mpsc::Receiver<BodyFrame>,
    task: Option<AbortHandle>,
    ended: bool,
}

impl Body for Pumped {
    type Data = Bytes;
    type Error = ErrorCode;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<BodyFrame> {
        if self.ended {
            return Poll::Ready(None);
        }
        let piece = ready!(self.pieces.poll_recv(cx)).unwrap_or_else(|| {
            let text = "the component was stopped before its body was complete";
            Some(Err(ErrorCode::InternalError(Some(text.to_owned()))))
        });
        self.ended = !matches!(piece, Some(Ok(_)));
        Poll::Ready(piece)
    }
}

impl Drop for Pumped {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::stream;
    use http_body_util::{BodyExt as _, StreamBody};
    use tokio::sync::oneshot;
    use tokio::time::sleep;
    use wasmtime::Engine;
    use wasmtime_wasi_http::Error;

    use super::*;
    use crate::testing::FakeEnv;
    use crate::ticker::Ticker;

    /// In how many pieces a busy guest writes its body.
    const BUSY_PIECES: usize = 20;

    fn meter() -> Arc<Meter> {
        let ticker = Ticker::start(&Engine::default(), Duration::from_millis(1)).unwrap();
        Arc::new(Meter::new(ticker.enter(), None))
    }

    /// What a guest writes that does not end, and what tells that it was ended.
    fn endless(tails: &Arc<Tails>, deadline: Instant) -> (Pumped, oneshot::Receiver<()>) {
        let (held, dropped) = oneshot::channel::<()>();
        let guest = Guest::running(Box::pin(async move {
            let _held = held;
            std::future::pending().await
        }));
        let piece = || Ok::<_, Error>(Frame::data(Bytes::from_static(b"piece")));
        let body = StreamBody::new(stream::repeat_with(piece)).boxed_unsync();
        let tails = Arc::downgrade(tails);
        let body = GuestBody::new(guest, meter(), body, Start::default(), deadline, tails);
        (body.pumped(), dropped)
    }

    #[tokio::test(start_paused = true)]
    async fn a_guest_whose_answer_is_not_read_ends_before_its_deadline() {
        let tails = Arc::new(Tails::new(Arc::<FakeEnv>::default(), None));
        let deadline = Instant::now() + 20 * LONGEST_STALL;
        let (mut read, dropped) = endless(&tails, deadline);
        // A reader may take its time.
        for _ in 0..4 {
            sleep(LONGEST_STALL / 2).await;
            assert!(matches!(read.frame().await, Some(Ok(_))));
        }
        let paused = Instant::now();
        assert!(dropped.await.is_err());
        assert!(paused.elapsed() < 2 * LONGEST_STALL);
        // What it has not read is not taken for the whole.
        let mut last = read.frame().await;
        while let Some(Ok(_)) = last {
            last = read.frame().await;
        }
        assert!(matches!(last, Some(Err(_))), "{last:?}");
    }

    #[tokio::test]
    async fn a_guest_that_computes_between_pieces_for_its_reader_gives_way_at_each_tick() {
        // The ticks end with their engine.
        let engine = Engine::default();
        let ticker = Ticker::start(&engine, Duration::from_millis(1)).unwrap();
        let meter = Arc::new(Meter::new(ticker.enter(), None));
        let (written, body) = futures::channel::mpsc::unbounded::<Result<Frame<Bytes>, Error>>();
        let clock = Arc::clone(&meter);
        let guest = Guest::running(Box::pin(async move {
            for _ in 0..BUSY_PIECES {
                let began = clock.now();
                while clock.now() == began {
                    std::thread::yield_now();
                }
                let piece = Frame::data(Bytes::from_static(b"."));
                written.unbounded_send(Ok(piece)).unwrap();
                tokio::task::yield_now().await;
            }
            Ok(None)
        }));
        let body = StreamBody::new(body).boxed_unsync();
        let tails = Arc::new(Tails::new(Arc::<FakeEnv>::default(), None));
        let (deadline, weak) = (Instant::now() + LONGEST_STALL, Arc::downgrade(&tails));
        let body = GuestBody::new(guest, meter, body, Start::default(), deadline, weak);
        // With room for all of it, a reader never makes it wait.
        let (pieces, _read) = mpsc::channel(BUSY_PIECES + 1);
        let mut pump = pin!(pump(body, pieces));
        let mut polls = 0;
        let pumped = poll_fn(|cx| {
            polls += 1;
            pump.as_mut().poll(cx)
        });
        pumped.await;
        assert!(polls >= BUSY_PIECES, "{polls}");
    }
}
