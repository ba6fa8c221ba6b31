//! Forwarding with Rust types, for functions of our own interfaces that components call often. What a
//! component imports has to be the whole of it, type by type; else its values are of any type.

mod lock;
mod queue;
mod schedule;
mod sql;

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use lattice_codec::write;
use wasmtime::component::{ComponentNamedList, Lift, LinkerInstance, Lower};

use super::Import;
use super::lanes::Define;
use super::values::{cases_for, is_refused, malformed};
use crate::InvokeError;
use crate::codec::Plan;
use crate::imports::chain;
use crate::store::Ctx;
use crate::wire::{Wire, WireList};

/// Finds the lane for an import, if it is one of the known functions.
pub(super) fn find(import: &Import) -> Option<Define> {
    let (instance, function) = (&*import.instance, import.function.as_str());
    match instance {
        "lattice:sql/sql@0.1.0" => sql::find(function, import),
        "lattice:queue/producer@0.1.0" => queue::find_producer(function, import),
        "lattice:queue/consumer@0.1.0" => queue::find_consumer(function, import),
        "lattice:lock/lock@0.1.0" => lock::find(function, import),
        "lattice:schedule/scheduler@0.1.0" => schedule::find(function, import),
        _ => None,
    }
}

/// The lane of a function with these types, if the import has the same.
fn lane<P, T, E>(import: &Import) -> Option<Define>
where
    P: WireList + ComponentNamedList + Lift,
    T: Wire,
    E: Wire,
    (Result<T, E>,): ComponentNamedList + Lower,
{
    let is_same = P::plans() == import.params.plans()
        && <(Result<T, E>,)>::plans() == import.results.plans()
        && !import.rpc_error;
    is_same.then_some(define::<P, T, E> as Define)
}

fn define<P, T, E>(
    instance: &mut LinkerInstance<'_, Ctx>,
    name: &str,
    import: Arc<Import>,
) -> wasmtime::Result<()>
where
    P: WireList + ComponentNamedList + Lift,
    T: Wire,
    E: Wire,
    (Result<T, E>,): ComponentNamedList + Lower,
{
    instance.func_wrap_async(name, move |store, params: P| {
        let import = Arc::clone(&import);
        Box::new(async move {
            let mut out = BytesMut::with_capacity(256);
            params.encode_all(&mut out);
            drop(params);
            let outbound = store.data().outbound();
            let answer = match outbound.call(import.target(), out.freeze()).await {
                Ok(answer) => answer,
                Err(error) => refusal(&import, &error).ok_or(error)?,
            };
            let read = <(Result<T, E>,)>::from_answer(&import.results, answer);
            Ok(read.map_err(|error| malformed(&import, error))?)
        })
    })
}

/// What a call that was not made is to the guest, as if it had been answered so; none for a trap.
fn refusal(import: &Import, error: &InvokeError) -> Option<Bytes> {
    let wanted = cases_for(error)?;
    let [Plan::Result { err: Some(err), .. }] = import.results.plans() else {
        return None;
    };
    let Plan::Variant { names, cases } = &**err else {
        return None;
    };
    wanted.iter().find_map(|name| {
        let at = names.position(name)?;
        let mut out = BytesMut::new();
        write::bool(&mut out, true);
        write::uleb(&mut out, at as u64);
        match cases.get(at)? {
            Some(Plan::String) => write::string(&mut out, &chain(error)),
            None if is_refused(error) => {}
            _ => return None,
        }
        Some(out.freeze())
    })
}

/// A record as guests have it and as it stands on the wire.
macro_rules! record {
    ($(#[$doc:meta])* $ty:ident { $($field:ident: $of:ty = $name:tt),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(
            Debug,
            wasmtime::component::ComponentType,
            wasmtime::component::Lift,
            wasmtime::component::Lower,
        )]
        #[component(record)]
        pub(super) struct $ty {
            $(#[component(name = $name)] $field: $of),+
        }

        impl crate::wire::Wire for $ty {
            fn plan() -> Option<crate::codec::Plan> {
                Some(crate::codec::Plan::Record(Box::new([
                    $(($name.to_owned(), crate::wire::part::<$of>())),+
                ])))
            }

            fn encode(&self, out: &mut bytes::BytesMut) {
                $(self.$field.encode(out);)+
            }

            fn decode(r: &mut lattice_codec::Reader) -> Result<Self, lattice_codec::DecodeError> {
                Ok(Self { $($field: crate::wire::Wire::decode(r)?),+ })
            }
        }
    };
}

/// A variant as guests have it and as it stands on the wire, by the numbers of all its cases.
macro_rules! variant {
    ($(#[$doc:meta])* $ty:ident { $($at:literal $case:ident $(($of:ty))? = $name:tt),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(
            Debug,
            wasmtime::component::ComponentType,
            wasmtime::component::Lift,
            wasmtime::component::Lower,
        )]
        #[component(variant)]
        pub(super) enum $ty {
            $(#[component(name = $name)] $case $(($of))?),+
        }

        impl crate::wire::Wire for $ty {
            fn plan() -> Option<crate::codec::Plan> {
                Some(crate::codec::Plan::Variant {
                    names: crate::codec::Names::new([$($name),+]),
                    cases: Box::new([
                        $(variant!(@plan $($of)?)),+
                    ]),
                })
            }

            fn encode(&self, out: &mut bytes::BytesMut) {
                match self {
                    $(variant!(@bind $case value $($of)?) => {
                        lattice_codec::write::uleb(out, $at);
                        $(<$of as crate::wire::Wire>::encode(value, out);)?
                    })+
                }
            }

            fn decode(r: &mut lattice_codec::Reader) -> Result<Self, lattice_codec::DecodeError> {
                let (what, cases) = (stringify!($ty), [$($at),+].len() as u32);
                Ok(match r.case(what, cases)? {
                    $($at => Self::$case $((<$of as crate::wire::Wire>::decode(r)?))?,)+
                    case => {
                        return Err(lattice_codec::DecodeError::InvalidCase { what, case, cases });
                    }
                })
            }
        }
    };
    (@plan) => { None };
    (@plan $of:ty) => { Some(crate::wire::part::<$of>()) };
    (@bind $case:ident $value:ident) => { Self::$case };
    (@bind $case:ident $value:ident $of:ty) => { Self::$case($value) };
}

/// An enum as guests have it and as it stands on the wire, by the numbers of all its cases.
macro_rules! cases {
    ($(#[$doc:meta])* $ty:ident { $($at:literal $case:ident = $name:tt),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(
            Debug,
            Clone,
            Copy,
            wasmtime::component::ComponentType,
            wasmtime::component::Lift,
            wasmtime::component::Lower,
        )]
        #[component(enum)]
        #[repr(u8)]
        pub(super) enum $ty {
            $(#[component(name = $name)] $case),+
        }

        impl crate::wire::Wire for $ty {
            fn plan() -> Option<crate::codec::Plan> {
                Some(crate::codec::Plan::Enum(crate::codec::Names::new([$($name),+])))
            }

            fn encode(&self, out: &mut bytes::BytesMut) {
                match self {
                    $(Self::$case => lattice_codec::write::uleb(out, $at),)+
                }
            }

            fn decode(r: &mut lattice_codec::Reader) -> Result<Self, lattice_codec::DecodeError> {
                let (what, cases) = (stringify!($ty), [$($at),+].len() as u32);
                Ok(match r.case(what, cases)? {
                    $($at => Self::$case,)+
                    case => {
                        return Err(lattice_codec::DecodeError::InvalidCase { what, case, cases });
                    }
                })
            }
        }
    };
}

use {cases, record, variant};

#[cfg(test)]
mod tests;
