//! Forwarding with Rust types, for the signatures that most calls have: parameters are encoded
//! straight from the guest's memory, and bytes of the answer are copied there at once.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use lattice_codec::write;
use wasmtime::StoreContextMut;
use wasmtime::component::{ComponentNamedList, Lift, LinkerInstance, Lower, WasmList, WasmStr};

use super::Import;
use super::values::{is_refused, malformed};
use crate::InvokeError;
use crate::codec::Plan;
use crate::imports::chain;
use crate::store::Ctx;
use crate::wire::WireList;

/// Defines an import in one lane.
pub(super) type Define =
    fn(&mut LinkerInstance<'_, Ctx>, &str, Arc<Import>) -> wasmtime::Result<()>;

/// A parameter that still lies in the guest's memory.
trait GuestValue {
    fn plan() -> Plan;

    fn put(&self, store: &StoreContextMut<'_, Ctx>, out: &mut BytesMut) -> wasmtime::Result<()>;
}

impl GuestValue for WasmStr {
    fn plan() -> Plan {
        Plan::String
    }

    fn put(&self, store: &StoreContextMut<'_, Ctx>, out: &mut BytesMut) -> wasmtime::Result<()> {
        write::string(out, &self.to_str(store)?);
        Ok(())
    }
}

impl GuestValue for WasmList<u8> {
    fn plan() -> Plan {
        Plan::Bytes
    }

    fn put(&self, store: &StoreContextMut<'_, Ctx>, out: &mut BytesMut) -> wasmtime::Result<()> {
        write::bytes(out, self.as_le_slice(store));
        Ok(())
    }
}

/// A parameter list that still lies in the guest's memory.
trait GuestList: ComponentNamedList + Lift + Send + 'static {
    fn plans() -> Vec<Plan>;

    fn put(&self, store: &StoreContextMut<'_, Ctx>, out: &mut BytesMut) -> wasmtime::Result<()>;
}

macro_rules! guest_list {
    ($($name:ident),*) => {
        impl<$($name: GuestValue + Lift + Send + 'static),*> GuestList for ($($name,)*) {
            fn plans() -> Vec<Plan> {
                vec![$($name::plan()),*]
            }

            #[allow(non_snake_case, unused_variables, reason = "one name for type and value; the empty list uses neither")]
            fn put(
                &self,
                store: &StoreContextMut<'_, Ctx>,
                out: &mut BytesMut,
            ) -> wasmtime::Result<()> {
                let ($($name,)*) = self;
                $($name.put(store, out)?;)*
                Ok(())
            }
        }
    };
}

/// A result list; some have room for why a link refused the call.
trait Answer: WireList + ComponentNamedList + Lower {
    fn refused(_: &InvokeError) -> Option<Self> {
        None
    }
}

impl Answer for () {}

impl Answer for (Bytes,) {}

impl Answer for (String,) {}

impl<T> Answer for (Result<T, String>,)
where
    Self: WireList + ComponentNamedList + Lower,
{
    fn refused(error: &InvokeError) -> Option<Self> {
        is_refused(error).then(|| (Err(chain(error)),))
    }
}

guest_list!();
guest_list!(A);
guest_list!(A, B);

fn define<P, R>(
    instance: &mut LinkerInstance<'_, Ctx>,
    name: &str,
    import: Arc<Import>,
) -> wasmtime::Result<()>
where
    P: GuestList,
    R: Answer,
{
    instance.func_wrap_async(name, move |store, params: P| {
        let import = Arc::clone(&import);
        Box::new(async move {
            let mut out = BytesMut::new();
            params.put(&store, &mut out)?;
            let called = store.data().outbound().call(import.target(), out.freeze());
            let reply = match called.await {
                Ok(reply) => reply,
                Err(error) => return Ok(R::refused(&error).ok_or(error)?),
            };
            Ok(R::from_bytes(reply).map_err(|error| malformed(&import, error))?)
        })
    })
}

/// Finds the lane for an import, if its signature is a common one.
pub(super) fn find(import: &Import) -> Option<Define> {
    fn with<P: GuestList>(params: &[Plan], results: &[Plan]) -> Option<Define> {
        fn one<P: GuestList, R>(results: &[Plan]) -> Option<Define>
        where
            R: Answer,
        {
            (R::plans() == results).then_some(define::<P, R> as Define)
        }
        if P::plans() != params {
            return None;
        }
        one::<P, ()>(results)
            .or_else(|| one::<P, (Bytes,)>(results))
            .or_else(|| one::<P, (String,)>(results))
            .or_else(|| one::<P, (Result<Bytes, String>,)>(results))
            .or_else(|| one::<P, (Result<String, String>,)>(results))
            .or_else(|| one::<P, (Result<(), String>,)>(results))
    }
    if import.rpc_error {
        return None;
    }
    let (params, results) = (import.params.plans(), import.results.plans());
    with::<()>(params, results)
        .or_else(|| with::<(WasmList<u8>,)>(params, results))
        .or_else(|| with::<(WasmStr,)>(params, results))
        .or_else(|| with::<(WasmStr, WasmStr)>(params, results))
        .or_else(|| with::<(WasmStr, WasmList<u8>)>(params, results))
}
