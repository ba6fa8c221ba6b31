//! The data of an object that is being written.

use std::fmt;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::StreamExt as _;
use futures::stream::BoxStream;

use super::chunks::Chunks;
use super::{BlobError, BlobSettings, PartRoom, PartRoomTaken};

/// What is held of an object before there has to be room for it.
const SMALL: usize = 256 << 10;

enum Source {
    /// What came with the call itself.
    Ready(Bytes),
    /// What a caller sends.
    Sent(Box<Chunks>),
    /// Anything else, as for tests and copies through the provider.
    Stream(BoxStream<'static, Result<Bytes, BlobError>>),
}

/// The data of an object that is being written, piece by piece.
///
/// Only [`Upload::next`] or [`Upload::part`] saying `None` means that they are all there. The caller
/// is held back while nothing is asked for.
pub struct Upload {
    source: Source,
    /// What was taken of a piece that was longer than asked for.
    rest: Bytes,
    taken: u64,
    limit: u64,
    idle: Duration,
    /// How it ended, once it has.
    ended: Option<Result<(), BlobError>>,
}

impl fmt::Debug for Upload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upload")
            .field("taken", &self.taken)
            .finish_non_exhaustive()
    }
}

impl Upload {
    fn new(source: Source, settings: &BlobSettings) -> Self {
        Self {
            source,
            rest: Bytes::new(),
            taken: 0,
            limit: settings.max_object_bytes,
            idle: settings.stream_idle,
            ended: None,
        }
    }

    pub(super) fn ready(data: Bytes, settings: &BlobSettings) -> Self {
        Self::new(Source::Ready(data), settings)
    }

    pub(super) fn sent(chunks: Chunks, settings: &BlobSettings) -> Self {
        Self::new(Source::Sent(Box::new(chunks)), settings)
    }

    /// Data from elsewhere, such as another object.
    #[must_use]
    pub fn of(data: BoxStream<'static, Result<Bytes, BlobError>>, settings: &BlobSettings) -> Self {
        Self::new(Source::Stream(data), settings)
    }

    /// How many bytes have been taken so far.
    #[must_use]
    pub fn taken(&self) -> u64 {
        self.taken
    }

    async fn pull(&mut self) -> Result<Option<Bytes>, BlobError> {
        match &mut self.source {
            Source::Ready(data) => Ok(Some(std::mem::take(data)).filter(|data| !data.is_empty())),
            Source::Sent(chunks) => chunks.next().await,
            Source::Stream(stream) => {
                // An empty piece would not be the end, but look like it.
                loop {
                    match stream.next().await.transpose()? {
                        Some(piece) if piece.is_empty() => {}
                        piece => return Ok(piece),
                    }
                }
            }
        }
    }

    /// Waits for the next piece, which is never empty; `None` when the data are all there.
    ///
    /// # Errors
    ///
    /// [`BlobError::BrokeOff`] when they come to no proper end, [`BlobError::Stalled`] when nothing
    /// comes, [`BlobError::TooLarge`] beyond what the link allows. There is nothing more then.
    pub async fn next(&mut self) -> Result<Option<Bytes>, BlobError> {
        if !self.rest.is_empty() {
            return Ok(Some(std::mem::take(&mut self.rest)));
        }
        if let Some(ended) = &self.ended {
            return ended.clone().map(|()| None);
        }
        let next = self.pull_in_time().await;
        match &next {
            Ok(Some(_)) => {}
            Ok(None) => self.ended = Some(Ok(())),
            Err(error) => self.ended = Some(Err(error.clone())),
        }
        next
    }

    async fn pull_in_time(&mut self) -> Result<Option<Bytes>, BlobError> {
        let stalled = BlobError::Stalled {
            who: "the caller",
            after: self.idle,
        };
        let pulled = tokio::time::timeout(self.idle, self.pull()).await;
        let piece = pulled.map_err(|_| stalled)??;
        self.taken += piece.as_ref().map_or(0, |piece| piece.len() as u64);
        if self.taken > self.limit {
            return Err(BlobError::TooLarge {
                limit: self.limit,
                whose: "the link (`max_object_bytes`)",
            });
        }
        Ok(piece)
    }

    /// Waits for the next `size` bytes; fewer only at the end, and `None` after it.
    ///
    /// # Errors
    ///
    /// As [`Upload::next`].
    pub async fn part(&mut self, size: usize) -> Result<Option<Bytes>, BlobError> {
        let Some(first) = self.next().await? else {
            return Ok(None);
        };
        if first.len() >= size {
            return Ok(Some(self.cut(first, size)));
        }
        let mut next = self.next().await?;
        if next.is_none() {
            return Ok(Some(first));
        }
        let mut part = BytesMut::with_capacity(size);
        part.extend_from_slice(&first);
        while let Some(piece) = next {
            let missing = size - part.len();
            let piece = self.cut(piece, missing);
            part.extend_from_slice(&piece);
            if part.len() == size {
                break;
            }
            next = self.next().await?;
        }
        Ok(Some(part.freeze()))
    }

    /// Waits for the first `size` bytes, fewer only if that is all, and what room they and another
    /// part take. Before there is room no more than the front of a large object is held, and its
    /// writer is held back.
    ///
    /// # Errors
    ///
    /// As [`Upload::next`].
    pub async fn first_part(
        &mut self,
        size: usize,
        room: &PartRoom,
    ) -> Result<(Bytes, Option<PartRoomTaken>), BlobError> {
        let front = self.part(SMALL.min(size)).await?.unwrap_or_default();
        if front.len() < SMALL.min(size) {
            return Ok((front, None));
        }
        let taken = room.take(size.saturating_mul(2)).await;
        let Some(rest) = self.more(size - front.len()).await? else {
            return Ok((front, Some(taken)));
        };
        let mut part = BytesMut::with_capacity(front.len() + rest.len());
        part.extend_from_slice(&front);
        part.extend_from_slice(&rest);
        Ok((part.freeze(), Some(taken)))
    }

    async fn more(&mut self, size: usize) -> Result<Option<Bytes>, BlobError> {
        match size {
            0 => Ok(None),
            size => self.part(size).await,
        }
    }

    /// The front of a piece; the rest comes next.
    fn cut(&mut self, mut piece: Bytes, size: usize) -> Bytes {
        self.rest = piece.split_off(size.min(piece.len()));
        piece
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn upload(pieces: &[&'static str], settings: &BlobSettings) -> Upload {
        let pieces: Vec<_> = pieces
            .iter()
            .map(|piece| Ok(Bytes::from_static(piece.as_bytes())))
            .collect();
        Upload::of(futures::stream::iter(pieces).boxed(), settings)
    }

    #[tokio::test]
    async fn parts_are_of_the_size_that_is_asked_for() {
        let settings = BlobSettings::default();
        let mut data = upload(&["ab", "cdefghi", "j"], &settings);
        let mut parts = Vec::new();
        while let Some(part) = data.part(4).await.unwrap() {
            parts.push(part);
        }
        assert_eq!(parts, ["abcd", "efgh", "ij"]);
        assert_eq!(data.taken(), 10);
    }

    #[tokio::test]
    async fn data_beyond_the_limit_are_refused() {
        let settings = BlobSettings {
            max_object_bytes: 3,
            ..BlobSettings::default()
        };
        let mut fits = upload(&["abc"], &settings);
        assert_eq!(fits.next().await.unwrap().unwrap(), "abc");
        assert_eq!(fits.next().await, Ok(None));
        let mut long = upload(&["abc", "d"], &settings);
        long.next().await.unwrap();
        let error = long.next().await.unwrap_err();
        assert!(matches!(error, BlobError::TooLarge { limit: 3, .. }));
    }

    #[tokio::test]
    async fn more_than_the_front_is_taken_when_there_is_room() {
        let settings = BlobSettings::default();
        let pieces = (0..40).map(|_| Ok(Bytes::from(vec![7; SMALL / 4])));
        let mut large = Upload::of(futures::stream::iter(pieces).boxed(), &settings);
        let room = PartRoom::new(SMALL * 8);
        let all = room.take(SMALL * 8).await;
        {
            let mut first = std::pin::pin!(large.first_part(SMALL * 4, &room));
            assert!(futures::poll!(first.as_mut()).is_pending());
            drop(all);
            let (first, taken) = first.await.unwrap();
            assert_eq!((first.len(), taken.is_some()), (SMALL * 4, true));
        }
        assert_eq!(
            large.part(SMALL * 4).await.unwrap().unwrap().len(),
            SMALL * 4
        );
        let mut small = upload(&["abc"], &settings);
        let (first, taken) = small.first_part(SMALL, &room).await.unwrap();
        assert_eq!((&first[..], taken.is_none()), (&b"abc"[..], true));
    }

    #[tokio::test(start_paused = true)]
    async fn a_caller_that_stands_still_is_not_waited_for() {
        let settings = BlobSettings::default();
        let mut data = Upload::of(futures::stream::pending().boxed(), &settings);
        let error = data.next().await.unwrap_err().to_string();
        assert_eq!(error, "the caller gave no data for 30s");
    }
}
