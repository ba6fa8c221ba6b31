//! Reading what arrives on asynchronous paths: chunks of bytes or of names, and final results.

use bytes::{Buf, Bytes, BytesMut};
use futures::StreamExt as _;
use lattice_codec::{DecodeError, Path, Reader};

use crate::imports::chain;
use crate::{ByteStream, InvokeError, StreamingReply};

/// The longest name of an object, and the longest final result.
const MAX_ITEM: usize = 64 << 10;

fn malformed(error: &DecodeError) -> InvokeError {
    InvokeError::Transport {
        what: format!("the answer is malformed: {error}"),
        source: None,
    }
}

/// Takes the stream of one path out of an answer.
pub(super) fn take(reply: &mut StreamingReply, path: &[u32]) -> Option<ByteStream> {
    let at = reply
        .streams
        .iter()
        .position(|(known, _)| known.indices() == path)?;
    Some(reply.streams.swap_remove(at).1)
}

/// A path.
pub(super) fn path(indices: &[u32]) -> Path {
    Path::new(indices.to_vec())
}

/// The items of a stream: those that were inline, or those of its path.
pub(super) struct Items {
    source: Option<ByteStream>,
    buffer: Bytes,
    /// How many items of the present chunk are still to come.
    left: usize,
}

impl Items {
    /// Items that follow on a path; none when there is nothing on it.
    pub(super) fn pending(source: Option<ByteStream>) -> Self {
        Self {
            source,
            buffer: Bytes::new(),
            left: 0,
        }
    }

    /// Items that are all in `raw`.
    pub(super) fn ready(count: usize, raw: Bytes) -> Self {
        Self {
            source: None,
            buffer: raw,
            left: count,
        }
    }

    /// How many items are left, once all that is to come has come.
    pub(super) fn all_left(&self) -> Option<usize> {
        self.source.is_none().then_some(self.left)
    }

    /// Gets more bytes; false at the end of the path.
    async fn fill(&mut self) -> Result<bool, InvokeError> {
        let Some(source) = &mut self.source else {
            return Ok(false);
        };
        match source.next().await {
            Some(Ok(bytes)) => {
                self.append(bytes);
                Ok(true)
            }
            Some(Err(error)) => {
                self.source = None;
                Err(error)
            }
            None => {
                self.source = None;
                Ok(false)
            }
        }
    }

    fn append(&mut self, bytes: Bytes) {
        if self.buffer.is_empty() {
            self.buffer = bytes;
            return;
        }
        let mut joined = BytesMut::with_capacity(self.buffer.len() + bytes.len());
        joined.extend_from_slice(&self.buffer);
        joined.extend_from_slice(&bytes);
        self.buffer = joined.freeze();
    }

    /// Reads one value, getting bytes as needed; `None` when the path ends in front of it.
    async fn value<T>(
        &mut self,
        read: fn(&mut Reader) -> Result<T, DecodeError>,
    ) -> Result<Option<T>, InvokeError> {
        loop {
            let mut reader = Reader::new(self.buffer.clone()).with_limit(u32::MAX.into());
            match read(&mut reader) {
                Ok(value) => {
                    self.buffer.advance(reader.position());
                    return Ok(Some(value));
                }
                Err(DecodeError::Incomplete { .. }) if self.buffer.len() < MAX_ITEM => {}
                Err(error) => return Err(malformed(&error)),
            }
            let started = !self.buffer.is_empty();
            if !self.fill().await? {
                return if started { Err(cut_off()) } else { Ok(None) };
            }
        }
    }

    /// Goes to the next item; false at the end of the stream.
    async fn advance(&mut self) -> Result<bool, InvokeError> {
        if self.left > 0 {
            return Ok(true);
        }
        if self.source.is_none() && self.buffer.is_empty() {
            return Ok(false);
        }
        self.left = self.value(Reader::u32).await?.unwrap_or(0) as usize;
        Ok(self.left > 0)
    }

    /// The next bytes of a stream of bytes, never none.
    pub(super) async fn next_bytes(&mut self) -> Result<Option<Bytes>, InvokeError> {
        if !self.advance().await? {
            return Ok(None);
        }
        while self.buffer.is_empty() {
            if !self.fill().await? {
                return Err(cut_off());
            }
        }
        let bytes = self.buffer.split_to(self.left.min(self.buffer.len()));
        self.left -= bytes.len();
        Ok(Some(bytes))
    }

    /// The next item of a stream of strings.
    pub(super) async fn next_string(&mut self) -> Result<Option<String>, InvokeError> {
        if !self.advance().await? {
            return Ok(None);
        }
        let item = self.value(Reader::string).await?.ok_or_else(cut_off)?;
        self.left -= 1;
        Ok(Some(item))
    }
}

fn cut_off() -> InvokeError {
    InvokeError::Transport {
        what: "the answer was cut off".to_owned(),
        source: None,
    }
}

/// The final result of an operation: inline, on its path, or not there at all.
pub(super) enum Outcome {
    /// It has arrived.
    Ready(Result<(), String>),
    /// It follows.
    Pending(ByteStream),
}

impl Outcome {
    /// Waits for the result.
    pub(super) async fn wait(self) -> Result<(), String> {
        let source = match self {
            Self::Ready(result) => return result,
            Self::Pending(source) => source,
        };
        Items::pending(Some(source))
            .value(read_result)
            .await
            .and_then(|result| result.ok_or_else(cut_off))
            .map_err(|error| chain(&error))?
    }
}

/// Reads a `result<_, string>`.
pub(super) fn read_result(r: &mut Reader) -> Result<Result<(), String>, DecodeError> {
    Ok(if r.result_is_err()? {
        Err(r.string()?)
    } else {
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::stream;

    fn items(parts: &[&'static [u8]]) -> Items {
        let parts: Vec<_> = parts
            .iter()
            .map(|part| Ok(Bytes::from_static(part)))
            .collect();
        Items::pending(Some(Box::pin(stream::iter(parts))))
    }

    async fn all_bytes(mut items: Items) -> Result<Vec<u8>, InvokeError> {
        let mut all = Vec::new();
        while let Some(bytes) = items.next_bytes().await? {
            all.extend_from_slice(&bytes);
        }
        Ok(all)
    }

    #[tokio::test]
    async fn chunks_are_joined_wherever_messages_are_cut() {
        let whole: &[&'static [u8]] = &[b"\x03abc\x02de\x00"];
        let cut: &[&'static [u8]] = &[b"\x03a", b"b", b"c\x02", b"de", b"\x00"];
        let without_mark: &[&'static [u8]] = &[b"\x05abcde"];
        for parts in [whole, cut, without_mark] {
            assert_eq!(all_bytes(items(parts)).await.unwrap(), b"abcde");
        }
        assert!(all_bytes(items(&[b"\x05abc"])).await.is_err());
        assert_eq!(
            all_bytes(Items::ready(2, Bytes::from_static(b"xy")))
                .await
                .unwrap(),
            b"xy"
        );
    }

    #[tokio::test]
    async fn names_are_read_one_by_one() {
        let mut names = items(&[b"\x02\x01a\x02", b"bc\x01\x01d", b"\x00"]);
        let mut all = Vec::new();
        while let Some(name) = names.next_string().await.unwrap() {
            all.push(name);
        }
        assert_eq!(all, ["a", "bc", "d"]);
    }

    #[tokio::test]
    async fn a_name_without_end_is_refused() {
        let endless = stream::repeat_with(|| Ok(Bytes::from_static(&[b'x'; 4096])));
        let head = stream::iter([Ok(Bytes::from_static(b"\x01\xff\xff\xff\x7f"))]);
        let mut names = Items::pending(Some(Box::pin(head.chain(endless))));
        assert!(names.next_string().await.is_err());
    }
}
