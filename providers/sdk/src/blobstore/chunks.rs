//! The chunks of a `stream<u8>` that a caller sends.

use bytes::{Buf as _, Bytes};
use lattice_core::reply::message_chain;
use lattice_rpc::ByteReader;

use super::BlobError;

/// Reads chunks to the mark that ends them.
///
/// Whoever writes an object to its end sends the mark, peers of the 1.9 lattice too. A stream that
/// ends without it has broken off, and what it brought is no object.
#[derive(Debug)]
pub(super) struct Chunks {
    source: ByteReader,
    count: Count,
}

impl Chunks {
    pub(super) fn new(source: ByteReader) -> Self {
        Self {
            source,
            count: Count::default(),
        }
    }

    /// The next bytes, never none; `None` after the mark.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, BlobError> {
        loop {
            if let Some(piece) = self.count.piece()? {
                return Ok(Some(piece));
            }
            if self.count.ended {
                return Ok(None);
            }
            match self.source.next().await {
                Some(Ok(bytes)) => self.count.buffer = bytes,
                Some(Err(error)) => return Err(BlobError::BrokeOff(message_chain(&error))),
                None => {
                    let why = "its stream ended without the mark of the end";
                    return Err(BlobError::BrokeOff(why.to_owned()));
                }
            }
        }
    }
}

/// Where in the chunks the reader is.
#[derive(Debug, Default)]
struct Count {
    /// What has come and was not looked at yet.
    buffer: Bytes,
    /// What is left of the present chunk.
    left: usize,
    /// The bits of a count that has come in part.
    bits: u64,
    shift: u32,
    ended: bool,
}

impl Count {
    /// The next bytes of what has come.
    fn piece(&mut self) -> Result<Option<Bytes>, BlobError> {
        while !self.ended && !self.buffer.is_empty() {
            if self.left > 0 {
                let piece = self.buffer.split_to(self.left.min(self.buffer.len()));
                self.left -= piece.len();
                return Ok(Some(piece));
            }
            self.read_count()?;
        }
        Ok(None)
    }

    fn read_count(&mut self) -> Result<(), BlobError> {
        while self.buffer.has_remaining() {
            let byte = self.buffer.get_u8();
            self.bits |= u64::from(byte & 0x7f) << self.shift;
            self.shift += 7;
            if byte & 0x80 == 0 {
                let count = std::mem::take(&mut self.bits);
                self.shift = 0;
                self.ended = count == 0;
                self.left = usize::try_from(count).map_err(|_| no_count())?;
                return Ok(());
            }
            if self.shift >= 35 {
                return Err(no_count());
            }
        }
        Ok(())
    }
}

fn no_count() -> BlobError {
    BlobError::BrokeOff("a chunk of its stream has no proper length".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(parts: &[&'static [u8]]) -> Result<(Vec<Bytes>, bool), BlobError> {
        let mut count = Count::default();
        let mut all = Vec::new();
        for part in parts {
            count.buffer = Bytes::from_static(part);
            while let Some(piece) = count.piece()? {
                all.push(piece);
            }
        }
        Ok((all, count.ended))
    }

    #[test]
    fn chunks_are_read_wherever_messages_are_cut() {
        let parts: [&[&'static [u8]]; 3] = [
            &[b"\x03abc\x02de\x00"],
            &[b"\x03a", b"bc\x02", b"de", b"\x00"],
            &[b"\x83", b"\x00abc\x02de\x00"],
        ];
        for parts in parts {
            let (pieces, ended) = pieces(parts).unwrap();
            assert_eq!(pieces.concat(), b"abcde");
            assert!(ended);
        }
    }

    #[test]
    fn without_the_mark_there_is_no_end() {
        assert!(!pieces(&[b"\x03abc"]).unwrap().1);
        assert!(!pieces(&[]).unwrap().1);
        assert!(pieces(&[b"\xff\xff\xff\xff\xff\xff"]).is_err());
    }
}
