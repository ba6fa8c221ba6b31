//! `wasi:keyvalue@0.2.0-draft`, forwarded as `wrpc:keyvalue@0.2.0-draft`, and the second draft.
//!
//! On the wire there are no resources: the text with which a bucket was opened is the first
//! parameter of each call (protocol page, 9.1).

mod cas;
mod second;
mod wire;

use bytes::Bytes;
use lattice_core::values::Plain;
use wasmtime::component::{
    ComponentNamedList, Lift, Linker, LinkerInstance, Lower, Resource, ResourceType,
};

use self::wire::{Error, KeyResponse};
use super::{Remote, check_kept, forward_plain};
use crate::store::Ctx;
use crate::wire::{Wire, WireList};

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
/// wire out of those of the guest.
fn forward<P, A, T>(
    instance: &mut LinkerInstance<'_, Ctx>,
    name: &str,
    remote: Remote,
    args: fn(&Ctx, P) -> wasmtime::Result<A>,
) -> wasmtime::Result<()>
where
    P: ComponentNamedList + Lift + Send + 'static,
    A: WireList + Plain,
    T: Wire + Plain + Lower,
    (Result<T, Error>,): ComponentNamedList + Lower,
{
    forward_plain::<P, A, T, Error>(instance, name, remote, args)
}

pub(super) fn link(linker: &mut Linker<Ctx>) -> wasmtime::Result<()> {
    link_store(&mut linker.instance("wasi:keyvalue/store@0.2.0-draft")?)?;
    link_batch(&mut linker.instance("wasi:keyvalue/batch@0.2.0-draft")?)?;
    forward::<(Borrowed, String, u64), _, u64>(
        &mut linker.instance("wasi:keyvalue/atomics@0.2.0-draft")?,
        "increment",
        INCREMENT,
        |cx, (bucket, key, delta)| Ok((name(cx, &bucket)?, key, delta)),
    )?;
    second::link(linker)
}

fn link_store(instance: &mut LinkerInstance<'_, Ctx>) -> wasmtime::Result<()> {
    link_bucket(instance)?;
    forward::<(Borrowed, Option<u64>), _, KeyResponse>(
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
    forward::<(Borrowed, String), _, Option<Bytes>>(
        instance,
        "[method]bucket.get",
        store("get"),
        |cx, (bucket, key)| Ok((name(cx, &bucket)?, key)),
    )?;
    forward::<(Borrowed, String, Bytes), _, ()>(
        instance,
        "[method]bucket.set",
        store("set"),
        |cx, (bucket, key, value)| Ok((name(cx, &bucket)?, key, value)),
    )?;
    forward::<(Borrowed, String), _, ()>(
        instance,
        "[method]bucket.delete",
        store("delete"),
        |cx, (bucket, key)| Ok((name(cx, &bucket)?, key)),
    )?;
    forward::<(Borrowed, String), _, bool>(
        instance,
        "[method]bucket.exists",
        store("exists"),
        |cx, (bucket, key)| Ok((name(cx, &bucket)?, key)),
    )
}

/// Entries in the order of the keys that were asked for.
type Entries = Vec<Option<(String, Bytes)>>;

fn link_batch(instance: &mut LinkerInstance<'_, Ctx>) -> wasmtime::Result<()> {
    forward::<(Borrowed, Vec<String>), _, Entries>(
        instance,
        "get-many",
        batch("get-many"),
        |cx, (bucket, keys)| Ok((name(cx, &bucket)?, keys)),
    )?;
    link_writes(instance)
}

fn link_writes(instance: &mut LinkerInstance<'_, Ctx>) -> wasmtime::Result<()> {
    forward::<(Borrowed, Vec<(String, Bytes)>), _, ()>(
        instance,
        "set-many",
        batch("set-many"),
        |cx, (bucket, pairs)| Ok((name(cx, &bucket)?, pairs)),
    )?;
    forward::<(Borrowed, Vec<String>), _, ()>(
        instance,
        "delete-many",
        batch("delete-many"),
        |cx, (bucket, keys)| Ok((name(cx, &bucket)?, keys)),
    )
}
