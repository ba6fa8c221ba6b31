//! Forwarding with values of any type.

use std::sync::Arc;

use bytes::Bytes;
use wasmtime::StoreContextMut;
use wasmtime::component::{LinkerInstance, Resource, ResourceAny, Val};

use super::{Import, push_error};
use crate::codec::{self, Handles, Plan};
use crate::store::Ctx;
use crate::{CodecError, InvokeError};

/// A resource that the callee owns: the bytes that stand for it on the wire.
pub(crate) struct RemoteResource(Bytes);

struct StoreHandles<'a, 'b>(&'a mut StoreContextMut<'b, Ctx>);

impl Handles for StoreHandles<'_, '_> {
    fn to_wire(&mut self, handle: ResourceAny) -> Result<Bytes, CodecError> {
        let fail = |error: wasmtime::Error| CodecError::Handle(format!("{error:#}"));
        let handle: Resource<RemoteResource> =
            handle.try_into_resource(&mut *self.0).map_err(fail)?;
        let table = &mut self.0.data_mut().table;
        let bytes = if handle.owned() {
            table.delete(handle).map(|RemoteResource(bytes)| bytes)
        } else {
            table
                .get(&handle)
                .map(|RemoteResource(bytes)| bytes.clone())
        };
        bytes.map_err(|error| fail(error.into()))
    }

    fn adopt(&mut self, bytes: Bytes) -> Result<ResourceAny, CodecError> {
        let fail = |error: wasmtime::Error| CodecError::Handle(format!("{error:#}"));
        let handle = self.0.data_mut().table.push(RemoteResource(bytes));
        let handle = handle.map_err(|error| fail(error.into()))?;
        ResourceAny::try_from_resource(handle, &mut *self.0).map_err(fail)
    }
}

/// Defines a function that forwards values.
pub(super) fn define(
    instance: &mut LinkerInstance<'_, Ctx>,
    name: &str,
    import: Arc<Import>,
) -> wasmtime::Result<()> {
    instance.func_new_async(name, move |mut store, _, params, results| {
        let import = Arc::clone(&import);
        Box::new(async move {
            let params = codec::encode_list(&import.params, params, &mut StoreHandles(&mut store))?;
            let reply = store.data().outbound().call(import.target(), params).await;
            let values = match reply {
                Ok(reply) => answer(&import, reply, &mut store)?,
                Err(error) if import.rpc_error => vec![failure(&error, &mut store)?],
                Err(error) => match unavailable(&import, &error) {
                    Some(value) => vec![value],
                    None => return Err(error.into()),
                },
            };
            if values.len() != results.len() {
                wasmtime::bail!("{} results instead of {}", values.len(), results.len());
            }
            results
                .iter_mut()
                .zip(values)
                .for_each(|(to, from)| *to = from);
            Ok(())
        })
    })
}

fn answer(
    import: &Import,
    reply: Bytes,
    store: &mut StoreContextMut<'_, Ctx>,
) -> wasmtime::Result<Vec<Val>> {
    match codec::decode_list(&import.results, reply, &mut StoreHandles(store)) {
        Ok(values) if import.rpc_error => {
            let value = values.into_iter().next().map(Box::new);
            Ok(vec![Val::Result(Ok(value))])
        }
        Ok(values) => Ok(values),
        Err(error) => {
            let error = malformed(import, error);
            if import.rpc_error {
                Ok(vec![failure(&error, store)?])
            } else {
                Err(error.into())
            }
        }
    }
}

/// An answer that is not what the function returns.
pub(super) fn malformed(
    import: &Import,
    error: impl std::error::Error + Send + Sync + 'static,
) -> InvokeError {
    InvokeError::Transport {
        what: format!(
            "the answer of `{}.{}` is malformed",
            import.instance, import.function
        ),
        source: Some(Box::new(error)),
    }
}

/// The name of the error that says in words why a target cannot be reached.
const UNAVAILABLE: &str = "unavailable";

/// What a call to a target that is gone or has no room is to a guest whose interface has an error to
/// hold it. All else stays a trap: no guest gets further by waiting for it.
fn unavailable(import: &Import, error: &InvokeError) -> Option<Val> {
    let may_pass = matches!(
        error,
        InvokeError::NotServed { .. } | InvokeError::Overloaded { .. } | InvokeError::Gone { .. }
    );
    if !may_pass {
        return None;
    }
    let [Plan::Result { err: Some(err), .. }] = import.results.plans() else {
        return None;
    };
    let Plan::Variant { names, cases } = &**err else {
        return None;
    };
    let case = cases.get(names.position(UNAVAILABLE)?)?;
    if !matches!(case, Some(Plan::String)) {
        return None;
    }
    let words = Box::new(Val::String(crate::imports::chain(error)));
    let value = Val::Variant(UNAVAILABLE.to_owned(), Some(words));
    Some(Val::Result(Err(Some(Box::new(value)))))
}

fn failure(error: &InvokeError, store: &mut StoreContextMut<'_, Ctx>) -> wasmtime::Result<Val> {
    let handle = push_error(store.data_mut(), error)?;
    let handle = ResourceAny::try_from_resource(handle, store)?;
    Ok(Val::Result(Err(Some(Box::new(Val::Resource(handle))))))
}
