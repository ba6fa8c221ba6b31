//! A component as its blob provider sees it: calls with the bytes of the wire.

use bytes::{Bytes, BytesMut};
use futures::{Stream, StreamExt as _};
use lattice_codec::{Path, Reader, write};
use lattice_core::subject::RpcPrefix;
use lattice_core::{ComponentId, LatticeName};
use lattice_rpc::{BodyReader, BodyWriter, Call, CallError, Invocation, Peer};
use tokio::time::{Duration, Instant};

use super::PATIENCE;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    First,
    Second,
}

impl Version {
    fn instance(self) -> &'static str {
        match self {
            Self::First => "wrpc:blobstore/blobstore@0.1.0",
            Self::Second => "wrpc:blobstore/blobstore@0.2.0",
        }
    }

    fn data_path(self) -> Path {
        match self {
            Self::First => Path::new(vec![0]),
            Self::Second => Path::new(vec![0, 0]),
        }
    }
}

/// Calls a provider. A call that fails as such, rather than with an error of the interface, is
/// an error that begins with `call:`.
#[derive(Debug, Clone)]
pub(crate) struct Component {
    peer: Peer,
    prefix: RpcPrefix,
    source: String,
    version: Version,
    /// How long a call may take until its answer begins.
    deadline: Duration,
}

pub(crate) type Answer<T> = Result<T, String>;

fn failed(error: CallError) -> String {
    format!("call: {error}")
}

fn id(container: &str, object: &str) -> BytesMut {
    let mut out = BytesMut::new();
    write::string(&mut out, container);
    write::string(&mut out, object);
    out
}

fn name(name: &str) -> BytesMut {
    let mut out = BytesMut::new();
    write::string(&mut out, name);
    out
}

/// Says why not, if it did not work.
fn opened(bytes: Bytes) -> Answer<Reader> {
    let mut reader = Reader::new(bytes);
    match reader.result_is_err().unwrap() {
        true => Err(reader.string().unwrap()),
        false => Ok(reader),
    }
}

/// Bytes in pieces of a size.
pub(crate) fn pieces(data: &[u8], size: usize) -> impl Stream<Item = Bytes> + Send + use<> {
    let data: Vec<_> = data.chunks(size).map(Bytes::copy_from_slice).collect();
    futures::stream::iter(data)
}

/// What is read of an object, piece by piece.
pub(crate) struct Reading {
    inline: Option<Bytes>,
    body: Option<BodyReader>,
    call: Call,
    version: Version,
}

impl Reading {
    pub(crate) async fn next(&mut self) -> Option<Answer<Bytes>> {
        if let Some(inline) = self.inline.take() {
            return Some(Ok(inline));
        }
        let next = self.body.as_mut()?.next().await;
        Some(next?.map_err(failed))
    }

    pub(crate) async fn end(self) -> Answer<()> {
        if self.body.is_none() || self.version == Version::First {
            return Ok(());
        }
        let outcome = self.call.reader(Path::new(vec![0, 1]), None);
        let bytes = outcome.collect(1 << 16).await.map_err(failed)?;
        opened(bytes).map(drop)
    }

    pub(crate) async fn all(mut self) -> Answer<Vec<u8>> {
        let mut all = Vec::new();
        while let Some(piece) = self.next().await {
            all.extend_from_slice(&piece?);
        }
        self.end().await.map(|()| all)
    }
}

impl Component {
    pub(crate) fn new(peer: &Peer, provider: &ComponentId, source: &str) -> Self {
        Self {
            peer: peer.clone(),
            prefix: RpcPrefix::new(&LatticeName::default(), provider),
            source: source.to_owned(),
            version: Version::Second,
            deadline: PATIENCE,
        }
    }

    /// The same component, calling in the older version.
    pub(crate) fn old(&self) -> Self {
        Self {
            version: Version::First,
            ..self.clone()
        }
    }

    /// The same component, in more of a hurry.
    pub(crate) fn within(&self, deadline: Duration) -> Self {
        Self {
            deadline,
            ..self.clone()
        }
    }

    pub(crate) async fn start(&self, function: &str, params: BytesMut) -> Answer<Call> {
        let subject = self.prefix.invocation(self.version.instance(), function);
        let deadline = Instant::now() + self.deadline;
        let invocation = Invocation::new(subject, deadline).source(&self.source);
        let called = self.peer.start(invocation, params.freeze(), &[]).await;
        called.map_err(failed)
    }

    async fn plain(&self, function: &str, params: BytesMut) -> Answer<Reader> {
        let mut call = self.start(function, params).await?;
        opened(call.result().await.map_err(failed)?.bytes)
    }

    async fn done(&self, function: &str, params: BytesMut) -> Answer<()> {
        self.plain(function, params).await.map(drop)
    }

    async fn is(&self, function: &str, params: BytesMut) -> Answer<bool> {
        Ok(self.plain(function, params).await?.bool().unwrap())
    }

    pub(crate) async fn create(&self, container: &str) -> Answer<()> {
        self.done("create-container", name(container)).await
    }

    pub(crate) async fn delete_container(&self, container: &str) -> Answer<()> {
        self.done("delete-container", name(container)).await
    }

    pub(crate) async fn clear(&self, container: &str) -> Answer<()> {
        self.done("clear-container", name(container)).await
    }

    pub(crate) async fn exists(&self, container: &str) -> Answer<bool> {
        self.is("container-exists", name(container)).await
    }

    pub(crate) async fn created_at(&self, container: &str) -> Answer<u64> {
        let answer = self.plain("get-container-info", name(container)).await;
        Ok(answer?.u64().unwrap())
    }

    pub(crate) async fn has(&self, container: &str, object: &str) -> Answer<bool> {
        self.is("has-object", id(container, object)).await
    }

    /// When it was created, and its size.
    pub(crate) async fn info(&self, container: &str, object: &str) -> Answer<(u64, u64)> {
        let mut answer = self.plain("get-object-info", id(container, object)).await?;
        Ok((answer.u64().unwrap(), answer.u64().unwrap()))
    }

    pub(crate) async fn delete(&self, container: &str, object: &str) -> Answer<()> {
        self.done("delete-object", id(container, object)).await
    }

    pub(crate) async fn delete_all(&self, container: &str, objects: &[&str]) -> Answer<()> {
        let mut params = name(container);
        write::uleb(&mut params, objects.len() as u64);
        objects
            .iter()
            .for_each(|object| write::string(&mut params, object));
        self.done("delete-objects", params).await
    }

    pub(crate) async fn copy(&self, from: (&str, &str), to: (&str, &str)) -> Answer<()> {
        let mut params = id(from.0, from.1);
        params.extend_from_slice(&id(to.0, to.1));
        self.done("copy-object", params).await
    }

    pub(crate) async fn move_to(&self, from: (&str, &str), to: (&str, &str)) -> Answer<()> {
        let mut params = id(from.0, from.1);
        params.extend_from_slice(&id(to.0, to.1));
        self.done("move-object", params).await
    }

    pub(crate) async fn list(
        &self,
        container: &str,
        offset: Option<u64>,
        limit: Option<u64>,
    ) -> Answer<Vec<String>> {
        let mut params = name(container);
        for number in [limit, offset] {
            write::option(&mut params, number, write::uleb);
        }
        let mut call = self.start("list-container-objects", params).await?;
        let answer = call.result().await.map_err(failed)?;
        opened(answer.bytes)?;
        let names = call.reader(self.version.data_path(), None);
        let mut names = Reader::new(names.collect(64 << 20).await.map_err(failed)?);
        let mut all = Vec::new();
        loop {
            let count = names.count(1).unwrap();
            if count == 0 {
                break;
            }
            all.extend((0..count).map(|_| names.string().unwrap()));
        }
        if self.version == Version::Second {
            let outcome = call.reader(Path::new(vec![0, 1]), None);
            opened(outcome.collect(1 << 16).await.map_err(failed)?)?;
        }
        Ok(all)
    }

    pub(crate) async fn open(
        &self,
        container: &str,
        object: &str,
        start: u64,
        end: u64,
    ) -> Answer<Reading> {
        let mut params = id(container, object);
        write::uleb(&mut params, start);
        write::uleb(&mut params, end);
        let mut call = self.start("get-container-data", params).await?;
        let answer = call.result().await.map_err(failed)?;
        let mut reader = opened(answer.bytes)?;
        let inline = reader.bytes().unwrap();
        let path = self.version.data_path();
        let streams = inline.is_empty() && !answer.ended.contains(&path);
        Ok(Reading {
            inline: Some(inline).filter(|inline| !inline.is_empty()),
            body: streams.then(|| BodyReader::new(call.reader(path, None))),
            call,
            version: self.version,
        })
    }

    pub(crate) async fn read(
        &self,
        container: &str,
        object: &str,
        start: u64,
        end: u64,
    ) -> Answer<Vec<u8>> {
        self.open(container, object, start, end).await?.all().await
    }

    pub(crate) async fn get(&self, container: &str, object: &str) -> Answer<Vec<u8>> {
        self.read(container, object, 0, u64::MAX).await
    }

    /// Begins to write an object.
    pub(crate) async fn begin(&self, container: &str, object: &str) -> Answer<(Call, BodyWriter)> {
        let mut params = id(container, object);
        write::uleb(&mut params, 0);
        let call = self.start("write-container-data", params).await?;
        let writer = BodyWriter::new(call.writer(Path::new(vec![1])));
        Ok((call, writer))
    }

    /// How a write ends.
    pub(crate) async fn written(&self, mut call: Call) -> Answer<()> {
        let answer = call.result().await.map_err(failed)?;
        opened(answer.bytes)?;
        if self.version == Version::First {
            return Ok(());
        }
        let outcome = call.reader(Path::new(vec![0]), None);
        opened(outcome.collect(1 << 16).await.map_err(failed)?).map(drop)
    }

    /// Writes an object from pieces that come one by one.
    pub(crate) async fn write(
        &self,
        container: &str,
        object: &str,
        data: impl Stream<Item = Bytes> + Send + 'static,
    ) -> Answer<()> {
        let (call, mut writer) = self.begin(container, object).await?;
        let send = async move {
            let mut data = std::pin::pin!(data);
            while let Some(piece) = data.next().await {
                writer.write(piece).await?;
            }
            writer.finish(Bytes::new()).await
        };
        // A write that is refused is not read to its end.
        let mut written = std::pin::pin!(self.written(call));
        tokio::select! {
            written = &mut written => return written,
            _ = send => {}
        }
        written.await
    }

    pub(crate) async fn set(&self, container: &str, object: &str, data: &[u8]) -> Answer<()> {
        self.write(container, object, pieces(data, 60_000)).await
    }
}
