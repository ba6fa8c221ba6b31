//! The data of an object that is being written.

use std::fmt;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::StreamExt as _;
use futures::stream::BoxStream;

use super::chunks::Chunks;
use super::{BlobError, BlobSettings, PartRoom, PartRoomTaken};

/// What is held of an object, or of another part of it, before there has to be room for it.
const SMALL: usize = 256 << 10;
/// By how much a part grows at a time.
const STEP: usize = 1 << 20;

/// A part, and the room that it takes until it is dropped.
pub type HeldPart = (Bytes, PartRoomTaken);

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

    /// Waits for the next `size` bytes and for room for them; fewer only at the end, and `None` after
    /// it. Room is taken as the data come: while there is none no more than the front of a part is
    /// held, and its writer is held back.
    ///
    /// Who waits for a part may hold another one only while that is on its way to the backend,
    /// since two that hold parts and wait for room would wait for each other.
    ///
    /// # Errors
    ///
    /// As [`Upload::next`], and [`BlobError::Busy`] when no other upload gives its room back.
    pub async fn held_part(
        &mut self,
        size: usize,
        room: &PartRoom,
    ) -> Result<Option<HeldPart>, BlobError> {
        let small = SMALL.min(size);
        let mut taken = room.begin();
        let Some(front) = self.part(small).await? else {
            return Ok(None);
        };
        if front.len() < small {
            return Ok(Some((front, taken)));
        }
        let mut goal = STEP.min(size);
        taken.grow(goal, size, self.idle).await?;
        let mut part = BytesMut::with_capacity(size);
        part.extend_from_slice(&front);
        drop(front);
        while self.fill(&mut part, goal).await? && goal < size {
            // Nothing is taken for what does not come.
            if !self.has_more().await? {
                break;
            }
            goal = (goal + STEP).min(size);
            taken.grow(goal, size, self.idle).await?;
        }
        Ok(Some((part.freeze(), taken.whole())))
    }

    /// Adds to a part until it has `goal` bytes; `false` when the data have ended before.
    async fn fill(&mut self, part: &mut BytesMut, goal: usize) -> Result<bool, BlobError> {
        while part.len() < goal {
            let Some(piece) = self.next().await? else {
                return Ok(false);
            };
            let piece = self.cut(piece, goal - part.len());
            part.extend_from_slice(&piece);
        }
        Ok(true)
    }

    /// Whether there is more; waits until that is known.
    ///
    /// # Errors
    ///
    /// As [`Upload::next`].
    pub async fn has_more(&mut self) -> Result<bool, BlobError> {
        let next = self.next().await?;
        let has_more = next.is_some();
        self.rest = next.unwrap_or_default();
        Ok(has_more)
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

    /// So many pieces of 128 KiB, between which others come to their turns.
    fn pieces(count: usize) -> BoxStream<'static, Result<Bytes, BlobError>> {
        let piece = |_| async {
            tokio::task::yield_now().await;
            Ok(Bytes::from(vec![7; SMALL / 2]))
        };
        futures::stream::iter(0..count).then(piece).boxed()
    }

    fn large(count: usize, settings: &BlobSettings) -> Upload {
        Upload::of(pieces(count), settings)
    }

    /// Takes all parts; while one is on its way the next one is collected.
    async fn taken_in_parts(mut data: Upload, size: usize, room: PartRoom) -> usize {
        let mut next = data.held_part(size, &room).await.unwrap();
        let mut sizes = Vec::new();
        while let Some((part, taken)) = next {
            sizes.push(part.len());
            let sent = async {
                tokio::task::yield_now().await;
                drop((part, taken));
            };
            let ((), collected) = futures::join!(sent, data.held_part(size, &room));
            next = collected.unwrap();
        }
        let last = sizes.pop().unwrap_or_default();
        assert!(sizes.iter().all(|part| *part == size), "{sizes:?}");
        sizes.len() * size + last
    }

    #[tokio::test]
    async fn more_than_the_front_is_taken_when_there_is_room() {
        let settings = BlobSettings::default();
        let room = PartRoom::new(2 * STEP);
        let mut other = large(100, &settings);
        let mut held = Vec::new();
        for _ in 0..2 {
            held.push(other.held_part(STEP, &room).await.unwrap().unwrap());
        }
        let mut data = large(20, &settings);
        {
            let mut first = std::pin::pin!(data.held_part(STEP, &room));
            for _ in 0..100 {
                assert!(futures::poll!(first.as_mut()).is_pending());
            }
            drop(held);
            assert_eq!(first.await.unwrap().unwrap().0.len(), STEP);
        }
        assert!(data.has_more().await.unwrap());
        let (second, _taken) = data.held_part(STEP, &room).await.unwrap().unwrap();
        assert_eq!((second.len(), data.taken()), (STEP, 16 * SMALL as u64 / 2));
    }

    #[tokio::test]
    async fn what_is_small_takes_no_room() {
        let settings = BlobSettings::default();
        let room = PartRoom::new(2 * STEP);
        let mut other = large(100, &settings);
        let _first = other.held_part(STEP, &room).await.unwrap().unwrap();
        let _second = other.held_part(STEP, &room).await.unwrap().unwrap();
        let mut small = upload(&["abc"], &settings);
        let (part, _taken) = small.held_part(STEP, &room).await.unwrap().unwrap();
        assert_eq!(part, "abc");
        assert!(!small.has_more().await.unwrap());
        assert!(small.held_part(STEP, &room).await.unwrap().is_none());
    }

    #[tokio::test]
    async fn slow_uploads_do_not_keep_others_waiting() {
        let settings = BlobSettings::default();
        let (room, size) = (PartRoom::new(32 * STEP), 8 * STEP);
        let mut slow = futures::stream::FuturesUnordered::new();
        for _ in 0..8 {
            let data = pieces(3).chain(futures::stream::pending()).boxed();
            let (mut data, room) = (Upload::of(data, &settings), room.clone());
            slow.push(async move { data.held_part(size, &room).await.map(|_| ()) });
        }
        let fast = taken_in_parts(large(200, &settings), size, room);
        let fast = async { tokio::time::timeout(Duration::from_secs(10), fast).await };
        tokio::select! {
            biased;
            ended = slow.next() => panic!("{ended:?}"),
            taken = fast => assert_eq!(taken.unwrap(), 100 * SMALL),
        }
    }

    #[tokio::test]
    async fn uploads_that_have_begun_parts_at_once_all_come_to_their_ends() {
        let settings = BlobSettings::default();
        // Each begins to take room before another one has all it needs.
        let (room, size) = (PartRoom::new(8 * STEP), 4 * STEP);
        let all = (0..12).map(|_| taken_in_parts(large(100, &settings), size, room.share(size)));
        let all = futures::future::join_all(all);
        let all = tokio::time::timeout(Duration::from_secs(60), all).await;
        assert_eq!(all.unwrap(), [50 * SMALL; 12]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_caller_that_stands_still_is_not_waited_for() {
        let settings = BlobSettings::default();
        let mut data = Upload::of(futures::stream::pending().boxed(), &settings);
        let error = data.next().await.unwrap_err().to_string();
        assert_eq!(error, "the caller gave no data for 30s");
    }
}
