//! The data of an object.

use std::ops::Range;
use std::time::Duration;

use async_nats::jetstream::consumer::DeliverPolicy;
use async_nats::jetstream::consumer::pull::Batch;
use bytes::Bytes;
use futures::StreamExt as _;
use lattice_provider_sdk::blobstore::{Blob, BlobError, Data};
use sha2::{Digest as _, Sha256};

use crate::api::failed;
use crate::consumer::Messages;
use crate::container::Container;
use crate::meta::{Meta, digest};

/// How many pieces are asked for at once.
const AHEAD: usize = 4;

/// How far a server that hands pieces over may be behind the others; shorter than it may be silent.
const BEHIND: Duration = Duration::from_secs(3);

/// Reads a range of an object.
pub(crate) async fn read(
    container: Container,
    meta: &Meta,
    range: Range<u64>,
    idle: Duration,
) -> Result<Blob, BlobError> {
    let len = range.end - range.start;
    if len == 0 {
        return Ok(Blob::empty());
    }
    let data = match meta.index() {
        Some(index) if index.all().is_some() => {
            let places = index.all().unwrap_or_default().to_vec();
            by_place(container, meta, &places, index.piece(), &range)
        }
        index => {
            let start = index.and_then(|index| index.before(range.start));
            in_order(container, meta, start, &range, idle).await?
        }
    };
    let is_whole = range.start == 0 && range.end == meta.info.size as u64;
    let data = match meta.info.digest.clone().filter(|_| is_whole) {
        Some(wanted) => checked(data, wanted),
        None => data,
    };
    Ok(Blob { len, data })
}

fn gone() -> BlobError {
    let what = "the object was replaced or deleted while it was read";
    BlobError::Unavailable(what.to_owned())
}

/// Cuts what belongs to a range out of a piece that begins at the byte `at`.
fn cut(piece: &Bytes, at: u64, range: &Range<u64>) -> Bytes {
    let within = |byte: u64| {
        let offset = byte.saturating_sub(at).min(piece.len() as u64);
        usize::try_from(offset).unwrap_or(piece.len())
    };
    piece.slice(within(range.start)..within(range.end))
}

/// Reads pieces whose places are known.
fn by_place(
    container: Container,
    meta: &Meta,
    places: &[u64],
    size: u64,
    range: &Range<u64>,
) -> Data {
    let begins = move |at: usize| (at as u64).saturating_mul(size);
    let wanted = places
        .iter()
        .copied()
        .enumerate()
        .filter(|(at, _)| begins(*at) < range.end && begins(*at + 1) > range.start);
    let wanted: Vec<_> = wanted.collect();
    let subject = container.data_subject(&meta.info.nuid);
    let range = range.clone();
    let pieces = wanted.into_iter().map(move |(at, place)| {
        let (container, subject, range) = (container.clone(), subject.clone(), range.clone());
        async move {
            let piece = container.piece(&subject, place).await?;
            Ok(cut(&piece, begins(at), &range))
        }
    });
    futures::stream::iter(pieces).buffered(AHEAD).boxed()
}

impl Container {
    /// The piece at a place.
    async fn piece(&self, subject: &str, place: u64) -> Result<Bytes, BlobError> {
        // Any server that has a copy may answer, and need not have it yet.
        let found = match self.stream.direct_get(place).await {
            Ok(found) => found,
            Err(_) => match self.stream.get_raw_message(place).await {
                Ok(found) => found,
                Err(_) if !self.nats.backend.is_connected() => {
                    return Err(crate::api::disconnected());
                }
                Err(error) => {
                    return Err(match failed(&self.name, &error) {
                        BlobError::Unavailable(_) => gone(),
                        error => error,
                    });
                }
            },
        };
        match found.subject.as_str() == subject {
            true => Ok(found.payload),
            false => Err(gone()),
        }
    }
}

/// Hands the pieces of an object over in their order.
struct Pieces {
    container: Container,
    /// The name of the object, and what its data are called.
    object: (String, String),
    messages: Messages,
    batch: Option<Batch>,
    /// Where the first piece has to be.
    place: Option<u64>,
    /// The byte that the next piece begins with.
    at: u64,
    range: Range<u64>,
    /// How many came of the present batch.
    came: usize,
    /// Whether the present batch is one that waits.
    waits: bool,
}

/// Reads pieces from a place on, or from the first.
async fn in_order(
    container: Container,
    meta: &Meta,
    start: Option<(u64, u64)>,
    range: &Range<u64>,
    idle: Duration,
) -> Result<Data, BlobError> {
    let begin = match start {
        Some((start_sequence, _)) => DeliverPolicy::ByStartSequence { start_sequence },
        None => DeliverPolicy::All,
    };
    let subject = container.data_subject(&meta.info.nuid);
    let pieces = Pieces {
        messages: Messages::open(container.clone(), subject, begin, idle).await?,
        container,
        object: (meta.info.name.clone(), meta.info.nuid.clone()),
        batch: None,
        place: start.map(|(place, _)| place),
        at: start.map_or(0, |(_, byte)| byte),
        range: range.clone(),
        came: 0,
        waits: false,
    };
    let next = |mut pieces: Pieces| async move {
        let piece = pieces.next().await?;
        Ok(piece.map(|piece| (piece, pieces)))
    };
    Ok(futures::stream::try_unfold(pieces, next).boxed())
}

impl Pieces {
    async fn next(&mut self) -> Result<Option<Bytes>, BlobError> {
        while self.at < self.range.end {
            let piece = self.piece().await?;
            let begin = self.at;
            self.at += piece.len() as u64;
            let wanted = cut(&piece, begin, &self.range);
            if !wanted.is_empty() {
                return Ok(Some(wanted));
            }
        }
        Ok(None)
    }

    async fn piece(&mut self) -> Result<Bytes, BlobError> {
        loop {
            let Some(batch) = &mut self.batch else {
                self.batch = Some(self.messages.ask(AHEAD).await?);
                (self.came, self.waits) = (0, false);
                continue;
            };
            let Some(message) = self.messages.next(batch).await? else {
                self.batch = match self.came {
                    0 => Some(self.wait().await?),
                    _ => None,
                };
                continue;
            };
            self.came += 1;
            let told = message.info().map(|info| info.stream_sequence);
            if let Some(place) = self.place.take()
                && told.ok() != Some(place)
            {
                return Err(gone());
            }
            return Ok(message.message.payload);
        }
    }

    /// Waits for pieces that did not come. Any server that has a copy may hand them over, and need not
    /// have them yet, as long as the object has these data.
    async fn wait(&mut self) -> Result<Batch, BlobError> {
        let (name, data) = &self.object;
        let last = self.container.last_meta(name).await?;
        let is_there = last.is_some_and(|meta| meta.info.nuid == *data && !meta.info.deleted);
        if self.waits || !is_there {
            return Err(gone());
        }
        self.waits = true;
        self.messages.ask_for(AHEAD, BEHIND).await
    }
}

/// Fails at the end when the data are not what was written.
fn checked(data: Data, wanted: String) -> Data {
    let state = Some((data, Sha256::new()));
    let next = move |state: Option<(Data, Sha256)>| {
        let wanted = wanted.clone();
        async move {
            let (mut data, mut sha256) = state?;
            match data.next().await {
                Some(Ok(piece)) => {
                    sha256.update(&piece);
                    Some((Ok(piece), Some((data, sha256))))
                }
                Some(Err(error)) => Some((Err(error), None)),
                None if is_same(&digest(&sha256.finalize()), &wanted) => None,
                None => {
                    let what = "the data are not those that were written: their digest is another";
                    Some((Err(BlobError::Unavailable(what.to_owned())), None))
                }
            }
        }
    };
    futures::stream::unfold(state, next).boxed()
}

/// Some clients leave out the `=` at the end of a digest.
fn is_same(one: &str, other: &str) -> bool {
    one.trim_end_matches('=') == other.trim_end_matches('=')
}
