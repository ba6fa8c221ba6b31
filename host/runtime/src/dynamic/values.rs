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

/// How long the bytes of a handle may be.
const MAX_HANDLE: usize = 4 << 10;

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
        if bytes.len() > MAX_HANDLE {
            return Err(CodecError::Handle(format!(
                "it has {} bytes, more than {MAX_HANDLE}",
                bytes.len()
            )));
        }
        // A slice would keep the whole answer for as long as the handle is there.
        let bytes = Bytes::copy_from_slice(&bytes);
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
                Err(error) => match as_value(&import, &error) {
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

/// The cases of an error, of which the first that there is says why a call was not made. `None` for
/// what is a trap in any case: no guest gets further by waiting for it.
pub(super) fn cases_for(error: &InvokeError) -> Option<&'static [&'static str]> {
    match error {
        InvokeError::NotServed { .. }
        | InvokeError::Overloaded { .. }
        | InvokeError::Gone { .. } => Some(&["unavailable"]),
        InvokeError::Denied { .. } => {
            Some(&["access-denied", "permission-denied", "other", "unexpected"])
        }
        InvokeError::Limited { .. } => Some(&["busy", "unavailable", "other", "unexpected"]),
        _ => None,
    }
}

/// Whether the host itself has refused the call because of a rule of the link.
pub(super) fn is_refused(error: &InvokeError) -> bool {
    matches!(
        error,
        InvokeError::Denied { .. } | InvokeError::Limited { .. }
    )
}

/// What a call that was not made is to a guest whose interface has an error to hold it.
fn as_value(import: &Import, error: &InvokeError) -> Option<Val> {
    let wanted = cases_for(error)?;
    let [Plan::Result { err: Some(err), .. }] = import.results.plans() else {
        return None;
    };
    let words = || Val::String(crate::imports::chain(error));
    let value = match &**err {
        Plan::String if is_refused(error) => words(),
        Plan::Variant { names, cases } => wanted.iter().find_map(|name| {
            let payload = match cases.get(names.position(name)?)? {
                Some(Plan::String) => Some(Box::new(words())),
                None if is_refused(error) => None,
                _ => return None,
            };
            Some(Val::Variant((*name).to_owned(), payload))
        })?,
        _ => return None,
    };
    Some(Val::Result(Err(Some(Box::new(value)))))
}

fn failure(error: &InvokeError, store: &mut StoreContextMut<'_, Ctx>) -> wasmtime::Result<Val> {
    let handle = push_error(store.data_mut(), error)?;
    let handle = ResourceAny::try_from_resource(handle, store)?;
    Ok(Val::Result(Err(Some(Box::new(Val::Resource(handle))))))
}
