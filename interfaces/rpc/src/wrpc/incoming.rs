//! Bytes that come in: [`AsyncRead`] over values and streams of a call.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use futures::future::BoxFuture;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::sync::Mutex;
use tokio::time::Instant;
use wrpc_transport::Index;

use crate::call::Call;
use crate::error::CallError;
use crate::peer::SlotGuard;
use crate::respond::Inbound;
use crate::stream::ByteReader;
use crate::wrpc::{io_error, join, to_path};

/// Where the slot of the call comes from.
#[derive(Clone)]
enum Origin {
    /// A call that was made here.
    Made(Arc<SlotGuard>),
    /// A call that is answered here; the slot is taken, and the call accepted, when a stream of
    /// its parameters is first read.
    Taken(Arc<Inbound>),
}

enum Source {
    /// The value has to be waited for.
    Value(BoxFuture<'static, Result<Bytes, CallError>>),
    /// A stream whose slot has to be waited for.
    Opening(BoxFuture<'static, Result<ByteReader, CallError>>),
    Stream(ByteReader),
    Ended,
}

/// The incoming half of a call, or one stream of it.
pub struct Incoming {
    origin: Origin,
    prefix: Vec<usize>,
    deadline: Option<Instant>,
    buffer: Bytes,
    source: std::sync::Mutex<Source>,
}

impl std::fmt::Debug for Incoming {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Incoming")
            .field("path", &self.prefix)
            .finish_non_exhaustive()
    }
}

impl Incoming {
    /// The results of a call that was made here.
    pub(crate) fn results(
        guard: Arc<SlotGuard>,
        call: Arc<Mutex<Call>>,
        deadline: Instant,
    ) -> Self {
        let value = async move { call.lock().await.result().await.map(|result| result.bytes) };
        Self {
            origin: Origin::Made(guard),
            prefix: Vec::new(),
            deadline: Some(deadline),
            buffer: Bytes::new(),
            source: std::sync::Mutex::new(Source::Value(Box::pin(value))),
        }
    }

    /// The parameters of a call that is answered here; they are all there.
    pub(crate) fn params(inbound: Arc<Inbound>, all: Bytes, deadline: Instant) -> Self {
        Self {
            origin: Origin::Taken(inbound),
            prefix: Vec::new(),
            deadline: Some(deadline),
            buffer: all,
            source: std::sync::Mutex::new(Source::Ended),
        }
    }

    fn open(&self, path: Vec<usize>) -> anyhow::Result<Self> {
        let at = to_path(&path)?;
        let origin = self.origin.clone();
        let deadline = self.deadline;
        let opening = async move {
            let guard = match origin {
                Origin::Made(guard) => guard,
                Origin::Taken(inbound) if inbound.ended().contains(&at) => {
                    Arc::clone(inbound.slot().await?)
                }
                Origin::Taken(inbound) => Arc::clone(inbound.accept().await?),
            };
            Ok(ByteReader::new(guard, at, deadline))
        };
        Ok(Self {
            origin: self.origin.clone(),
            prefix: path,
            deadline,
            buffer: Bytes::new(),
            source: std::sync::Mutex::new(Source::Opening(Box::pin(opening))),
        })
    }

    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // The lock only makes the futures shareable; `&mut self` means that nobody else holds it.
        let source = self
            .source
            .get_mut()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        loop {
            match source {
                Source::Ended => return Poll::Ready(Ok(())),
                Source::Value(value) => {
                    let value = ready!(value.as_mut().poll(cx));
                    *source = Source::Ended;
                    self.buffer = value.map_err(io_error)?;
                    return Poll::Ready(Ok(()));
                }
                Source::Opening(opening) => match ready!(opening.as_mut().poll(cx)) {
                    Ok(reader) => *source = Source::Stream(reader),
                    Err(error) => {
                        *source = Source::Ended;
                        return Poll::Ready(Err(io_error(error)));
                    }
                },
                Source::Stream(reader) => {
                    match ready!(reader.poll_next(cx)) {
                        Some(data) => self.buffer = data.map_err(io_error)?,
                        None => *source = Source::Ended,
                    }
                    return Poll::Ready(Ok(()));
                }
            }
        }
    }
}

impl AsyncRead for Incoming {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.buffer.is_empty() {
            ready!(self.poll_fill(cx))?;
        }
        let n = self.buffer.len().min(buf.remaining());
        buf.put_slice(&self.buffer[..n]);
        self.buffer.advance(n);
        Poll::Ready(Ok(()))
    }
}

impl Index<Incoming> for Incoming {
    fn index(&self, path: &[usize]) -> anyhow::Result<Incoming> {
        self.open(join(&self.prefix, path))
    }
}
