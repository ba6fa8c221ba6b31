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

use crate::settings::ConnectionLimits;

/// How many more requests a client may give up than it lets be answered, and within what time.
const MOST_GIVEN_UP: i64 = 256;
const WINDOW: Duration = Duration::from_secs(10);

/// How long a client may take nothing of what there is for it, where connections may not be idle for
/// longer: one that is slow takes some of it now and then only, as its system sees it.
const SHORTEST_STUCK: Duration = Duration::from_secs(60);

/// How long the last words to a client may take.
const LAST_WORDS: Duration = Duration::from_secs(1);

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
    /// Since when nothing is asked, or the head of a request is waited for, in milliseconds.
    since: AtomicU64,
    /// Since when the client takes nothing of what is to be written, in milliseconds and one more; 0 when
    /// nothing is, or it takes it.
    stuck_since: AtomicU64,
    has_begun: AtomicBool,
    has_read: AtomicBool,
    is_h2: AtomicBool,
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
            Poll::Ready(_) if stuck > 0 => self.stuck_since.store(0, Ordering::Relaxed),
            _ => {}
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
            is_answered: false,
        }
    }

    /// A request was given up.
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
        if self.busy.load(Ordering::Relaxed) > 0 {
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
        if !self.is_answered {
            watch.give_up();
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
        self.watch.wrote(&polled);
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
        self.watch.wrote(&polled);
        polled
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.lock().is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: ConnectionLimits = ConnectionLimits {
        header_bytes: 8192,
        header_timeout: Duration::from_secs(1),
        idle_timeout: Duration::from_secs(10),
        streams: 1,
    };

    async fn seconds(watch: &Watch) -> (Ended, u64) {
        let before = Instant::now();
        let ended = watch.wait(&LIMITS).await;
        (ended, before.elapsed().as_secs())
    }

    #[tokio::test(start_paused = true)]
    async fn each_state_has_its_own_limit() {
        let watch = Watch::new();
        assert_eq!(seconds(&watch).await, (Ended::Idle, 10));
        watch.read(b"GET");
        assert_eq!(seconds(&watch).await, (Ended::SlowHead, 1));
        let mut busy = watch.enter();
        let waits = tokio::time::timeout(Duration::from_secs(60), watch.wait(&LIMITS)).await;
        assert!(waits.is_err());
        busy.answered();
        drop(busy);
        assert_eq!(seconds(&watch).await, (Ended::Idle, 10));
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_takes_nothing_is_left() {
        let (client, server) = tokio::io::duplex(16);
        let watch = Watch::new();
        let mut stream = Watched::new(server, Arc::clone(&watch));
        let _busy = watch.enter();
        let write = tokio::spawn(async move { stream.write_all(&[0; 64]).await });
        let (ended, after) = seconds(&watch).await;
        assert_eq!((ended, after / 2), (Ended::SlowReader, 30));
        // One that takes some in time is waited for.
        drop((client, write));
        let (mut client, server) = tokio::io::duplex(16);
        let watch = Watch::new();
        let mut stream = Watched::new(server, Arc::clone(&watch));
        let _busy = watch.enter();
        let write = tokio::spawn(async move { stream.write_all(&[0; 64]).await });
        let read = async {
            for _ in 0..4 {
                tokio::time::sleep(Duration::from_secs(50)).await;
                tokio::io::AsyncReadExt::read_exact(&mut client, &mut [0; 16])
                    .await
                    .unwrap();
            }
        };
        tokio::select! {
            ended = watch.wait(&LIMITS) => panic!("{ended:?}"),
            () = read => {}
        }
        write.await.unwrap().unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn http2_is_never_in_the_middle_of_a_head() {
        let watch = Watch::new();
        watch.read(b"PRI * HTTP/2.0");
        watch.read(b"ping");
        assert_eq!(seconds(&watch).await.0, Ended::Idle);
    }

    #[tokio::test(start_paused = true)]
    async fn giving_up_is_no_flood_where_as_many_are_answered() {
        let watch = Watch::new();
        for _ in 0..10 * MOST_GIVEN_UP {
            watch.enter().answered();
            drop(watch.enter());
            let mut answered = watch.enter();
            answered.answered();
        }
        assert!(watch.due(&LIMITS).is_err());
        for _ in 0..MOST_GIVEN_UP {
            drop(watch.enter());
        }
        tokio::time::advance(2 * WINDOW).await;
        for _ in 0..MOST_GIVEN_UP {
            drop(watch.enter());
        }
        assert!(watch.due(&LIMITS) != Ok(Ended::Flood));
        drop(watch.enter());
        assert_eq!(watch.wait(&LIMITS).await, Ended::Flood);
    }

    #[test]
    fn the_last_words_are_as_long_as_they_say() {
        let text = std::str::from_utf8(TOO_SLOW).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(
            head.contains(&format!("content-length: {}\r\n", body.len())),
            "{}",
            body.len()
        );
    }
}
