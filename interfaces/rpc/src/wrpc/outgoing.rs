//! Bytes that go out: [`AsyncWrite`] over values and streams of a call.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use futures::future::BoxFuture;
use lattice_codec::Path;
use parking_lot::Mutex;
use tokio::io::AsyncWrite;
use tokio::time::Instant;
use wrpc_transport::Index;

use crate::error::{CallError, RemoteError};
use crate::peer::SlotGuard;
use crate::respond::{Responder, ResultStreams};
use crate::stream::ByteWriter;
use crate::wrpc::{io_error, join, to_path};

/// The answer of a call as it comes into being: the value is collected and sent as one message
/// when it is complete, then its streams may follow.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    responder: Mutex<Option<Responder>>,
    streams: tokio::sync::OnceCell<ResultStreams>,
}

impl Answer {
    pub(crate) fn new(responder: Responder) -> Self {
        Self {
            responder: Mutex::new(Some(responder)),
            streams: tokio::sync::OnceCell::new(),
        }
    }

    async fn send(&self, value: Bytes) -> Result<(), CallError> {
        let Some(responder) = self.responder.lock().take() else {
            return Ok(());
        };
        // A host of 1.9 reads a handle to the end of the results, and not to its own. Where there are
        // handles is not known here, so that its callers are told always. An empty value is its own end.
        let tells_end = !value.is_empty();
        // Streams among the results accept the call when their first byte is written.
        let streams = responder.reply_streaming(value, &[], false).await?;
        if tells_end {
            streams.end().await?;
        }
        self.streams.set(streams).map_err(|_| CallError::Cancelled)
    }

    async fn writer(&self, path: Path) -> Result<ByteWriter, CallError> {
        match self.streams.get() {
            Some(streams) => streams.accepted_writer(path).await,
            None => Err(CallError::Protocol(
                "a stream was written before its answer".to_owned(),
            )),
        }
    }

    /// Fails the call instead of answering it.
    pub(crate) async fn fail(&self, error: RemoteError) -> Result<(), CallError> {
        let responder = self.responder.lock().take();
        match responder {
            Some(responder) => responder.fail(error).await,
            None => Ok(()),
        }
    }
}

#[derive(Clone)]
enum Destination {
    /// Parameters of a call made here. They went out with the request; only streams follow.
    Params(Arc<SlotGuard>, Instant),
    Answer(Arc<Answer>),
}

/// Dropped when the last part of an answer is.
#[derive(Clone)]
struct Held {
    _hold: Arc<tokio::sync::oneshot::Sender<()>>,
}

type Work = BoxFuture<'static, Result<Option<ByteWriter>, CallError>>;

/// The outgoing half of a call, or one stream of it.
pub struct Outgoing {
    destination: Destination,
    prefix: Vec<usize>,
    /// The value that is being collected.
    value: BytesMut,
    writer: Option<ByteWriter>,
    work: Option<std::sync::Mutex<Work>>,
    shut: bool,
    held: Option<Held>,
}

impl std::fmt::Debug for Outgoing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Outgoing")
            .field("path", &self.prefix)
            .finish_non_exhaustive()
    }
}

impl Outgoing {
    pub(crate) fn params(guard: Arc<SlotGuard>, deadline: Instant) -> Self {
        Self::new(Destination::Params(guard, deadline), Vec::new())
    }

    pub(crate) fn answer(answer: Arc<Answer>) -> Self {
        Self::new(Destination::Answer(answer), Vec::new())
    }

    fn new(destination: Destination, prefix: Vec<usize>) -> Self {
        Self {
            destination,
            prefix,
            value: BytesMut::new(),
            writer: None,
            work: None,
            shut: false,
            held: None,
        }
    }

    /// Keeps the serving side waiting until this answer and all its streams are dropped.
    pub(crate) fn holding(mut self, hold: tokio::sync::oneshot::Sender<()>) -> Self {
        self.held = Some(Held {
            _hold: Arc::new(hold),
        });
        self
    }

    fn poll_work(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(work) = &mut self.work else {
            return Poll::Ready(Ok(()));
        };
        let work = work
            .get_mut()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        let done = ready!(work.as_mut().poll(cx));
        self.work = None;
        self.writer = done.map_err(io_error)?;
        Poll::Ready(Ok(()))
    }

    fn begin(&mut self, work: Work) {
        self.work = Some(std::sync::Mutex::new(work));
    }

    fn begin_write(&mut self, data: Bytes) -> io::Result<()> {
        let writer = self.writer.take();
        let path = to_path(&self.prefix).map_err(io::Error::other)?;
        let destination = self.destination.clone();
        self.begin(Box::pin(async move {
            let mut writer = match writer {
                Some(writer) => writer,
                None => open(destination, path).await?,
            };
            match writer.write(data).await {
                // A callee may answer without it, and the call is none the worse for that.
                Err(CallError::Cancelled) if writer.is_unread() => writer.waste().await?,
                written => written?,
            }
            Ok(Some(writer))
        }));
        Ok(())
    }

    fn begin_shutdown(&mut self) -> io::Result<()> {
        if self.prefix.is_empty() {
            if let Destination::Answer(answer) = &self.destination {
                let answer = Arc::clone(answer);
                let value = self.value.split().freeze();
                self.begin(Box::pin(
                    async move { answer.send(value).await.map(|()| None) },
                ));
            }
            return Ok(());
        }
        let writer = self.writer.take();
        let path = to_path(&self.prefix).map_err(io::Error::other)?;
        let destination = self.destination.clone();
        self.begin(Box::pin(async move {
            let mut writer = match writer {
                Some(writer) => writer,
                None => open(destination, path).await?,
            };
            writer.end().await?;
            Ok(None)
        }));
        Ok(())
    }
}

async fn open(destination: Destination, path: Path) -> Result<ByteWriter, CallError> {
    match destination {
        Destination::Params(guard, deadline) => {
            Ok(ByteWriter::to_callee(guard, path, Some(deadline)))
        }
        Destination::Answer(answer) => answer.writer(path).await,
    }
}

impl AsyncWrite for Outgoing {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.prefix.is_empty() {
            return match &self.destination {
                Destination::Answer(_) => {
                    self.value.extend_from_slice(buf);
                    Poll::Ready(Ok(buf.len()))
                }
                Destination::Params(..) if buf.is_empty() => Poll::Ready(Ok(0)),
                Destination::Params(..) => Poll::Ready(Err(io::Error::new(
                    io::ErrorKind::Unsupported,
                    "parameters are complete when the call is made",
                ))),
            };
        }
        ready!(self.poll_work(cx))?;
        self.begin_write(Bytes::copy_from_slice(buf))?;
        // The bytes are taken over; the next write or shutdown waits until they are sent.
        match self.poll_work(cx) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            _ => Poll::Ready(Ok(buf.len())),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_work(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_work(cx))?;
        if !self.shut {
            self.shut = true;
            self.begin_shutdown()?;
        }
        self.poll_work(cx)
    }
}

impl Index<Outgoing> for Outgoing {
    /// The stream at `path`. A 1.9 callee of a call made here is told of its end from now on, also when
    /// it is dropped before anything was written. What comes before is not: a call that ends sooner has
    /// not told which of its parameters are streams.
    fn index(&self, path: &[usize]) -> anyhow::Result<Outgoing> {
        let is_stream = !path.is_empty();
        let path = join(&self.prefix, path);
        let place = to_path(&path)?;
        let mut stream = Self::new(self.destination.clone(), path);
        if let Destination::Params(guard, deadline) = &self.destination
            && is_stream
        {
            let guard = Arc::clone(guard);
            stream.writer = Some(ByteWriter::to_callee(guard, place, Some(*deadline)));
        }
        stream.held = self.held.clone();
        Ok(stream)
    }
}
