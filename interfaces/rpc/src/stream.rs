//! The asynchronous byte streams of a call, with credit between peers of our kind.
//!
//! A reader tells how much it has consumed once half of its window is used up, or less of it when it
//! is slow; a writer stops when the window is full. A 1.9 peer neither grants nor heeds credit: what
//! it sends is buffered up to a bound, and a reader that stays behind fails its own call only.
//!
//! Over NATS a part may be lost, when a connection breaks that it is on. A peer of our kind notices: the
//! last of several messages tells how much came before it, and while a stream is open its sender tells
//! now and then how much was sent ([`crate::exchange`]).

mod unread;

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use async_nats::{HeaderMap, Subject};
use bytes::Bytes;
use futures::future::BoxFuture;
use lattice_codec::Path;
use tokio::time::{Instant, timeout, timeout_at};

use crate::bulk::{LONG, Lane, Offset};
use crate::dispatch::Via;
use crate::error::CallError;
use crate::exchange::Remote;
use crate::outbound;
use crate::outbox::check_subject;
use crate::peer::{DeferredSend, SlotGuard};

/// After how long a reader that is slow tells of less than half a window: a writer that hears nothing
/// for some seconds may take it for one that reads nothing.
const SLOW: Duration = Duration::from_secs(1);

/// After how long it tells of whatever it has read: not to read at all ends a stream, see
/// [`PeerConfig::longest_stall`](crate::PeerConfig::longest_stall).
const SLOWEST: Duration = Duration::from_secs(10);

/// Reads the bytes of one stream or future, in order.
///
/// The end of the stream is [`None`]. Dropping the reader before its end gives the call up, as
/// far as nobody else still uses it; the writer of a parameter is told that no more of it is read.
pub struct ByteReader {
    guard: Arc<SlotGuard>,
    path: Path,
    deadline: Option<Instant>,
    idle: Option<Duration>,
    consumed: u64,
    reported: u64,
    reported_at: Instant,
    has_all: bool,
    report: Option<BoxFuture<'static, Result<(), CallError>>>,
    timer: Option<Pin<Box<tokio::time::Sleep>>>,
}

impl std::fmt::Debug for ByteReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ByteReader")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

impl ByteReader {
    pub(crate) fn new(guard: Arc<SlotGuard>, path: Path, deadline: Option<Instant>) -> Self {
        Self {
            guard,
            path,
            deadline,
            idle: None,
            consumed: 0,
            reported: 0,
            reported_at: Instant::now(),
            has_all: false,
            report: None,
            timer: None,
        }
    }

    /// Fails the stream of a 1.9 peer when nothing arrives for `idle`, so that its death in the
    /// middle of a stream is noticed. A peer of our kind is asked whether it is still there, so
    /// that it may be silent for as long as it likes.
    #[must_use]
    pub fn idle_limit(mut self, idle: Duration) -> Self {
        self.idle = Some(idle);
        self
    }

    /// Waits for the next piece; `None` at the end.
    ///
    /// # Errors
    ///
    /// [`CallError::Deadline`] when the call's time is over, or what ended the call.
    pub async fn next(&mut self) -> Option<Result<Bytes, CallError>> {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    /// Polls for the next piece; `None` at the end.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, CallError>>> {
        if let Some(report) = &mut self.report {
            let sent = ready!(report.as_mut().poll(cx));
            self.report = None;
            if let Err(error) = sent {
                return Poll::Ready(Some(Err(error)));
            }
        }
        match self.guard.exchange.poll_path(&self.path, cx) {
            Poll::Pending => self.poll_deadline(cx).map(|error| Some(Err(error))),
            Poll::Ready(Some(Ok(data))) => {
                self.consumed += data.len() as u64;
                if self.idle.is_some() {
                    self.timer = None;
                }
                self.grant_credit();
                Poll::Ready(Some(Ok(data)))
            }
            Poll::Ready(other) => Poll::Ready(other),
        }
    }

    /// What is wrong if the stream has come to its end without a mark in its data that says so. A
    /// 1.9 peer may leave the mark out; one of our kind has broken off then.
    pub(crate) fn without_mark(&self) -> Option<CallError> {
        let exchange = &self.guard.exchange;
        exchange.tells_ends(&self.path).then(|| {
            let subject = exchange.subject().to_string();
            CallError::Incomplete { subject }
        })
    }

    fn poll_deadline(&mut self, cx: &mut Context<'_>) -> Poll<CallError> {
        loop {
            if self.timer.is_none() {
                let idle = self.idle.map(|idle| Instant::now() + idle);
                let Some(until) = self.deadline.into_iter().chain(idle).min() else {
                    return Poll::Pending;
                };
                self.timer = Some(Box::pin(tokio::time::sleep_until(until)));
            }
            let Some(timer) = &mut self.timer else {
                return Poll::Pending;
            };
            ready!(timer.as_mut().poll(cx));
            let is_over = self.deadline.is_some_and(|at| at <= Instant::now());
            if is_over || !self.guard.exchange.can_be_asked() {
                break;
            }
            self.timer = None;
        }
        let subject = self.guard.exchange.subject().to_string();
        Poll::Ready(CallError::Deadline {
            subject,
            after: self.idle.unwrap_or_default(),
            sent: true,
        })
    }

    fn grant_credit(&mut self) {
        let window = self.guard.peer.inner.config.stream_window;
        let untold = self.consumed - self.reported;
        if untold < window / 2 {
            let pause = if untold < window / 16 { SLOWEST } else { SLOW };
            if self.reported_at.elapsed() < pause {
                return;
            }
        }
        let Some(Remote {
            root,
            window: Some(_),
            ..
        }) = self.guard.exchange.remote()
        else {
            return;
        };
        self.reported = self.consumed;
        self.reported_at = Instant::now();
        let subject = Subject::from(format!("{root}.credit.{}", self.path));
        let peer = self.guard.peer.clone();
        let total = Bytes::from(self.consumed.to_string());
        self.report = Some(Box::pin(
            async move { peer.publish(subject, None, total).await },
        ));
    }

    /// Collects the whole stream.
    ///
    /// # Errors
    ///
    /// [`CallError::TooLarge`] beyond `limit` bytes, or what ended the call.
    pub async fn collect(mut self, limit: usize) -> Result<Bytes, CallError> {
        let mut all = bytes::BytesMut::new();
        while let Some(part) = self.next().await {
            let part = part?;
            let size = all.len() + part.len();
            if size > limit {
                return Err(CallError::TooLarge {
                    what: "a stream",
                    size,
                    limit,
                });
            }
            all.extend_from_slice(&part);
        }
        Ok(all.freeze())
    }
}

/// Writes the bytes of one stream or future, in order.
pub struct ByteWriter {
    guard: Arc<SlotGuard>,
    path: Path,
    deadline: Option<Instant>,
    subject: Option<Subject>,
    window: Option<u64>,
    /// Where the reader takes what is long, if that is another place.
    bulk: Option<Subject>,
    /// After how many bytes it has gone there, if it has.
    long_from: Option<u64>,
    /// Whether a part may be lost on its way, and the reader notices if it is told how much was sent.
    tells: bool,
    /// How long the reader may take nothing; without it, as long as the other end is there.
    longest_stall: Option<Duration>,
    sent: u64,
    credit: u64,
    done: bool,
}

impl std::fmt::Debug for ByteWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ByteWriter")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

impl ByteWriter {
    /// A writer of a parameter stream, which waits for the accept of the called side.
    pub(crate) fn to_callee(guard: Arc<SlotGuard>, path: Path, deadline: Option<Instant>) -> Self {
        Self {
            guard,
            path,
            deadline,
            subject: None,
            window: None,
            bulk: None,
            long_from: None,
            tells: false,
            longest_stall: None,
            sent: 0,
            credit: 0,
            done: false,
        }
    }

    /// A writer of a result stream, whose subject and window the request has told.
    pub(crate) fn to_caller(
        guard: Arc<SlotGuard>,
        path: Path,
        caller: &Remote,
        deadline: Option<Instant>,
    ) -> Self {
        let mut writer = Self::to_callee(guard, path, deadline);
        writer.longest_stall = Some(writer.guard.peer.inner.config.longest_stall);
        writer.learn(caller, "results");
        writer
    }

    /// Takes over where the other end reads the stream, and how much at once.
    fn learn(&mut self, remote: &Remote, part: &str) {
        let place = |root: &Subject| Subject::from(format!("{root}.{part}.{}", self.path));
        let peer = &self.guard.peer;
        let bulk = remote.bulk.as_ref().map(place);
        let may_be_used = |place: &Subject| {
            let via = Via::Bus;
            check_subject(place).is_ok() && peer.inner.may_write_to(place, via)
        };
        let is_near = peer.is_near(&remote.root);
        self.bulk = bulk.filter(|place| may_be_used(place) && !is_near);
        self.tells = remote.window.is_some() && !is_near;
        self.subject = Some(place(&remote.root));
        self.window = remote.window;
    }

    async fn within<T>(
        &self,
        work: impl Future<Output = Result<T, CallError>>,
    ) -> Result<T, CallError> {
        match self.deadline {
            None => work.await,
            Some(at) => timeout_at(at, work).await.unwrap_or_else(|_| {
                let subject = self.guard.exchange.subject().to_string();
                Err(CallError::Deadline {
                    subject,
                    after: Duration::ZERO,
                    sent: true,
                })
            }),
        }
    }

    /// Waits for what a peer of our kind tells: no longer than the call may take until it is
    /// answered, then for as long as the other end is there.
    async fn in_time<T>(
        &self,
        work: impl Future<Output = Result<T, CallError>>,
    ) -> Result<T, CallError> {
        let mut work = pin!(work);
        match self.within(work.as_mut()).await {
            Err(CallError::Deadline { .. }) if self.guard.exchange.has_result() => work.await,
            done => done,
        }
    }

    async fn subject(&mut self) -> Result<Subject, CallError> {
        if let Some(subject) = &self.subject {
            return Ok(subject.clone());
        }
        let exchange = Arc::clone(&self.guard.exchange);
        let remote = self.within(poll_fn(|cx| exchange.poll_remote(cx))).await?;
        self.learn(&remote, "params");
        Ok(self.subject.clone().unwrap_or(remote.root))
    }

    /// Has the rest of a long stream go where it delays no calls, once there is a way.
    fn change_over(&mut self) {
        if self.long_from.is_some() || self.sent < LONG {
            return;
        }
        let Some(place) = &self.bulk else {
            return;
        };
        let lane = self.guard.peer.inner.bulk.lane();
        if lane.is_some_and(Lane::is_up) {
            self.guard.exchange.is_long();
            self.subject = Some(place.clone());
            self.long_from = Some(self.sent);
        }
    }

    /// Where what is sent next is in the part of the stream that goes there, if that has begun.
    fn offset(&self) -> Option<Offset> {
        let at = self.sent;
        self.long_from.map(|from| Offset { at, from })
    }

    /// What the last message tells of those before it, if there were any: without it, what is left
    /// would pass for the whole when one of them was lost.
    fn mark(&self) -> Option<HeaderMap> {
        let (at, from) = (self.sent, 0);
        (self.tells && at > 0).then(|| Offset { at, from }.headers())
    }

    /// Sends what comes next; an empty part ends the stream.
    async fn send(
        &mut self,
        subject: Subject,
        part: Bytes,
        is_last: bool,
    ) -> Result<(), CallError> {
        let size = part.len() as u64;
        let (peer, exchange) = (&self.guard.peer, &self.guard.exchange);
        if let Some(offset) = self.offset() {
            let Some(lane) = peer.inner.bulk.lane() else {
                let subject = exchange.subject().to_string();
                return Err(CallError::Incomplete { subject });
            };
            lane.send(subject, offset, part).await?;
            self.sent += size;
            return Ok(());
        }
        let headers = if is_last { self.mark() } else { None };
        peer.publish(subject, headers, part).await?;
        self.sent += size;
        if self.tells {
            exchange.has_sent(&self.path, self.sent);
        }
        Ok(())
    }

    /// Sends bytes, waiting while the other end has no room for them.
    ///
    /// # Errors
    ///
    /// [`CallError::Cancelled`] when the other end has given up or reads no more of it,
    /// [`CallError::SlowReader`] when the caller takes nothing of an answer for
    /// [too long](crate::PeerConfig::longest_stall), or what ended the call.
    pub fn write(&mut self, data: Bytes) -> impl Future<Output = Result<(), CallError>> {
        self.send_all(data, false)
    }

    /// Sends the last bytes, which tell by themselves that they are, so that no empty message follows.
    ///
    /// # Errors
    ///
    /// As [`ByteWriter::write`].
    pub async fn finish(&mut self, data: Bytes) -> Result<(), CallError> {
        self.send_all(data, true).await?;
        self.done = true;
        Ok(())
    }

    /// Sends the front of bytes, as much as the other end has room for once it has some, and leaves
    /// the rest: who does so again and again notices that the reader goes on.
    ///
    /// # Errors
    ///
    /// As [`ByteWriter::write`].
    pub fn write_some(&mut self, data: &mut Bytes) -> impl Future<Output = Result<(), CallError>> {
        self.send_some(data, false)
    }

    async fn send_all(&mut self, mut data: Bytes, is_end: bool) -> Result<(), CallError> {
        while !data.is_empty() {
            self.send_some(&mut data, is_end).await?;
        }
        Ok(())
    }

    async fn send_some(&mut self, data: &mut Bytes, is_end: bool) -> Result<(), CallError> {
        if let Some(error) = self.stopped() {
            return Err(error);
        }
        let subject = self.subject().await?;
        let most = outbound::room(&self.guard.peer, None, "");
        let free = self.free().await?;
        let part = data.split_to(data.len().min(most).min(free));
        let is_last = is_end && data.is_empty();
        self.send(subject, part, is_last).await?;
        self.change_over();
        Ok(())
    }

    /// How much may be sent right now, waiting until it is something.
    async fn free(&mut self) -> Result<usize, CallError> {
        let Some(window) = self.window else {
            return Ok(usize::MAX);
        };
        if self.sent >= self.credit + window {
            let exchange = Arc::clone(&self.guard.exchange);
            let path = self.path.clone();
            let credit = self.credit;
            let mut more = pin!(poll_fn(|cx| exchange.poll_credit(&path, credit, cx)));
            let more = match self.longest_stall {
                // Who reads another stream of the answer may come to this one later.
                Some(longest) => loop {
                    match timeout(longest, more.as_mut()).await {
                        Err(_) if exchange.is_read(longest) => {}
                        done => break done,
                    }
                },
                None => Ok(self.in_time(more).await),
            };
            self.credit = match more {
                Ok(credit) => credit?,
                Err(_) => return Err(self.stalled()),
            };
        }
        Ok((self.credit + window).saturating_sub(self.sent).max(1) as usize)
    }

    /// Ends the stream with the empty message that ends every stream.
    ///
    /// # Errors
    ///
    /// As [`ByteWriter::write`].
    pub async fn end(&mut self) -> Result<(), CallError> {
        if self.done {
            return Ok(());
        }
        let subject = self.subject().await?;
        self.done = true;
        self.send(subject, Bytes::new(), true).await
    }

    /// Notes that the data breaks off. A peer of our kind is told so in other words; the empty
    /// message, which is all that a 1.9 peer understands, could reach it before them.
    pub(crate) fn broke_off(&mut self) {
        self.done |= self.window.is_some();
    }
}

impl Drop for ByteWriter {
    /// An abandoned stream still ends, so that a 1.9 reader does not wait for more. To it, a body that
    /// broke off looks like one that is complete: its wire has nothing else to say so.
    fn drop(&mut self) {
        let Some(subject) = self.subject.take() else {
            return self.guard.owe_end(&self.path);
        };
        if !self.done && self.guard.exchange.stopped().is_none() {
            self.guard.peer.send_later(DeferredSend {
                offset: self.offset(),
                headers: self.mark(),
                ..DeferredSend::empty(subject)
            });
        }
    }
}
