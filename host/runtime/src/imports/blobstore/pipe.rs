//! From the guest's output stream to the upload that reads it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use futures::task::AtomicWaker;
use lattice_codec::write;
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamError, StreamResult};

use super::budget::Budget;
use crate::ByteStream;

/// How much may wait while the upload is reading.
const WINDOW: usize = 1 << 20;

/// The most that the guest may write at once.
const WRITE_BUDGET: usize = 64 << 10;

/// What keeping a chunk takes beside its bytes.
const CHUNK: usize = 64;

struct State {
    chunks: VecDeque<Bytes>,
    bytes: usize,
    budget: Budget,
    /// How much may wait: all that the guest may buffer until there is a reader, then little.
    limit: usize,
    /// The guest writes no more.
    closed: bool,
    /// What it has written is all.
    finished: bool,
    reader_gone: bool,
    touched: bool,
}

impl State {
    /// How much more this pipe may hold.
    fn own(&self) -> usize {
        self.limit.saturating_sub(self.bytes)
    }

    /// How much more the guest may write.
    fn free(&self) -> StreamResult<usize> {
        let own = self.own();
        let all = self.budget.free();
        if own > 0 && all == 0 {
            let limit = self.budget.limit();
            return Err(StreamError::LastOperationFailed(wasmtime::format_err!(
                "the values that this call is writing hold {limit} bytes already"
            )));
        }
        Ok(own.min(all))
    }

    fn take(&mut self, bytes: usize) {
        self.bytes += bytes + CHUNK;
        self.budget.take(bytes + CHUNK);
    }

    fn give_back(&mut self, bytes: usize) {
        self.bytes -= bytes + CHUNK;
        self.budget.give_back(bytes + CHUNK);
    }
}

struct Shared {
    state: Mutex<State>,
    writable: AtomicWaker,
    readable: AtomicWaker,
}

/// A pipe with one writer, the guest, and one reader, the upload.
#[derive(Clone)]
pub(super) struct Pipe(Arc<Shared>);

impl Pipe {
    /// A pipe that keeps as much as its call has room for until it is read.
    pub(super) fn new(budget: Budget) -> Self {
        Self(Arc::new(Shared {
            state: Mutex::new(State {
                chunks: VecDeque::new(),
                bytes: 0,
                limit: budget.limit(),
                budget,
                closed: false,
                finished: false,
                reader_gone: false,
                touched: false,
            }),
            writable: AtomicWaker::new(),
            readable: AtomicWaker::new(),
        }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the guest has written is all.
    pub(super) fn finish(&self) {
        let mut state = self.state();
        (state.closed, state.finished) = (true, true);
        drop(state);
        self.0.readable.wake();
    }

    /// Nobody reads any more.
    pub(super) fn abandon(&self) {
        let mut state = self.state();
        state.reader_gone = true;
        state.chunks.clear();
        let held = std::mem::take(&mut state.bytes);
        state.budget.give_back(held);
        drop(state);
        self.0.writable.wake();
    }

    /// Whether something has been read already, so that it cannot be read once more.
    pub(super) fn is_touched(&self) -> bool {
        self.state().touched
    }

    fn poll_take(&self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        self.0.readable.register(cx.waker());
        let mut state = self.state();
        match state.chunks.pop_front() {
            Some(chunk) => {
                state.give_back(chunk.len());
                state.touched = true;
                drop(state);
                self.0.writable.wake();
                Poll::Ready(Some(chunk))
            }
            None if state.finished => Poll::Ready(None),
            // A guest that drops its stream may still drop the value without finishing it.
            None => Poll::Pending,
        }
    }

    /// What is written, as chunks on the wire with the mark of the end.
    pub(super) fn read(&self) -> ByteStream {
        self.state().limit = WINDOW;
        let pipe = self.clone();
        let mut ended = false;
        Box::pin(futures::stream::poll_fn(move |cx| {
            if ended {
                return Poll::Ready(None);
            }
            pipe.poll_take(cx).map(|chunk| {
                Some(Ok(chunk.map_or_else(
                    || {
                        ended = true;
                        Bytes::from_static(&[0])
                    },
                    |chunk| {
                        let mut out = BytesMut::new();
                        write::bytes(&mut out, &chunk);
                        out.freeze()
                    },
                )))
            })
        }))
    }

    fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.0.writable.register(cx.waker());
        let state = self.state();
        if state.bytes < state.limit || state.closed || state.reader_gone {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }
}

/// The writing end, as the guest has it. Dropping it ends the writing, but only finishing the value
/// makes what was written whole.
pub(super) struct Writer {
    pipe: Pipe,
    /// What the guest was told that it may write. It still may when the upload begins, which
    /// leaves the pipe less room than before.
    permitted: usize,
}

impl Writer {
    pub(super) fn new(pipe: Pipe) -> Self {
        Self { pipe, permitted: 0 }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.pipe.state().closed = true;
    }
}

impl OutputStream for Writer {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        let mut state = self.pipe.state();
        if state.closed || state.reader_gone {
            return Err(StreamError::Closed);
        }
        if bytes.len() > WRITE_BUDGET {
            return Err(StreamError::trap("the write exceeds what was permitted"));
        }
        // Whoever has not asked before is held to the same.
        let own = state.own().max(std::mem::take(&mut self.permitted));
        if bytes.len() > own.min(state.budget.free()) {
            state.free()?;
            return Err(StreamError::trap(
                "the write exceeds what there is room for",
            ));
        }
        if !bytes.is_empty() {
            state.take(bytes.len());
            state.chunks.push_back(bytes);
            drop(state);
            self.pipe.0.readable.wake();
        }
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        let state = self.pipe.state();
        if state.closed || state.reader_gone {
            return Err(StreamError::Closed);
        }
        self.permitted = state.free()?.min(WRITE_BUDGET);
        Ok(self.permitted)
    }
}

#[async_trait::async_trait]
impl Pollable for Writer {
    async fn ready(&mut self) {
        std::future::poll_fn(|cx| self.pipe.poll_writable(cx)).await;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use futures::StreamExt as _;

    #[tokio::test]
    async fn what_is_written_arrives_as_chunks_and_ends() {
        let pipe = Pipe::new(Budget::new(1000));
        let mut writer = Writer::new(pipe.clone());
        writer.write(Bytes::from_static(b"ab")).unwrap();
        assert!(!pipe.is_touched());
        let mut read = pipe.read();
        drop(writer);
        assert_eq!(read.next().await.unwrap().unwrap(), b"\x02ab"[..]);
        let more = tokio::time::timeout(Duration::from_millis(20), read.next());
        assert!(more.await.is_err(), "the value is not finished");
        pipe.finish();
        let parts: Vec<Bytes> = read.map(Result::unwrap).collect().await;
        assert_eq!(parts.concat(), b"\x00");
        assert!(pipe.is_touched());
    }

    #[tokio::test]
    async fn all_pipes_of_a_call_share_what_it_may_hold() {
        let budget = Budget::new(10 + 2 * CHUNK);
        let (one, other) = (Pipe::new(budget.clone()), Pipe::new(budget));
        let (mut one, mut other_end) = (Writer::new(one), Writer::new(other.clone()));
        one.write(Bytes::from_static(b"sixsix")).unwrap();
        assert_eq!(other_end.check_write().unwrap(), 4 + CHUNK);
        other_end.write(Bytes::from_static(b"four")).unwrap();
        let refused = other_end.check_write();
        assert!(
            matches!(refused, Err(StreamError::LastOperationFailed(_))),
            "{refused:?}"
        );
        assert!(other_end.write(Bytes::from_static(b"more")).is_err());
        other.abandon();
        assert_eq!(one.check_write().unwrap(), 4 + CHUNK);
        let long = Bytes::from(vec![0; 5 + CHUNK]);
        assert!(matches!(one.write(long), Err(StreamError::Trap(_))));
    }

    #[tokio::test]
    async fn what_was_permitted_may_be_written_when_the_upload_has_begun() {
        let pipe = Pipe::new(Budget::new(4 * WINDOW));
        let mut writer = Writer::new(pipe.clone());
        for _ in 0..2 * WINDOW / WRITE_BUDGET {
            writer.write(Bytes::from(vec![0; WRITE_BUDGET])).unwrap();
        }
        assert_eq!(writer.check_write().unwrap(), WRITE_BUDGET);
        let _read = pipe.read();
        writer.write(Bytes::from(vec![0; WRITE_BUDGET])).unwrap();
        assert_eq!(writer.check_write().unwrap(), 0);
        assert!(writer.write(Bytes::from_static(b"more")).is_err());
    }

    #[tokio::test]
    async fn a_full_pipe_lets_the_guest_wait_and_an_abandoned_one_ends_it() {
        let pipe = Pipe::new(Budget::new(3 + CHUNK));
        let mut writer = Writer::new(pipe.clone());
        writer.write(Bytes::from_static(b"abc")).unwrap();
        assert_eq!(writer.check_write().unwrap(), 0);
        pipe.abandon();
        writer.ready().await;
        assert!(matches!(writer.check_write(), Err(StreamError::Closed)));
    }
}
