//! What is going on on a connection, so that one on which too little or too much happens can be
//! ended.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use crate::farewell::LAST_WORDS;
use crate::settings::ConnectionLimits;

/// How many more requests a client may give up than it lets be answered, and within what time.
const MOST_GIVEN_UP: i64 = 256;
const WINDOW: Duration = Duration::from_secs(10);

/// How soon a request is given up that counts for that: a client that has waited longer wanted its
/// answer, and one connection of a proxy carries the requests of many.
const EARLY: Duration = Duration::from_secs(1);

/// What is written to keep an HTTP/2 connection up, as a ping now and then, is shorter than this: that
/// the client takes it does not say that it uses the connection.
const UPKEEP: usize = 64;

/// How long a client may take nothing of what there is for it, where connections may not be idle for
/// longer: one that is slow takes some of it now and then only, as its system sees it.
const SHORTEST_STUCK: Duration = Duration::from_secs(60);

/// Told to a client that is too slow with the head of its request.
const TOO_SLOW: &[u8] = b"HTTP/1.1 408 Request Timeout\r\n\
    content-type: text/plain; charset=utf-8\r\ncontent-length: 52\r\nconnection: close\r\n\r\n\
    head-timeout: the head of the request took too long\n";

/// Why a connection is ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// Nothing has been asked for a while.
    Idle,
    /// A request was begun, but its head does not come.
    SlowHead,
    /// More and more requests are begun and given up.
    Flood,
    /// The client takes nothing of what there is for it.
    SlowReader,
}

/// Knows what one connection does.
#[derive(Debug)]
pub(crate) struct Watch {
    base: Instant,
    /// Requests whose answers are not sent yet.
    busy: AtomicU32,
    /// Since when nothing is asked and no answer taken, or the head of a request is waited for, in
    /// milliseconds.
    since: AtomicU64,
    /// Since when the client takes nothing of what is to be written, in milliseconds and one more; 0 when
    /// nothing is, or it takes it.
    stuck_since: AtomicU64,
    has_begun: AtomicBool,
    has_read: AtomicBool,
    is_h2: AtomicBool,
    /// Whether the last request had a body, of which some may not have been read.
    has_body: AtomicBool,
    /// Requests given up less those answered, and since when they are counted, in milliseconds.
    given_up: AtomicI64,
    counted_since: AtomicU64,
    /// Told when these are too many.
    flood: Notify,
}

impl Watch {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            base: Instant::now(),
            busy: AtomicU32::new(0),
            since: AtomicU64::new(0),
            stuck_since: AtomicU64::new(0),
            has_begun: AtomicBool::new(false),
            has_read: AtomicBool::new(false),
            is_h2: AtomicBool::new(false),
            has_body: AtomicBool::new(false),
            given_up: AtomicI64::new(0),
            counted_since: AtomicU64::new(0),
            flood: Notify::new(),
        })
    }

    fn now(&self) -> u64 {
        u64::try_from(self.base.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Bytes have come.
    fn read(&self, bytes: &[u8]) {
        if !self.has_read.swap(true, Ordering::Relaxed) {
            // The first of them tell the version.
            self.is_h2
                .store(bytes.starts_with(b"PRI"), Ordering::Relaxed);
        }
        if self.busy.load(Ordering::Relaxed) == 0 && !self.has_begun.swap(true, Ordering::Relaxed) {
            self.since.store(self.now(), Ordering::Relaxed);
        }
    }

    /// Something was written as far as it could be, or had to wait for the client.
    fn wrote<T>(&self, polled: &Poll<io::Result<T>>) {
        let stuck = self.stuck_since.load(Ordering::Relaxed);
        match polled {
            Poll::Pending if stuck == 0 => {
                self.stuck_since.store(self.now() + 1, Ordering::Relaxed)
            }
            Poll::Ready(_) if stuck > 0 => {
                self.stuck_since.store(0, Ordering::Relaxed);
                self.since.store(self.now(), Ordering::Relaxed);
            }
            _ => {}
        }
    }

    /// As many bytes were taken, or none could be. Those of an answer still come when its request is no
    /// longer known of.
    fn took(&self, polled: &Poll<io::Result<usize>>) {
        self.wrote(polled);
        let least = match self.is_h2.load(Ordering::Relaxed) {
            true => UPKEEP,
            false => 1,
        };
        if let Poll::Ready(Ok(bytes)) = polled
            && *bytes >= least
            && self.busy.load(Ordering::Relaxed) == 0
        {
            self.since.store(self.now(), Ordering::Relaxed);
        }
    }

    /// When the client has taken nothing for too long.
    fn stuck_until(&self, limits: &ConnectionLimits) -> Option<Instant> {
        let since = self.stuck_since.load(Ordering::Relaxed).checked_sub(1)?;
        let limit = limits.idle_timeout.max(SHORTEST_STUCK);
        Some(self.base + Duration::from_millis(since) + limit)
    }

    /// A request is there.
    pub(crate) fn enter(self: &Arc<Self>) -> Busy {
        self.busy.fetch_add(1, Ordering::Relaxed);
        Busy {
            watch: Arc::clone(self),
            begun: self.now(),
            is_answered: false,
        }
    }

    /// The request has a body or has none.
    pub(crate) fn expects_body(&self, has_body: bool) {
        self.has_body.store(has_body, Ordering::Relaxed);
    }

    /// Whether the client may still be sending a body that nobody reads. In HTTP/2 it is told to stop.
    pub(crate) fn may_be_sending(&self) -> bool {
        self.has_body.load(Ordering::Relaxed) && !self.is_h2.load(Ordering::Relaxed)
    }

    /// A request was given up as soon as it was there.
    fn give_up(&self) {
        let now = self.now();
        let since = self.counted_since.load(Ordering::Relaxed);
        if now.saturating_sub(since) > WINDOW.as_millis() as u64 {
            self.counted_since.store(now, Ordering::Relaxed);
            self.given_up.store(0, Ordering::Relaxed);
        }
        if self.given_up.fetch_add(1, Ordering::Relaxed) >= MOST_GIVEN_UP {
            self.flood.notify_one();
        }
    }

    /// Why the connection is to be ended now, or else when to look again.
    fn due(&self, limits: &ConnectionLimits) -> Result<Ended, Instant> {
        if self.given_up.load(Ordering::Relaxed) > MOST_GIVEN_UP {
            return Ok(Ended::Flood);
        }
        if self
            .stuck_until(limits)
            .is_some_and(|until| until <= Instant::now())
        {
            return Ok(Ended::SlowReader);
        }
        let begins = self.has_begun.load(Ordering::Relaxed) && !self.is_h2.load(Ordering::Relaxed);
        let (limit, ended) = if begins {
            (limits.header_timeout, Ended::SlowHead)
        } else {
            (limits.idle_timeout, Ended::Idle)
        };
        // An answer that the client still takes may be that of a request that is no longer known of.
        let is_stuck = self.stuck_since.load(Ordering::Relaxed) > 0;
        if is_stuck || self.busy.load(Ordering::Relaxed) > 0 {
            return Err(Instant::now() + limits.header_timeout.min(limits.idle_timeout));
        }
        let since = Duration::from_millis(self.since.load(Ordering::Relaxed));
        let until = self.base + since + limit;
        if until <= Instant::now() {
            return Ok(ended);
        }
        // What begins in between has its own limit.
        Err(until.min(Instant::now() + limits.header_timeout))
    }

    /// Waits until the connection is to be ended.
    pub(crate) async fn wait(&self, limits: &ConnectionLimits) -> Ended {
        loop {
            match self.due(limits) {
                Ok(ended) => return ended,
                // It looks again at whatever comes first.
                Err(later) => drop(timeout_at(later, self.flood.notified()).await),
            }
        }
    }
}

/// A request that is not answered yet.
#[derive(Debug)]
pub(crate) struct Busy {
    watch: Arc<Watch>,
    /// When it came, in milliseconds.
    begun: u64,
    is_answered: bool,
}

impl Busy {
    /// The head of the answer is there.
    pub(crate) fn answered(&mut self) {
        self.is_answered = true;
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        let watch = &self.watch;
        let age = Duration::from_millis(watch.now().saturating_sub(self.begun));
        if !self.is_answered {
            if age < EARLY {
                watch.give_up();
            }
        } else if watch.given_up.load(Ordering::Relaxed) > 0 {
            watch.given_up.fetch_sub(1, Ordering::Relaxed);
        }
        watch.since.store(watch.now(), Ordering::Relaxed);
        watch.has_begun.store(false, Ordering::Relaxed);
        watch.busy.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A stream that tells its watch of what comes, and can still be written to when whoever reads it
/// is gone.
#[derive(Debug)]
pub(crate) struct Watched<S> {
    stream: Arc<Mutex<S>>,
    watch: Arc<Watch>,
}

impl<S> Clone for Watched<S> {
    fn clone(&self) -> Self {
        Self {
            stream: Arc::clone(&self.stream),
            watch: Arc::clone(&self.watch),
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Watched<S> {
    pub(crate) fn new(stream: S, watch: Arc<Watch>) -> Self {
        Self {
            stream: Arc::new(Mutex::new(stream)),
            watch,
        }
    }

    /// Tells a client that it was too slow, and closes the stream.
    pub(crate) async fn refuse(mut self) {
        let told = async {
            self.write_all(TOO_SLOW).await?;
            self.shutdown().await
        };
        if let Ok(Err(error)) = tokio::time::timeout(LAST_WORDS, told).await {
            tracing::debug!(%error, "could not tell a client that it was too slow");
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut *self.stream.lock()).poll_read(cx, buf);
        if polled.is_ready() && buf.filled().len() > before {
            self.watch.read(&buf.filled()[before..]);
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut *self.stream.lock()).poll_write(cx, data);
        self.watch.took(&polled);
        polled
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut *self.stream.lock()).poll_flush(cx);
        self.watch.wrote(&polled);
        polled
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.stream.lock()).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut *self.stream.lock()).poll_write_vectored(cx, data);
        self.watch.took(&polled);
        polled
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.lock().is_write_vectored()
    }
}

#[cfg(test)]
mod tests;
