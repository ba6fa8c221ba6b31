//! `stream<u8>` over a byte stream: chunks of a count and raw bytes, ended by a zero count.

use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes, BytesMut};
use lattice_codec::{DecodeError, write};

use crate::error::CallError;
use crate::stream::{ByteReader, ByteWriter};

/// Reads the chunks of a `stream<u8>`.
#[derive(Debug)]
pub struct BodyReader {
    source: ByteReader,
    /// Bytes received but not looked at yet.
    buffer: Bytes,
    /// What is left of the chunk that is being read.
    left: usize,
    /// A count of which only a part has arrived.
    count: u64,
    shift: u32,
    ended: bool,
}

impl BodyReader {
    /// Reads chunks from `source`.
    pub fn new(source: ByteReader) -> Self {
        Self {
            source,
            buffer: Bytes::new(),
            left: 0,
            count: 0,
            shift: 0,
            ended: false,
        }
    }

    /// Polls for the next bytes of the body; `None` at its end.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, CallError>>> {
        while !self.ended {
            if self.buffer.is_empty() {
                match ready!(self.source.poll_next(cx)) {
                    Some(Ok(data)) => self.buffer = data,
                    Some(Err(error)) => {
                        self.ended = true;
                        return Poll::Ready(Some(Err(error)));
                    }
                    None => {
                        self.ended = true;
                        let wrong = self.cut_off().or_else(|| self.source.without_mark());
                        return Poll::Ready(wrong.map(Err));
                    }
                }
                continue;
            }
            if self.left > 0 {
                let part = self.buffer.split_to(self.left.min(self.buffer.len()));
                self.left -= part.len();
                return Poll::Ready(Some(Ok(part)));
            }
            if let Err(error) = self.read_count() {
                self.ended = true;
                return Poll::Ready(Some(Err(error.into())));
            }
        }
        Poll::Ready(None)
    }

    /// An empty message may stand for the end of a 1.9 peer's stream, but not within a chunk.
    fn cut_off(&self) -> Option<CallError> {
        let inside = self.left > 0 || self.shift > 0;
        inside.then_some(CallError::Decode(DecodeError::Incomplete {
            needed: self.left.max(1),
        }))
    }

    /// Reads as much of a count as there is.
    fn read_count(&mut self) -> Result<(), DecodeError> {
        while self.buffer.has_remaining() {
            let byte = self.buffer.get_u8();
            if self.shift >= 35 {
                return Err(DecodeError::IntegerOverflow { bits: 32 });
            }
            self.count |= u64::from(byte & 0x7f) << self.shift;
            self.shift += 7;
            if byte & 0x80 == 0 {
                let count = std::mem::take(&mut self.count);
                self.shift = 0;
                self.ended = count == 0;
                if self.ended {
                    self.source.has_all();
                }
                self.left = usize::try_from(count)
                    .ok()
                    .filter(|_| count <= u64::from(u32::MAX))
                    .ok_or(DecodeError::IntegerOverflow { bits: 32 })?;
                return Ok(());
            }
        }
        Ok(())
    }

    /// Waits for the next bytes of the body; `None` at its end.
    pub async fn next(&mut self) -> Option<Result<Bytes, CallError>> {
        std::future::poll_fn(|cx| self.poll_next(cx)).await
    }
}

/// Writes the chunks of a `stream<u8>`.
#[derive(Debug)]
pub struct BodyWriter {
    sink: ByteWriter,
}

impl BodyWriter {
    /// Writes chunks to `sink`.
    pub fn new(sink: ByteWriter) -> Self {
        Self { sink }
    }

    /// Sends one chunk. An empty one is left out, since it would mean the end.
    ///
    /// # Errors
    ///
    /// As [`ByteWriter::write`].
    pub async fn write(&mut self, data: Bytes) -> Result<(), CallError> {
        if data.is_empty() {
            return Ok(());
        }
        let mut framed = BytesMut::with_capacity(data.len() + 5);
        write::bytes(&mut framed, &data);
        self.sink.write(framed.freeze()).await
    }

    /// As [`ByteWriter::left`].
    pub(crate) fn left(&self) -> impl Future<Output = CallError> + Send + use<> {
        self.sink.left()
    }

    /// As [`ByteWriter::broke_off`].
    pub(crate) fn broke_off(&mut self) {
        self.sink.broke_off();
    }

    /// Sends the last chunk, if any, and the end of the stream in one message.
    ///
    /// # Errors
    ///
    /// As [`ByteWriter::write`].
    pub async fn finish(mut self, last: Bytes) -> Result<(), CallError> {
        let mut framed = BytesMut::with_capacity(last.len() + 6);
        if !last.is_empty() {
            write::bytes(&mut framed, &last);
        }
        write::uleb(&mut framed, 0);
        self.sink.finish(framed.freeze()).await
    }
}
