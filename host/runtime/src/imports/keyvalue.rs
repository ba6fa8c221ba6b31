//! `wasi:keyvalue@0.2.0-draft`, forwarded as `wrpc:keyvalue@0.2.0-draft`.
//!
//! On the wire there are no resources: the text with which a bucket was opened is the first
//! parameter of each call (protocol page, 9.1).

use bytes::{BufMut, Bytes, BytesMut};
use lattice_codec::{DecodeError, Reader, write};
use wasmtime::component::{
    ComponentType, Lift, Linker, LinkerInstance, Lower, Resource, ResourceType,
};

use super::{FromInvoke, Remote, chain, forward};
use crate::codec::{Names, Plan};
use crate::store::Ctx;
use crate::wire::Wire;

/// An opened bucket: the text it was opened with.
pub(crate) struct Bucket(pub(crate) String);

/// `error` of `store`.
#[derive(Debug, Clone, PartialEq, Eq, ComponentType, Lift, Lower)]
#[component(variant)]
enum Error {
    #[component(name = "no-such-store")]
    NoSuchStore,
    #[component(name = "access-denied")]
    AccessDenied,
    #[component(name = "other")]
    Other(String),
}

/// `key-response` of `store`.
#[derive(Debug, Clone, ComponentType, Lift, Lower)]
#[component(record)]
struct KeyResponse {
    keys: Vec<String>,
    cursor: Option<u64>,
}

impl FromInvoke for Error {
    fn from_invoke(error: &dyn std::error::Error) -> Self {
        Self::Other(chain(error))
    }
}

impl Wire for Error {
    fn plan() -> Option<Plan> {
        Some(Plan::Variant {
            names: Names::new(["no-such-store", "access-denied", "other"]),
            cases: Box::new([None, None, Some(Plan::String)]),
        })
    }

    fn encode(&self, out: &mut BytesMut) {
        match self {
            Self::NoSuchStore => out.put_u8(0),
            Self::AccessDenied => out.put_u8(1),
            Self::Other(text) => {
                out.put_u8(2);
                write::string(out, text);
            }
        }
    }

    fn decode(r: &mut Reader) -> Result<Self, DecodeError> {
        Ok(match r.case("keyvalue error", 3)? {
            0 => Self::NoSuchStore,
            1 => Self::AccessDenied,
            _ => Self::Other(r.string()?),
        })
    }
}

impl Wire for KeyResponse {
    fn plan() -> Option<Plan> {
        Some(Plan::Record(Box::new([
            ("keys".to_owned(), Plan::list(Plan::String)),
            ("cursor".to_owned(), Plan::Option(Box::new(Plan::U64))),
        ])))
    }

    fn encode(&self, out: &mut BytesMut) {
        self.keys.encode(out);
        self.cursor.encode(out);
    }

    fn decode(r: &mut Reader) -> Result<Self, DecodeError> {
        Ok(Self {
            keys: Wire::decode(r)?,
            cursor: Wire::decode(r)?,
        })
    }
}

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

pub(super) fn link(linker: &mut Linker<Ctx>) -> wasmtime::Result<()> {
    link_store(&mut linker.instance("wasi:keyvalue/store@0.2.0-draft")?)?;
    link_batch(&mut linker.instance("wasi:keyvalue/batch@0.2.0-draft")?)?;
    forward::<(Borrowed, String, u64), _, u64, Error>(
        &mut linker.instance("wasi:keyvalue/atomics@0.2.0-draft")?,
        "increment",
        INCREMENT,
        |cx, (bucket, key, delta)| Ok((name(cx, &bucket)?, key, delta)),
    )
}

fn link_store(instance: &mut LinkerInstance<'_, Ctx>) -> wasmtime::Result<()> {
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
        let bucket = store.data_mut().table.push(Bucket(identifier))?;
        Ok((Ok::<_, Error>(bucket),))
    })?;
    forward::<(Borrowed, String), _, Option<Bytes>, Error>(
        instance,
        "[method]bucket.get",
        store("get"),
        |cx, (bucket, key)| Ok((name(cx, &bucket)?, key)),
    )?;
    forward::<(Borrowed, String, Bytes), _, (), Error>(
        instance,
        "[method]bucket.set",
        store("set"),
        |cx, (bucket, key, value)| Ok((name(cx, &bucket)?, key, value)),
    )?;
    forward::<(Borrowed, String), _, (), Error>(
        instance,
        "[method]bucket.delete",
        store("delete"),
        |cx, (bucket, key)| Ok((name(cx, &bucket)?, key)),
    )?;
    forward::<(Borrowed, String), _, bool, Error>(
        instance,
        "[method]bucket.exists",
        store("exists"),
        |cx, (bucket, key)| Ok((name(cx, &bucket)?, key)),
    )?;
    forward::<(Borrowed, Option<u64>), _, KeyResponse, Error>(
        instance,
        "[method]bucket.list-keys",
        store("list-keys"),
        |cx, (bucket, cursor)| Ok((name(cx, &bucket)?, cursor)),
    )
}

fn link_batch(instance: &mut LinkerInstance<'_, Ctx>) -> wasmtime::Result<()> {
    forward::<(Borrowed, Vec<String>), _, Vec<Option<(String, Bytes)>>, Error>(
        instance,
        "get-many",
        batch("get-many"),
        |cx, (bucket, keys)| Ok((name(cx, &bucket)?, keys)),
    )?;
    forward::<(Borrowed, Vec<(String, Bytes)>), _, (), Error>(
        instance,
        "set-many",
        batch("set-many"),
        |cx, (bucket, pairs)| Ok((name(cx, &bucket)?, pairs)),
    )?;
    forward::<(Borrowed, Vec<String>), _, (), Error>(
        instance,
        "delete-many",
        batch("delete-many"),
        |cx, (bucket, keys)| Ok((name(cx, &bucket)?, keys)),
    )
}
