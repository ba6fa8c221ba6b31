//! `wasi:keyvalue@0.2.0-draft`, forwarded as `wrpc:keyvalue@0.2.0-draft`.
//!
//! On the wire there are no resources: the text with which a bucket was opened is the first
//! parameter of each call (protocol page, 9.1).

use std::any::Any;

use bytes::{BufMut, Bytes, BytesMut};
use lattice_codec::{DecodeError, Reader, write};
use lattice_core::keyvalue;
use wasmtime::component::{
    ComponentNamedList, ComponentType, Lift, Linker, LinkerInstance, Lower, Resource, ResourceType,
};

use super::{FromInvoke, Remote, chain, outcome};
use crate::codec::{Names, Plan};
use crate::outbound::unexpected;
use crate::store::Ctx;
use crate::wire::{Wire, WireList};
use crate::{InvokeError, Value};

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

impl From<keyvalue::Error> for Error {
    fn from(error: keyvalue::Error) -> Self {
        match error {
            keyvalue::Error::NoSuchStore => Self::NoSuchStore,
            keyvalue::Error::AccessDenied => Self::AccessDenied,
            keyvalue::Error::Other(text) => Self::Other(text),
        }
    }
}

impl From<keyvalue::KeysPage> for KeyResponse {
    fn from(page: keyvalue::KeysPage) -> Self {
        Self {
            keys: page.keys,
            cursor: page.cursor,
        }
    }
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
            let called = outbound.call_value(remote.target(&results), params).await;
            let answer = match called {
                Ok(answer) => take::<V, T>(answer),
                Err(params) => remote.call(outbound, &results, &params).await,
            };
            Ok((answer,))
        })
    })
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
    )?;
    forward::<(Borrowed, Option<u64>), _, keyvalue::KeysPage, KeyResponse>(
        instance,
        "[method]bucket.list-keys",
        store("list-keys"),
        |cx, (bucket, cursor)| Ok((name(cx, &bucket)?, cursor)),
    )
}

fn link_batch(instance: &mut LinkerInstance<'_, Ctx>) -> wasmtime::Result<()> {
    forward::<
        (Borrowed, Vec<String>),
        _,
        Vec<Option<(String, Bytes)>>,
        Vec<Option<(String, Bytes)>>,
    >(
        instance,
        "get-many",
        batch("get-many"),
        |cx, (bucket, keys)| Ok((name(cx, &bucket)?, keys)),
    )?;
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
