//! `wasi:keyvalue@0.2.0-draft`, forwarded as `wrpc:keyvalue@0.2.0-draft`, and the second draft.
//!
//! On the wire there are no resources: the text with which a bucket was opened is the first
//! parameter of each call (protocol page, 9.1).

mod cas;
mod second;
mod wire;

use std::any::Any;

use bytes::Bytes;
use lattice_core::keyvalue;
use wasmtime::component::{
    ComponentNamedList, Lift, Linker, LinkerInstance, Lower, Resource, ResourceType,
};

use self::wire::{Error, KeyResponse};
use super::{FromInvoke as _, Remote, check_kept, outcome};
use crate::outbound::{Outbound, unexpected};
use crate::store::Ctx;
use crate::wire::{Wire, WireList};
use crate::{InvokeError, Shape, Value};

pub(super) use second::fit;

/// An opened bucket: the text it was opened with.
pub(crate) struct Bucket(pub(crate) String);

const fn store(function: &'static str) -> Remote {
    Remote {
        lookup: "wasi:keyvalue/store",
        instances: &["wrpc:keyvalue/store@0.2.0-draft"],
        function,
    }
}

const fn batch(function: &'static str) -> Remote {
    Remote {
        lookup: "wasi:keyvalue/batch",
        instances: &["wrpc:keyvalue/batch@0.2.0-draft"],
        function,
    }
}

const INCREMENT: Remote = Remote {
    lookup: "wasi:keyvalue/atomics",
    instances: &["wrpc:keyvalue/atomics@0.2.0-draft"],
    function: "increment",
};

type Borrowed = Resource<Bucket>;

fn name(cx: &Ctx, bucket: &Borrowed) -> wasmtime::Result<String> {
    Ok(cx.table.get(bucket)?.0.clone())
}

/// Registers a function that is answered by a [`Remote`] one. `args` makes the parameters on the
/// wire out of those of the guest. A store in this process gets them as they are, and answers with
/// a `V`.
fn forward<P, A, V, T>(
    instance: &mut LinkerInstance<'_, Ctx>,
    name: &str,
    remote: Remote,
    args: fn(&Ctx, P) -> wasmtime::Result<A>,
) -> wasmtime::Result<()>
where
    P: ComponentNamedList + Lift + Send + 'static,
    A: WireList + Any,
    V: Any,
    T: Wire + Lower + From<V>,
    (Result<T, Error>,): ComponentNamedList + Lower,
{
    let results = outcome::<T, Error>();
    instance.func_wrap_async(name, move |store, params: P| {
        let results = results.clone();
        Box::new(async move {
            let params = args(store.data(), params)?;
            let outbound = store.data().outbound();
            let answer = call::<A, V, T>(outbound, remote, &results, params).await;
            Ok((answer,))
        })
    })
}

/// Calls a function: of a store in this process with values as they are.
async fn call<A, V, T>(
    outbound: &Outbound,
    remote: Remote,
    results: &Shape,
    params: A,
) -> Result<T, Error>
where
    A: WireList + Any,
    V: Any,
    T: Wire + From<V>,
{
    match outbound.call_value(remote.target(results), params).await {
        Ok(answer) => take::<V, T>(answer),
        Err(params) => remote.call(outbound, results, &params).await,
    }
}

/// The answer of a store in this process.
fn take<V: Any, T: From<V>>(answer: Result<Value, InvokeError>) -> Result<T, Error> {
    let answer = answer.and_then(|value| {
        let answer = value.downcast::<keyvalue::Answer<V>>();
        answer.map_err(|_| unexpected())
    });
    match answer {
        Ok(answer) => answer.map(T::from).map_err(Error::from),
        Err(error) => Err(Error::from_invoke(&error)),
    }
}

pub(super) fn link(linker: &mut Linker<Ctx>) -> wasmtime::Result<()> {
    link_store(&mut linker.instance("wasi:keyvalue/store@0.2.0-draft")?)?;
    link_batch(&mut linker.instance("wasi:keyvalue/batch@0.2.0-draft")?)?;
    forward::<(Borrowed, String, u64), _, u64, u64>(
        &mut linker.instance("wasi:keyvalue/atomics@0.2.0-draft")?,
        "increment",
        INCREMENT,
        |cx, (bucket, key, delta)| Ok((name(cx, &bucket)?, key, delta)),
    )?;
    second::link(linker)
}

fn link_store(instance: &mut LinkerInstance<'_, Ctx>) -> wasmtime::Result<()> {
    link_bucket(instance)?;
    forward::<(Borrowed, Option<u64>), _, keyvalue::KeysPage, KeyResponse>(
        instance,
        "[method]bucket.list-keys",
        store("list-keys"),
        |cx, (bucket, cursor)| Ok((name(cx, &bucket)?, cursor)),
    )
}

/// What both drafts have in common.
fn link_bucket(instance: &mut LinkerInstance<'_, Ctx>) -> wasmtime::Result<()> {
    instance.resource(
        "bucket",
        ResourceType::host::<Bucket>(),
        |mut store, rep| {
            store
                .data_mut()
                .table
                .delete(Resource::<Bucket>::new_own(rep))?;
            Ok(())
        },
    )?;
    instance.func_wrap("open", |mut store, (identifier,): (String,)| {
        if let Err(refused) = check_kept("the name of a bucket", &identifier) {
            return Ok((Err(Error::Other(refused)),));
        }
        let bucket = store.data_mut().table.push(Bucket(identifier))?;
        Ok((Ok::<_, Error>(bucket),))
    })?;
    forward::<(Borrowed, String), _, Option<Bytes>, Option<Bytes>>(
        instance,
        "[method]bucket.get",
        store("get"),
        |cx, (bucket, key)| Ok((name(cx, &bucket)?, key)),
    )?;
    forward::<(Borrowed, String, Bytes), _, (), ()>(
        instance,
        "[method]bucket.set",
        store("set"),
        |cx, (bucket, key, value)| Ok((name(cx, &bucket)?, key, value)),
    )?;
    forward::<(Borrowed, String), _, (), ()>(
        instance,
        "[method]bucket.delete",
        store("delete"),
        |cx, (bucket, key)| Ok((name(cx, &bucket)?, key)),
    )?;
    forward::<(Borrowed, String), _, bool, bool>(
        instance,
        "[method]bucket.exists",
        store("exists"),
        |cx, (bucket, key)| Ok((name(cx, &bucket)?, key)),
    )
}

/// Entries in the order of the keys that were asked for.
type Entries = Vec<Option<(String, Bytes)>>;

fn link_batch(instance: &mut LinkerInstance<'_, Ctx>) -> wasmtime::Result<()> {
    forward::<(Borrowed, Vec<String>), _, Entries, Entries>(
        instance,
        "get-many",
        batch("get-many"),
        |cx, (bucket, keys)| Ok((name(cx, &bucket)?, keys)),
    )?;
    link_writes(instance)
}

fn link_writes(instance: &mut LinkerInstance<'_, Ctx>) -> wasmtime::Result<()> {
    forward::<(Borrowed, Vec<(String, Bytes)>), _, (), ()>(
        instance,
        "set-many",
        batch("set-many"),
        |cx, (bucket, pairs)| Ok((name(cx, &bucket)?, pairs)),
    )?;
    forward::<(Borrowed, Vec<String>), _, (), ()>(
        instance,
        "delete-many",
        batch("delete-many"),
        |cx, (bucket, keys)| Ok((name(cx, &bucket)?, keys)),
    )
}
