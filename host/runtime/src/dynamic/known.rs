//! Forwarding with Rust types, for functions of our own interfaces that components call often. What a
//! component imports has to be the whole of it, type by type; else its values are of any type.
//! Whoever answers in this process gets them as they are.

mod lock;
mod messaging;
mod queue;
mod schedule;
mod sql;

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use lattice_codec::write;
use lattice_core::values::Plain;
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
        "lattice:messaging/producer@0.1.0" => messaging::find(function, import),
        "lattice:schedule/scheduler@0.1.0" => schedule::find(function, import),
        _ => None,
    }
}

/// The lane of a function with these types, if the import has the same.
fn lane<P, T, E>(import: &Import) -> Option<Define>
where
    P: WireList + Plain + ComponentNamedList + Lift,
    T: Wire + Plain,
    E: Wire + Plain,
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
    P: WireList + Plain + ComponentNamedList + Lift,
    T: Wire + Plain,
    E: Wire + Plain,
    (Result<T, E>,): ComponentNamedList + Lower,
{
    instance.func_wrap_async(name, move |store, params: P| {
        let import = Arc::clone(&import);
        Box::new(async move {
            let (outbound, target) = (store.data().outbound(), import.target());
            let here = outbound.call_plain::<P, Result<T, E>>(target, params);
            let called = match here.await {
                Ok(Ok(answer)) => return Ok((answer,)),
                Ok(Err(error)) => Err(error),
                Err(params) => outbound.call(target, encoded(params)).await,
            };
            let answer = called.or_else(|error| refusal(&import, &error).ok_or(error))?;
            let read = <(Result<T, E>,)>::from_answer(&import.results, answer);
            Ok(read.map_err(|error| malformed(&import, error))?)
        })
    })
}

fn encoded(params: impl WireList) -> Bytes {
    let mut out = BytesMut::with_capacity(256);
    params.encode_all(&mut out);
    out.freeze()
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

/// A record as guests have it, as it is handed over and as it stands on the wire.
macro_rules! record {
    ($(#[$doc:meta])* $ty:ident as $plain:ty { $($field:ident: $of:ty = $name:tt),+ $(,)? }) => {
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

        impl lattice_core::values::Plain for $ty {
            type Plain = $plain;

            fn into_plain(self) -> $plain {
                type Handed = $plain;
                Handed { $($field: lattice_core::values::Plain::into_plain(self.$field)),+ }
            }

            fn from_plain(plain: $plain) -> Self {
                Self { $($field: lattice_core::values::Plain::from_plain(plain.$field)),+ }
            }
        }
    };
}

/// A variant as guests have it, as it is handed over, and as it stands on the wire by the numbers of
/// all its cases.
macro_rules! variant {
    (
        $(#[$doc:meta])*
        $ty:ident as $plain:ty { $($at:literal $case:ident $(($of:ty))? = $name:tt),+ $(,)? }
    ) => {
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
                    $(variant!(@bind Self $case value $($of)?) => {
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

        impl lattice_core::values::Plain for $ty {
            type Plain = $plain;

            fn into_plain(self) -> $plain {
                type Handed = $plain;
                match self {
                    $(variant!(@bind Self $case value $($of)?) => {
                        Handed::$case $((<$of as lattice_core::values::Plain>::into_plain(value)))?
                    })+
                }
            }

            fn from_plain(plain: $plain) -> Self {
                type Handed = $plain;
                match plain {
                    $(variant!(@bind Handed $case value $($of)?) => {
                        Self::$case $((<$of as lattice_core::values::Plain>::from_plain(value)))?
                    })+
                }
            }
        }
    };
    (@plan) => { None };
    (@plan $of:ty) => { Some(crate::wire::part::<$of>()) };
    (@bind $on:ident $case:ident $value:ident) => { $on::$case };
    (@bind $on:ident $case:ident $value:ident $of:ty) => { $on::$case($value) };
}

/// An enum as guests have it, as it is handed over, and as it stands on the wire by the numbers of all
/// its cases.
macro_rules! cases {
    ($(#[$doc:meta])* $ty:ident as $plain:ty { $($at:literal $case:ident = $name:tt),+ $(,)? }) => {
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

        impl lattice_core::values::Plain for $ty {
            type Plain = $plain;

            fn into_plain(self) -> $plain {
                type Handed = $plain;
                match self {
                    $(Self::$case => Handed::$case),+
                }
            }

            fn from_plain(plain: $plain) -> Self {
                type Handed = $plain;
                match plain {
                    $(Handed::$case => Self::$case),+
                }
            }
        }
    };
}

use {cases, record, variant};

#[cfg(test)]
mod tests;
