//! Answers that stream.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::StreamExt as _;
use futures::stream::BoxStream;
use lattice_codec::{Path, write};
use lattice_rpc::{ByteWriter, CallError, RemoteError, Responder, ResultStreams};

use super::backend::{Blob, Names};
use super::error::BlobError;
use super::request::{encode_error, encode_outcome};
use super::serve::Version;

/// The largest object that goes with the answer itself.
const INLINE: u64 = 64 << 10;

/// How many bytes of an object are sent in one chunk. A reader tells that it goes on when it takes
/// another one, so that a slow one should have taken it within the limit of silence.
const PIECE: usize = 64 << 10;

/// How many bytes of names are sent in one chunk.
const CHUNK: usize = 32 << 10;

/// Chunks of a stream, ready to be sent but for what comes before and after them all.
type Chunks = BoxStream<'static, Result<Bytes, BlobError>>;

/// How an answer is sent.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) responder: Responder,
    pub(super) version: Version,
    /// How long nothing may move.
    pub(super) idle: Duration,
}

/// How an answer ended that began well.
pub(super) type Sent = Result<(), BlobError>;

impl Answer {
    /// Says why there is nothing to stream.
    pub(super) async fn refuse(self, error: &BlobError) -> Result<(), CallError> {
        let mut out = BytesMut::new();
        encode_error(&mut out, error);
        self.responder.reply(out.freeze()).await
    }

    /// Sends the data of an object.
    pub(super) async fn data(self, blob: Blob) -> Result<Sent, CallError> {
        let Blob { len, data } = blob;
        let checked = whole(len, within(data, self.idle));
        if len > INLINE || !self.responder.takes_items() {
            return self.stream(in_chunks(checked)).await;
        }
        match collect(checked, len).await {
            Ok(data) => self.inline(data).await.map(Ok),
            Err(error) => self.refuse(&error).await.map(|()| Err(error)),
        }
    }

    /// Sends what is all there already. No bytes cannot be sent like this: they would mean that
    /// the stream follows.
    async fn inline(self, data: Bytes) -> Result<(), CallError> {
        let mut out = BytesMut::with_capacity(data.len() + 8);
        write::bool(&mut out, false);
        write::bytes(&mut out, &data);
        if self.version.tells_outcomes() {
            // A future that is there: its mark and its value.
            write::bool(&mut out, true);
            encode_outcome(&mut out, &Ok(()));
        }
        if !data.is_empty() {
            return self.responder.reply(out.freeze()).await;
        }
        let ended = [self.version.stream_path()];
        let replied = self
            .responder
            .reply_streaming(out.freeze(), &ended, false)
            .await;
        replied.map(drop)
    }

    /// Sends the names of objects.
    pub(super) async fn names(self, names: Names) -> Result<Sent, CallError> {
        let names = within(names, self.idle);
        let chunks = names.flat_map(|some| {
            futures::stream::iter(match some {
                Ok(some) => listed(&some).into_iter().map(Ok).collect(),
                Err(error) => vec![Err(error)],
            })
        });
        self.stream(chunks.boxed()).await
    }

    /// Sends the chunks as they come, then the mark of the end, then how it ended.
    async fn stream(self, mut chunks: Chunks) -> Result<Sent, CallError> {
        // The first chunk is waited for, so that what fails at once is an error of the call.
        let first = match chunks.next().await {
            Some(Err(error)) => return self.refuse(&error).await.map(|()| Err(error)),
            Some(Ok(first)) => Some(first),
            None => None,
        };
        let Self {
            responder,
            version,
            idle,
        } = self;
        let streams = responder
            .reply_streaming(version.pending(), &[], true)
            .await?;
        let mut writer = streams.writer(version.stream_path()).await?;
        let mut next = first.map(Ok);
        let mut sent = Ok(());
        while let Some(chunk) = next {
            match chunk {
                Ok(chunk) => put(&mut writer, chunk, idle).await?,
                Err(error) => {
                    sent = Err(error);
                    break;
                }
            }
            next = chunks.next().await;
        }
        drop(chunks);
        if let (Err(error), false) = (&sent, version.tells_outcomes()) {
            // Without a future the stream has to show that it is no whole.
            let error = RemoteError::new(RemoteError::FAILED, error.to_string());
            streams.abort(error).await?;
            return Ok(sent);
        }
        put(&mut writer, Bytes::from_static(&[0]), idle).await?;
        writer.end().await?;
        if version.tells_outcomes() {
            outcome(&streams, version.outcome_path(), &sent, idle).await?;
        }
        Ok(sent)
    }
}

/// Sends the value of a future that tells how something ended.
pub(super) async fn outcome(
    streams: &ResultStreams,
    path: Path,
    sent: &Sent,
    idle: Duration,
) -> Result<(), CallError> {
    let mut writer = streams.writer(path).await?;
    let mut out = BytesMut::new();
    encode_outcome(&mut out, sent);
    put(&mut writer, out.freeze(), idle).await?;
    writer.end().await
}

/// Sends bytes, unless the reader takes none for too long. It may take as long as it likes for all.
async fn put(writer: &mut ByteWriter, mut bytes: Bytes, idle: Duration) -> Result<(), CallError> {
    while !bytes.is_empty() {
        let some = tokio::time::timeout(idle, writer.write_some(&mut bytes));
        some.await.unwrap_or(Err(CallError::Cancelled))?;
    }
    Ok(())
}

/// The data of an object in chunks.
fn in_chunks(data: super::Data) -> Chunks {
    let chunks = data.flat_map(|piece| {
        futures::stream::iter(match piece {
            Ok(piece) => piece.chunks(PIECE).map(|some| Ok(framed(some))).collect(),
            Err(error) => vec![Err(error)],
        })
    });
    chunks.boxed()
}

/// Fails when the backend gives nothing for too long.
fn within<T: Send + 'static>(
    items: BoxStream<'static, Result<T, BlobError>>,
    idle: Duration,
) -> BoxStream<'static, Result<T, BlobError>> {
    let next = move |mut items: BoxStream<'static, Result<T, BlobError>>| async move {
        let stalled = BlobError::Stalled {
            who: "the backend",
            after: idle,
        };
        match tokio::time::timeout(idle, items.next()).await {
            Ok(item) => item.map(|item| (item, items)),
            Err(_) => Some((Err(stalled), futures::stream::empty().boxed())),
        }
    };
    futures::stream::unfold(items, next).boxed()
}

/// Fails when there are more or fewer bytes than were promised.
fn whole(len: u64, data: super::Data) -> super::Data {
    let next = move |(mut data, left): (super::Data, u64)| async move {
        let wrong = |what: &str| {
            let text = format!("the backend gave {what} bytes than the {len} it promised");
            let ended = futures::stream::empty().boxed();
            Some((Err(BlobError::Unavailable(text)), (ended, 0)))
        };
        match data.next().await {
            Some(Ok(piece)) => match left.checked_sub(piece.len() as u64) {
                Some(left) => Some((Ok(piece), (data, left))),
                None => wrong("more"),
            },
            Some(Err(error)) => Some((Err(error), (futures::stream::empty().boxed(), 0))),
            None if left > 0 => wrong("fewer"),
            None => None,
        }
    };
    let pieces = futures::stream::unfold((data, len), next);
    let empty = |piece: &Result<Bytes, _>| matches!(piece, Ok(piece) if piece.is_empty());
    pieces
        .filter(move |piece| std::future::ready(!empty(piece)))
        .boxed()
}

async fn collect(mut data: super::Data, len: u64) -> Result<Bytes, BlobError> {
    let Some(first) = data.next().await.transpose()? else {
        return Ok(Bytes::new());
    };
    if first.len() as u64 == len {
        return Ok(first);
    }
    let mut all = BytesMut::from(first);
    while let Some(piece) = data.next().await.transpose()? {
        all.extend_from_slice(&piece);
    }
    Ok(all.freeze())
}

/// A chunk of bytes.
fn framed(data: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(data.len() + 5);
    write::bytes(&mut out, data);
    out.freeze()
}

/// Chunks of names.
fn listed(names: &[String]) -> Vec<Bytes> {
    let mut chunks = Vec::new();
    let mut some = BytesMut::new();
    let mut count = 0;
    for (at, name) in names.iter().enumerate() {
        write::string(&mut some, name);
        count += 1;
        if some.len() >= CHUNK || at + 1 == names.len() {
            let mut chunk = BytesMut::with_capacity(some.len() + 5);
            write::uleb(&mut chunk, std::mem::take(&mut count));
            chunk.extend_from_slice(&some.split());
            chunks.push(chunk.freeze());
        }
    }
    chunks
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(pieces: &[&'static str]) -> super::super::Data {
        let pieces: Vec<_> = pieces
            .iter()
            .map(|piece| Ok(Bytes::from_static(piece.as_bytes())))
            .collect();
        futures::stream::iter(pieces).boxed()
    }

    async fn all(len: u64, pieces: &[&'static str]) -> Result<Bytes, BlobError> {
        collect(whole(len, data(pieces)), len).await
    }

    #[tokio::test]
    async fn data_have_to_be_as_long_as_promised() {
        assert_eq!(all(5, &["abc", "", "de"]).await.unwrap(), "abcde");
        assert_eq!(all(0, &[]).await.unwrap(), "");
        for (len, what) in [(4, "more"), (6, "fewer")] {
            let error = all(len, &["abc", "de"]).await.unwrap_err().to_string();
            assert!(error.contains(what), "{error}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_backend_is_not_waited_for() {
        let silent = futures::stream::pending::<Result<Bytes, BlobError>>().boxed();
        let mut data = within(silent, Duration::from_secs(3));
        let error = data.next().await.unwrap().unwrap_err().to_string();
        assert_eq!(error, "the backend gave no data for 3s");
        assert!(data.next().await.is_none());
    }

    #[tokio::test]
    async fn data_are_sent_in_chunks() {
        let long: &'static str = "x".repeat(PIECE + 5).leak();
        let mut chunks = in_chunks(data(&["ab", long]));
        let mut sizes = Vec::new();
        while let Some(chunk) = chunks.next().await {
            sizes.push(chunk.unwrap().len());
        }
        // With their counts before them.
        assert_eq!(sizes, [3, PIECE + 3, 6]);
        let broken = BlobError::Other("broken".to_owned());
        let data = futures::stream::iter([Err(broken.clone())]).boxed();
        assert_eq!(in_chunks(data).next().await, Some(Err(broken)));
    }

    #[test]
    fn names_are_sent_in_chunks() {
        assert!(listed(&[]).is_empty());
        assert_eq!(
            listed(&["ab".into(), "c".into()]),
            [&b"\x02\x02ab\x01c"[..]]
        );
        let many: Vec<_> = (0..10_000).map(|n| format!("object-{n}")).collect();
        let chunks = listed(&many);
        assert!(chunks.len() > 3 && chunks.iter().all(|chunk| chunk.len() < CHUNK + 100));
    }
}
