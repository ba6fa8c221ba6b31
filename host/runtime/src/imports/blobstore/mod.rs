//! `wasi:blobstore@0.2.0-draft`, forwarded as `wrpc:blobstore/blobstore`.
//!
//! Version 0.2.0 is called first and 0.1.0 when nobody serves that (protocol page, 9.2). Methods
//! of a container take the link for `wasi:blobstore/container`, the other functions that for
//! `wasi:blobstore/blobstore`.

mod ahead;
mod budget;
mod chunks;
mod names;
mod pipe;
mod value;

pub(crate) use budget::{Budget, Held};

use std::sync::LazyLock;

use bytes::BytesMut;
use lattice_codec::{DecodeError, Reader};
use wasmtime::component::{
    ComponentType, Lift, Linker, LinkerInstance, Lower, Resource, ResourceType,
};

use self::chunks::path;
use self::value::{BlobData, IncomingValue, OutgoingValue};
use super::{Remote, chain, check_kept, forward, outcome};
use crate::codec::Plan;
use crate::outbound::{Outbound, Target};
use crate::store::Ctx;
use crate::wire::{Wire, WireList};
use crate::{InvokeError, Shape, StreamingReply};

const BLOBSTORE: &str = "wasi:blobstore/blobstore";
const CONTAINER: &str = "wasi:blobstore/container";
const INSTANCES: &[&str] = &[
    "wrpc:blobstore/blobstore@0.2.0",
    "wrpc:blobstore/blobstore@0.1.0",
];

const fn blobstore(function: &'static str) -> Remote {
    Remote {
        lookup: BLOBSTORE,
        instances: INSTANCES,
        function,
    }
}

const fn container(function: &'static str) -> Remote {
    Remote {
        lookup: CONTAINER,
        instances: INSTANCES,
        function,
    }
}

/// A container: its name, and the version of the wire interface that answered for it.
struct Container {
    name: String,
    version: usize,
}

/// `object-id`, the same for guests and on the wire.
#[derive(Debug, Clone, ComponentType, Lift, Lower)]
#[component(record)]
struct ObjectId {
    container: String,
    object: String,
}

/// `container-metadata` as the guest sees it.
#[derive(Debug, Clone, ComponentType, Lift, Lower)]
#[component(record)]
struct ContainerMetadata {
    name: String,
    #[component(name = "created-at")]
    created_at: u64,
}

/// `object-metadata` as the guest sees it.
#[derive(Debug, Clone, ComponentType, Lift, Lower)]
#[component(record)]
struct ObjectMetadata {
    name: String,
    container: String,
    #[component(name = "created-at")]
    created_at: u64,
    size: u64,
}

/// `container-metadata` on the wire.
struct ContainerInfo {
    created_at: u64,
}

/// `object-metadata` on the wire.
struct ObjectInfo {
    created_at: u64,
    size: u64,
}

impl Wire for ObjectId {
    fn plan() -> Option<Plan> {
        Some(Plan::Tuple(Box::new([Plan::String, Plan::String])))
    }

    fn encode(&self, out: &mut BytesMut) {
        self.container.encode(out);
        self.object.encode(out);
    }

    fn decode(r: &mut Reader) -> Result<Self, DecodeError> {
        Ok(Self {
            container: r.string()?,
            object: r.string()?,
        })
    }
}

impl Wire for ContainerInfo {
    fn plan() -> Option<Plan> {
        Some(Plan::U64)
    }

    fn encode(&self, out: &mut BytesMut) {
        self.created_at.encode(out);
    }

    fn decode(r: &mut Reader) -> Result<Self, DecodeError> {
        Ok(Self {
            created_at: r.u64()?,
        })
    }
}

impl Wire for ObjectInfo {
    fn plan() -> Option<Plan> {
        Some(Plan::Tuple(Box::new([Plan::U64, Plan::U64])))
    }

    fn encode(&self, out: &mut BytesMut) {
        self.created_at.encode(out);
        self.size.encode(out);
    }

    fn decode(r: &mut Reader) -> Result<Self, DecodeError> {
        Ok(Self {
            created_at: r.u64()?,
            size: r.u64()?,
        })
    }
}

/// A failure that the provider reported after the data had begun.
fn remote_failure(message: String) -> wasmtime::Error {
    wasmtime::Error::msg(message)
}

async fn object_info(outbound: &Outbound, id: ObjectId) -> Result<ObjectInfo, String> {
    static RESULTS: LazyLock<Shape> = LazyLock::new(outcome::<ObjectInfo, String>);
    container("get-object-info")
        .call(outbound, &RESULTS, &(id,))
        .await
}

fn name(cx: &Ctx, handle: &Resource<Container>) -> wasmtime::Result<String> {
    Ok(cx.table.get(handle)?.name.clone())
}

fn id(cx: &Ctx, handle: &Resource<Container>, object: String) -> wasmtime::Result<ObjectId> {
    Ok(ObjectId {
        container: name(cx, handle)?,
        object,
    })
}

pub(super) fn link(linker: &mut Linker<Ctx>) -> wasmtime::Result<()> {
    value::link(linker)?;
    link_blobstore(&mut linker.instance("wasi:blobstore/blobstore@0.2.0-draft")?)?;
    let mut instance = linker.instance("wasi:blobstore/container@0.2.0-draft")?;
    instance.resource(
        "container",
        ResourceType::host::<Container>(),
        |mut store, rep| {
            store
                .data_mut()
                .table
                .delete(Resource::<Container>::new_own(rep))?;
            Ok(())
        },
    )?;
    link_container(&mut instance)?;
    link_objects(&mut instance)?;
    names::link(&mut instance)
}

fn link_blobstore(instance: &mut LinkerInstance<'_, Ctx>) -> wasmtime::Result<()> {
    let results = outcome::<(), String>();
    instance.func_wrap_async("create-container", move |mut store, (name,): (String,)| {
        let results = results.clone();
        Box::new(async move {
            if let Err(refused) = check_kept("the name of a container", &name) {
                return Ok((Err(refused),));
            }
            let create = blobstore("create-container");
            let params = (name.clone(),);
            let (version, made) = create
                .call_versioned::<(), String>(store.data().outbound(), &results, &params)
                .await;
            Ok((match made {
                Ok(()) => Ok(store.data_mut().table.push(Container { name, version })?),
                Err(error) => Err(error),
            },))
        })
    })?;
    let results = outcome::<bool, String>();
    instance.func_wrap_async("get-container", move |mut store, (name,): (String,)| {
        let results = results.clone();
        Box::new(async move {
            if let Err(refused) = check_kept("the name of a container", &name) {
                return Ok((Err(refused),));
            }
            let exists = blobstore("container-exists");
            let params = (name.clone(),);
            let (version, found) = exists
                .call_versioned::<bool, String>(store.data().outbound(), &results, &params)
                .await;
            Ok((match found {
                Ok(true) => Ok(store.data_mut().table.push(Container { name, version })?),
                Ok(false) => Err(format!("container `{name}` does not exist")),
                Err(error) => Err(error),
            },))
        })
    })?;
    forward::<(String,), _, (), String>(
        instance,
        "delete-container",
        blobstore("delete-container"),
        |_, name| Ok(name),
    )?;
    forward::<(String,), _, bool, String>(
        instance,
        "container-exists",
        blobstore("container-exists"),
        |_, name| Ok(name),
    )?;
    for (function, remote) in [
        ("copy-object", blobstore("copy-object")),
        ("move-object", blobstore("move-object")),
    ] {
        forward::<(ObjectId, ObjectId), _, (), String>(instance, function, remote, |_, ids| {
            Ok(ids)
        })?;
    }
    Ok(())
}

fn link_container(instance: &mut LinkerInstance<'_, Ctx>) -> wasmtime::Result<()> {
    type Handle = Resource<Container>;
    instance.func_wrap("[method]container.name", |store, (handle,): (Handle,)| {
        Ok((Ok::<_, String>(name(store.data(), &handle)?),))
    })?;
    let results = outcome::<ContainerInfo, String>();
    instance.func_wrap_async(
        "[method]container.info",
        move |store, (handle,): (Handle,)| {
            let results = results.clone();
            Box::new(async move {
                let name = name(store.data(), &handle)?;
                let info: Result<ContainerInfo, String> = container("get-container-info")
                    .call(store.data().outbound(), &results, &(name.clone(),))
                    .await;
                Ok((info.map(|info| ContainerMetadata {
                    name,
                    created_at: info.created_at,
                }),))
            })
        },
    )?;
    forward::<(Handle,), _, (), String>(
        instance,
        "[method]container.clear",
        container("clear-container"),
        |cx, (handle,)| Ok((name(cx, &handle)?,)),
    )?;
    forward::<(Handle, Vec<String>), _, (), String>(
        instance,
        "[method]container.delete-objects",
        container("delete-objects"),
        |cx, (handle, objects)| Ok((name(cx, &handle)?, objects)),
    )?;
    forward::<(Handle, String), _, (), String>(
        instance,
        "[method]container.delete-object",
        container("delete-object"),
        |cx, (handle, object)| Ok((id(cx, &handle, object)?,)),
    )?;
    forward::<(Handle, String), _, bool, String>(
        instance,
        "[method]container.has-object",
        container("has-object"),
        |cx, (handle, object)| Ok((id(cx, &handle, object)?,)),
    )
}

fn link_objects(instance: &mut LinkerInstance<'_, Ctx>) -> wasmtime::Result<()> {
    link_object_info(instance)?;
    link_get_data(instance)?;
    link_write_data(instance)
}

fn link_object_info(instance: &mut LinkerInstance<'_, Ctx>) -> wasmtime::Result<()> {
    instance.func_wrap_async(
        "[method]container.object-info",
        |store, (handle, object): (Resource<Container>, String)| {
            Box::new(async move {
                let id = id(store.data(), &handle, object)?;
                let info = object_info(store.data().outbound(), id.clone()).await;
                Ok((info.map(|info| ObjectMetadata {
                    name: id.object,
                    container: id.container,
                    created_at: info.created_at,
                    size: info.size,
                }),))
            })
        },
    )
}

fn link_get_data(instance: &mut LinkerInstance<'_, Ctx>) -> wasmtime::Result<()> {
    const FUNCTION: &str = "get-container-data";
    instance.func_wrap_async(
        "[method]container.get-data",
        |mut store, (handle, object, start, end): (Resource<Container>, String, u64, u64)| {
            Box::new(async move {
                let id = id(store.data(), &handle, object)?;
                if let Err(refused) = check_kept("the name of an object", &id.object) {
                    return Ok((Err(refused),));
                }
                let first = store.data().table.get(&handle)?.version;
                let params = (id.clone(), start, end);
                let outbound = store.data().outbound();
                let reply = open(outbound, FUNCTION, &params, || Plan::Bytes, first).await;
                let budget = store.data_mut().writing();
                let data = reply
                    .and_then(|(reply, version)| BlobData::from_reply(reply, version, &budget));
                let value = data.map(|data| IncomingValue {
                    data,
                    id,
                    start,
                    end,
                });
                Ok((match value {
                    Ok(value) => Ok(store.data_mut().table.push(value)?),
                    Err(error) => Err(error),
                },))
            })
        },
    )
}

fn link_write_data(instance: &mut LinkerInstance<'_, Ctx>) -> wasmtime::Result<()> {
    instance.func_wrap(
        "[method]container.write-data",
        |mut store,
         (handle, object, value): (Resource<Container>, String, Resource<OutgoingValue>)| {
            let cx = store.data_mut();
            let id = id(cx, &handle, object)?;
            if let Err(refused) = check_kept("the name of an object", &id.object) {
                return Ok((Err(refused),));
            }
            let version = cx.table.get(&handle)?.version;
            let outbound = cx.outbound().only(CONTAINER);
            Ok((cx
                .table
                .get_mut(&value)?
                .start_upload(outbound, id, version),))
        },
    )
}

/// Calls a function that answers with a stream, in the first version that is served.
async fn open(
    outbound: &Outbound,
    function: &str,
    params: &impl WireList,
    data: fn() -> Plan,
    first: usize,
) -> Result<(StreamingReply, usize), String> {
    let params = params.to_bytes();
    for (version, instance) in INSTANCES.iter().enumerate().skip(first) {
        let (plan, paths) = if version == 0 {
            // A stream stands on the wire like a list, a future like an option.
            let outcome = Plan::Option(Box::new(Plan::result(None, Some(Plan::String))));
            (
                Plan::Tuple(Box::new([data(), outcome])),
                vec![path(&[0, 0]), path(&[0, 1])],
            )
        } else {
            (data(), vec![path(&[0])])
        };
        let results = Shape::new([Plan::result(Some(plan), Some(Plan::String))]);
        let target = Target {
            lookup: CONTAINER,
            instance,
            function,
            results: &results,
            by_host: false,
            again: version > first,
        };
        match outbound
            .call_streaming(target, params.clone(), Vec::new(), &paths)
            .await
        {
            Ok(reply) => return Ok((reply, version)),
            Err(InvokeError::NotServed { .. }) if version + 1 < INSTANCES.len() => {}
            Err(error) => return Err(chain(&error)),
        }
    }
    Err("no version of the blobstore interface is served".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Unserved;

    #[tokio::test]
    async fn an_older_version_is_asked_as_a_further_form_of_the_same_call() {
        let (unserved, outbound) = Unserved::reached();
        let params = ("box".to_owned(),);
        let (results, names) = (outcome::<(), String>(), || Plan::String);
        let create = blobstore("create-container");
        let (version, _) = create
            .call_versioned::<(), String>(&outbound, &results, &params)
            .await;
        let opened = open(&outbound, "list-container-objects", &params, names, 0).await;
        let known = open(&outbound, "list-container-objects", &params, names, version).await;
        assert!(version == 1 && opened.is_err() && known.is_err());
        let forms = [(0, false), (1, true), (0, false), (1, true), (1, false)];
        assert_eq!(
            unserved.asked(),
            forms.map(|(version, again)| (INSTANCES[version].to_owned(), again))
        );
    }
}
