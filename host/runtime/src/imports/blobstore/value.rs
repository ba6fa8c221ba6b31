//! `types`: values that are written and values that were read.

use std::pin::Pin;

use bytes::{Bytes, BytesMut};
use futures::{Stream, StreamExt as _};
use lattice_codec::{Reader, write};
use wasmtime::component::{Linker, LinkerInstance, Resource, ResourceType};
use wasmtime_wasi::p2::{
    DynInputStream, DynOutputStream, InputStream, Pollable, StreamError, StreamResult,
};
use wasmtime_wasi::runtime::{AbortOnDropJoinHandle, poll_noop, spawn};

use super::ahead::Ahead;
use super::budget::{Budget, Held};
use super::chunks::{Items, Outcome, path, read_result, take};
use super::pipe::{Pipe, Writer};
use super::{INSTANCES, ObjectId, remote_failure};
use crate::codec::Plan;
use crate::imports::{FromInvoke as _, chain};
use crate::outbound::{Outbound, Target};
use crate::store::Ctx;
use crate::wire::Wire as _;
use crate::{InvokeError, Shape};

/// `outgoing-value`: what the guest wants to store.
pub(super) struct OutgoingValue {
    pipe: Pipe,
    /// The end that the guest writes to, until it asks for it.
    writer: Option<Writer>,
    upload: Option<AbortOnDropJoinHandle<Result<(), String>>>,
}

/// `incoming-value`: what was asked for.
pub(super) struct IncomingValue {
    pub(super) data: BlobData,
    pub(super) id: ObjectId,
    pub(super) start: u64,
    pub(super) end: u64,
}

/// The data of an object, and how reading it ended.
pub(super) struct BlobData {
    items: Items,
    outcome: Option<Outcome>,
    ahead: Ahead,
    /// What ended the reading that counted.
    failed: Option<wasmtime::Error>,
    /// For what came with the answer.
    _held: Held,
}

impl BlobData {
    /// Understands the answer to `get-container-data` in either version.
    pub(super) fn from_reply(
        mut reply: crate::StreamingReply,
        version: usize,
        budget: &Budget,
    ) -> Result<Self, String> {
        let mut reader = Reader::new(reply.results.clone());
        let parse = |error: lattice_codec::DecodeError| String::from_invoke(&error);
        if reader.result_is_err().map_err(parse)? {
            return Err(reader.string().map_err(parse)?);
        }
        let held = budget.hold(reply.results.len())?;
        let inline = reader.bytes().map_err(parse)?;
        let data_path: &[u32] = if version == 0 { &[0, 0] } else { &[0] };
        let items = match inline.len() {
            0 => Items::pending(take(&mut reply, data_path)),
            count => Items::ready(count, inline),
        };
        if version > 0 {
            return Ok(Self::new(items, None, held));
        }
        let outcome = if reader.future_is_ready().map_err(parse)? {
            Some(Outcome::Ready(read_result(&mut reader).map_err(parse)?))
        } else {
            take(&mut reply, &[0, 1]).map(Outcome::Pending)
        };
        Ok(Self::new(items, outcome, held))
    }

    fn new(items: Items, outcome: Option<Outcome>, held: Held) -> Self {
        Self {
            items,
            outcome,
            ahead: Ahead::default(),
            failed: None,
            _held: held,
        }
    }

    async fn next(&mut self) -> Result<Option<Bytes>, wasmtime::Error> {
        if let Some(bytes) = self.ahead.pop() {
            return Ok(Some(bytes));
        }
        match self.failed.take() {
            Some(error) => Err(error),
            None => self.fetch().await,
        }
    }

    async fn fetch(&mut self) -> Result<Option<Bytes>, wasmtime::Error> {
        if let Some(bytes) = self.items.next_bytes().await? {
            return Ok(Some(bytes));
        }
        if let Some(outcome) = self.outcome.take() {
            outcome.wait().await.map_err(remote_failure)?;
        }
        Ok(None)
    }

    /// How many bytes there are, once all of them have come.
    fn known_size(&self) -> Option<u64> {
        let left = self.items.all_left()?;
        Some(left as u64 + self.ahead.bytes() as u64)
    }

    /// How many bytes come, found out by taking them in. They are kept for the guest for as long as
    /// the budget lets them; of data that has more it is how many were taken in.
    async fn count(&mut self, budget: &Budget) -> u64 {
        while budget.free() > 0 {
            match self.fetch().await {
                Ok(Some(bytes)) => self.ahead.push(bytes, budget),
                Ok(None) => break,
                Err(error) => {
                    self.failed = Some(error);
                    break;
                }
            }
        }
        self.ahead.bytes() as u64
    }

    async fn collect(mut self, limit: usize) -> Result<Bytes, String> {
        let mut all = BytesMut::new();
        while let Some(bytes) = self.next().await.map_err(|error| format!("{error:#}"))? {
            if all.len() + bytes.len() > limit {
                return Err(format!(
                    "the object is larger than the {limit} bytes this host collects; read it as a stream"
                ));
            }
            all.extend_from_slice(&bytes);
        }
        Ok(all.freeze())
    }
}

type DataStream = Pin<Box<dyn Stream<Item = Result<Bytes, wasmtime::Error>> + Send>>;

/// The data of an object as the guest's input stream.
struct BlobStream {
    source: Option<DataStream>,
    buffer: Bytes,
    failed: Option<wasmtime::Error>,
}

impl BlobStream {
    fn new(data: BlobData) -> Self {
        let source = futures::stream::try_unfold(data, |mut data| async move {
            Ok(data.next().await?.map(|bytes| (bytes, data)))
        });
        Self {
            source: Some(Box::pin(source)),
            buffer: Bytes::new(),
            failed: None,
        }
    }

    fn take_in(&mut self, item: Option<Result<Bytes, wasmtime::Error>>) {
        match item {
            Some(Ok(bytes)) => self.buffer = bytes,
            Some(Err(error)) => {
                self.failed = Some(error);
                self.source = None;
            }
            None => self.source = None,
        }
    }
}

impl InputStream for BlobStream {
    fn read(&mut self, size: usize) -> StreamResult<Bytes> {
        if self.buffer.is_empty()
            && let Some(source) = &mut self.source
        {
            let mut next = std::pin::pin!(source.next());
            if let Some(item) = poll_noop(next.as_mut()) {
                self.take_in(item);
            }
        }
        if !self.buffer.is_empty() {
            return Ok(self.buffer.split_to(size.min(self.buffer.len())));
        }
        if let Some(error) = self.failed.take() {
            return Err(StreamError::LastOperationFailed(error));
        }
        if self.source.is_none() {
            Err(StreamError::Closed)
        } else {
            Ok(Bytes::new())
        }
    }
}

#[async_trait::async_trait]
impl Pollable for BlobStream {
    async fn ready(&mut self) {
        if !self.buffer.is_empty() || self.failed.is_some() {
            return;
        }
        if let Some(source) = &mut self.source {
            let item = source.next().await;
            self.take_in(item);
        }
    }
}

impl OutgoingValue {
    /// Starts to send what the guest writes. The result is asked for with `finish`.
    pub(super) fn start_upload(
        &mut self,
        outbound: Outbound,
        id: ObjectId,
        version: usize,
    ) -> Result<(), String> {
        if self.upload.is_some() {
            return Err("the value is being written already".to_owned());
        }
        let pipe = self.pipe.clone();
        self.upload = Some(spawn(async move {
            let result = upload(&outbound, &id, &pipe, version).await;
            pipe.abandon();
            result
        }));
        Ok(())
    }
}

impl Drop for OutgoingValue {
    fn drop(&mut self) {
        // The task that reads ends with this value; a guest that writes on must not wait for it.
        self.pipe.abandon();
    }
}

async fn upload(
    outbound: &Outbound,
    id: &ObjectId,
    pipe: &Pipe,
    first: usize,
) -> Result<(), String> {
    let mut params = BytesMut::new();
    id.encode(&mut params);
    write::uleb(&mut params, 0);
    let params = params.freeze();
    for (version, instance) in INSTANCES.iter().enumerate().skip(first) {
        let results = Shape::new([upload_plan(version)]);
        let target = Target {
            lookup: super::CONTAINER,
            instance,
            function: "write-container-data",
            results: &results,
            by_host: false,
            again: version > first,
        };
        let streams = vec![(path(&[1]), pipe.read())];
        let paths = [path(&[0])];
        let sent = outbound
            .call_streaming(target, params.clone(), streams, &paths)
            .await;
        match sent {
            Ok(reply) => return upload_outcome(reply, version).await,
            Err(InvokeError::NotServed { .. })
                if version + 1 < INSTANCES.len() && !pipe.is_touched() => {}
            Err(error) => return Err(chain(&error)),
        }
    }
    Err("no version of the blobstore interface is served".to_owned())
}

fn upload_plan(version: usize) -> Plan {
    let outcome = Plan::result(None, Some(Plan::String));
    if version == 0 {
        // A future stands on the wire like an option.
        Plan::result(Some(Plan::Option(Box::new(outcome))), Some(Plan::String))
    } else {
        outcome
    }
}

async fn upload_outcome(mut reply: crate::StreamingReply, version: usize) -> Result<(), String> {
    let parse = |error: lattice_codec::DecodeError| String::from_invoke(&error);
    let mut reader = Reader::new(reply.results.clone());
    if reader.result_is_err().map_err(parse)? {
        return Err(reader.string().map_err(parse)?);
    }
    if version > 0 {
        return Ok(());
    }
    if reader.future_is_ready().map_err(parse)? {
        return read_result(&mut reader).map_err(parse)?;
    }
    match take(&mut reply, &[0]) {
        Some(source) => Outcome::Pending(source).wait().await,
        None => Err("the answer was cut off".to_owned()),
    }
}

pub(super) fn link(linker: &mut Linker<Ctx>) -> wasmtime::Result<()> {
    let mut instance = linker.instance("wasi:blobstore/types@0.2.0-draft")?;
    link_outgoing(&mut instance)?;
    link_incoming(&mut instance)
}

fn link_outgoing(instance: &mut LinkerInstance<'_, Ctx>) -> wasmtime::Result<()> {
    instance.resource(
        "outgoing-value",
        ResourceType::host::<OutgoingValue>(),
        |mut store, rep| {
            store
                .data_mut()
                .table
                .delete(Resource::<OutgoingValue>::new_own(rep))?;
            Ok(())
        },
    )?;
    instance.func_wrap(
        "[static]outgoing-value.new-outgoing-value",
        |mut store, (): ()| {
            let pipe = Pipe::new(store.data_mut().writing());
            let writer = Some(Writer::new(pipe.clone()));
            let value = OutgoingValue {
                pipe,
                writer,
                upload: None,
            };
            Ok((store.data_mut().table.push(value)?,))
        },
    )?;
    instance.func_wrap(
        "[method]outgoing-value.outgoing-value-write-body",
        |mut store, (value,): (Resource<OutgoingValue>,)| {
            let table = &mut store.data_mut().table;
            Ok((match table.get_mut(&value)?.writer.take() {
                Some(writer) => Ok(table.push(Box::new(writer) as DynOutputStream)?),
                None => Err(()),
            },))
        },
    )?;
    instance.func_wrap_async(
        "[static]outgoing-value.finish",
        |mut store, (value,): (Resource<OutgoingValue>,)| {
            Box::new(async move {
                let mut value = store.data_mut().table.delete(value)?;
                value.pipe.finish();
                let upload = value.upload.take();
                Ok((match upload {
                    Some(upload) => upload.await,
                    None => Ok(()),
                },))
            })
        },
    )
}

/// How large a value may be that the guest takes as a whole: one that is larger than its memory does
/// not fit into that anyway.
fn largest_value(ctx: &Ctx) -> usize {
    ctx.shared().max_memory
}

fn link_incoming(instance: &mut LinkerInstance<'_, Ctx>) -> wasmtime::Result<()> {
    instance.resource(
        "incoming-value",
        ResourceType::host::<IncomingValue>(),
        |mut store, rep| {
            store
                .data_mut()
                .table
                .delete(Resource::<IncomingValue>::new_own(rep))?;
            Ok(())
        },
    )?;
    instance.func_wrap_async(
        "[static]incoming-value.incoming-value-consume-sync",
        |mut store, (value,): (Resource<IncomingValue>,)| {
            Box::new(async move {
                let limit = largest_value(store.data());
                let value = store.data_mut().table.delete(value)?;
                Ok((value.data.collect(limit).await,))
            })
        },
    )?;
    instance.func_wrap(
        "[static]incoming-value.incoming-value-consume-async",
        |mut store, (value,): (Resource<IncomingValue>,)| {
            let table = &mut store.data_mut().table;
            let value = table.delete(value)?;
            let stream: DynInputStream = Box::new(BlobStream::new(value.data));
            Ok((Ok::<_, String>(table.push(stream)?),))
        },
    )?;
    instance.func_wrap_async(
        "[method]incoming-value.size",
        |mut store, (handle,): (Resource<IncomingValue>,)| {
            Box::new(async move {
                let value = store.data().table.get(&handle)?;
                if let Some(size) = value.data.known_size() {
                    return Ok((size,));
                }
                let (id, start, end) = (value.id.clone(), value.start, value.end);
                let info = super::object_info(store.data().outbound(), id).await;
                if let Ok(info) = info {
                    return Ok((size_of_range(info.size, start, end),));
                }
                // The object may have gone since; what was read of it is still on its way.
                let budget = store.data_mut().writing();
                let value = store.data_mut().table.get_mut(&handle)?;
                Ok((value.data.count(&budget).await,))
            })
        },
    )
}

/// How many bytes of an object of this size lie from `start` to `end`, which both belong to them.
fn size_of_range(size: u64, start: u64, end: u64) -> u64 {
    if start >= size || end < start {
        return 0;
    }
    end.min(size - 1) - start + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_that_came_with_an_answer_counts_towards_what_a_call_holds() {
        let budget = Budget::new(10);
        let get = |version: usize, results: &'static [u8]| {
            let reply = crate::StreamingReply {
                results: Bytes::from_static(results),
                streams: Vec::new(),
            };
            BlobData::from_reply(reply, version, &budget)
        };
        let inline: [&[u8]; 2] = [b"\x00\x03abc\x01\x00", b"\x00\x04abcd"];
        for (version, results) in inline.into_iter().enumerate() {
            let kept = get(version, results).unwrap();
            let refused = get(version, results).err().unwrap();
            assert!(refused.contains("10 bytes"), "{refused}");
            drop(kept);
            assert!(get(version, results).is_ok());
        }
        assert_eq!(budget.free(), 10);
    }

    #[test]
    fn a_range_has_the_bytes_that_the_object_has_of_it() {
        for (size, start, end, bytes) in [
            (10, 0, u64::MAX, 10),
            (10, 2, 4, 3),
            (10, 8, 20, 2),
            (10, 9, 9, 1),
            (10, 10, u64::MAX, 0),
            (10, u64::MAX, u64::MAX, 0),
            (10, 4, 2, 0),
            (0, 0, 0, 0),
            (0, 0, u64::MAX, 0),
            (u64::MAX, 0, u64::MAX, u64::MAX),
        ] {
            assert_eq!(
                size_of_range(size, start, end),
                bytes,
                "{start} to {end} of {size}"
            );
        }
    }
}
