//! Forwarding with values of any type.

use std::sync::Arc;

use bytes::Bytes;
use wasmtime::StoreContextMut;
use wasmtime::component::{LinkerInstance, Resource, ResourceAny, Val};

use super::{Import, push_error};
use crate::codec::{self, Handles, MAX_PARTS, Plan};
use crate::outbound::Outbound;
use crate::store::Ctx;
use crate::value_room::{Full, ValueRoom};
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
            let room = &store.data().shared().runtime.value_room;
            let reply = forward(&import, params, store.data().outbound(), room).await;
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

/// Sends encoded parameters and waits for the answer. The values that they were stay until then, and take
/// room among those of other calls.
async fn forward(
    import: &Import,
    params: Bytes,
    outbound: &Outbound,
    room: &ValueRoom,
) -> Result<Bytes, InvokeError> {
    // What was just encoded can only be refused for having more parts than that.
    let parts = codec::count_parts(&import.params, &params).unwrap_or(MAX_PARTS as u32);
    let room = room.take_to_pass_on(parts);
    let _room = room.map_err(|Full| InvokeError::Overloaded {
        target: "this host".to_owned(),
    })?;
    outbound.call(import.target(), params).await
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::testing::{EchoHttp, FakeEnv};
    use crate::{CallContext, CallError, Component, ComponentOptions, Runtime, RuntimeConfig};

    /// Calls an import with a list of 2000 values.
    const GIVER: &str = r#"(component
      (import "test:far/taker" (instance $far
        (export "take" (func (param "items" (list bool))))))
      (core module $store (memory (export "memory") 1))
      (core instance $store (instantiate $store))
      (core func $take (canon lower (func $far "take")
        (memory (core memory $store "memory"))))
      (core module $m
        (import "far" "take" (func $take (param i32 i32)))
        (func (export "give") (call $take (i32.const 0) (i32.const 2000))))
      (core instance $i (instantiate $m
        (with "far" (instance (export "take" (func $take))))))
      (func (export "give") (canon lift (core func $i "give"))))"#;

    async fn give(component: &Component) -> InvokeError {
        let cx = CallContext::within(Duration::from_secs(60));
        let export = &component.exports()[0];
        match component.call(export, cx, Bytes::new()).await {
            Err(CallError::Import(error)) => error,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn what_a_guest_gives_as_values_takes_room_until_the_answer() {
        let config = RuntimeConfig {
            max_instances: 4,
            max_memory_bytes: 1 << 20,
            ..RuntimeConfig::default()
        };
        let runtime = Runtime::new(config).unwrap();
        let wasm = wat::parse_str(GIVER).unwrap().into();
        let (options, env) = (ComponentOptions::default(), Arc::new(FakeEnv::default()));
        let prepared = runtime.prepare(wasm, options, Arc::new(EchoHttp), env);
        let component = prepared.await.unwrap();
        let room = &runtime.inner().value_room;
        let others = room.take_all_to_pass_on();
        let refused = give(&component).await;
        assert!(
            matches!(refused, InvokeError::Overloaded { .. }),
            "{refused:?}"
        );
        drop(others);
        let all = room.left();
        // Nobody serves it, which shows that it was asked.
        let asked = give(&component).await;
        assert!(matches!(asked, InvokeError::NotServed { .. }), "{asked:?}");
        assert_eq!(room.left(), all, "the room is given back");
    }
}
