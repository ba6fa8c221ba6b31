//! How each export is called: with Rust types where its signature is a common one, else with
//! values that follow the plan of its type.

use std::pin::Pin;

use bytes::Bytes;
use lattice_codec::DecodeError;
use wasmtime::Store;
use wasmtime::component::{
    ComponentExportIndex, ComponentNamedList, Func, Instance, Lift, Lower, Resource, Val,
};

use crate::codec::{self, NoHandles, Plan};
use crate::imports::{BrokerMessage, Bucket, HandlerError, Message, OwnMessage, RpcError};
use crate::store::Ctx;
use crate::wire::WireList;
use crate::{CallError, CodecError, Export, Shape};

/// How one export is called.
pub(crate) struct CallPlan {
    pub(crate) index: ComponentExportIndex,
    pub(crate) function: String,
    pub(crate) how: How,
}

/// The ways to call an export.
pub(crate) enum How {
    /// With Rust types on both sides.
    Typed(TypedCall),
    /// With values.
    Values {
        /// The parameters.
        params: Shape,
        /// The results on the wire.
        results: Shape,
        /// The result is `result<T, error>` of `wrpc:rpc`, of which only `T` travels.
        rpc_error: bool,
    },
}

/// A call whose types are Rust types: parameters in, results out, both encoded.
pub(crate) type TypedCall = for<'a> fn(&'a mut Store<Ctx>, Func, Bytes) -> Calling<'a>;

type Calling<'a> = Pin<Box<dyn Future<Output = wasmtime::Result<Bytes>> + Send + 'a>>;

impl CallPlan {
    /// Refuses what is not just the parameters of the export; says how many parts their values have.
    pub(crate) fn parts(&self, export: &Export, params: &Bytes) -> Result<u32, CallError> {
        let parts = match &self.how {
            // Rust types take little more than the bytes themselves.
            How::Typed(_) => check_whole(export, params).map(|()| 0),
            How::Values { params: shape, .. } => codec::count_parts(shape, params),
        };
        parts.map_err(|source| self.params_error(source))
    }

    /// Calls the export of an instance.
    pub(crate) async fn run(
        &self,
        store: &mut Store<Ctx>,
        instance: &Instance,
        params: Bytes,
    ) -> wasmtime::Result<Bytes> {
        let func =
            instance
                .get_func(&mut *store, self.index)
                .ok_or_else(|| CallError::WrongExport {
                    function: self.function.clone(),
                })?;
        match &self.how {
            How::Typed(call) => call(store, func, params)
                .await
                .map_err(|error| self.named(error)),
            How::Values {
                params: shape,
                results,
                rpc_error,
            } => {
                let params = codec::decode_list(shape, params, &mut NoHandles)
                    .map_err(|source| self.params_error(source))?;
                let mut values =
                    vec![Val::Bool(false); results.plans().len().max((*rpc_error).into())];
                func.call_async(&mut *store, &params, &mut values).await?;
                if *rpc_error {
                    values = accepted(store, values)?;
                }
                let bytes = codec::encode_list(results, &values, &mut NoHandles);
                Ok(bytes.map_err(|source| self.results_error(source))?)
            }
        }
    }

    fn params_error(&self, source: CodecError) -> CallError {
        CallError::Params {
            function: self.function.clone(),
            source,
        }
    }

    fn results_error(&self, source: CodecError) -> CallError {
        CallError::Results {
            function: self.function.clone(),
            source,
        }
    }

    /// Adds the function's name to what a typed call says about its parameters.
    fn named(&self, error: wasmtime::Error) -> wasmtime::Error {
        match error.downcast::<BadParams>() {
            Ok(BadParams(source)) => self.params_error(source.into()).into(),
            Err(other) => other,
        }
    }
}

fn check_whole(export: &Export, params: &Bytes) -> Result<(), CodecError> {
    match export.params_complete(params)? {
        Some(len) if len == params.len() => Ok(()),
        Some(len) => Err(DecodeError::Trailing(params.len() - len).into()),
        None => Err(DecodeError::Incomplete { needed: 1 }.into()),
    }
}

/// The parameters of a typed call cannot be read.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
struct BadParams(DecodeError);

/// Turns `result<T, error>` into what travels of it.
fn accepted(store: &mut Store<Ctx>, values: Vec<Val>) -> wasmtime::Result<Vec<Val>> {
    match values.into_iter().next() {
        Some(Val::Result(Ok(value))) => Ok(value.into_iter().map(|value| *value).collect()),
        Some(Val::Result(Err(Some(error)))) => {
            let Val::Resource(handle) = *error else {
                wasmtime::bail!("the error of the result is not a resource");
            };
            let handle: Resource<RpcError> = handle.try_into_resource(&mut *store)?;
            let RpcError(message) = store.data_mut().table.delete(handle)?;
            Err(CallError::Refused { message }.into())
        }
        other => wasmtime::bail!("expected a result, found {other:?}"),
    }
}

fn typed<'a, P, R>(store: &'a mut Store<Ctx>, func: Func, params: Bytes) -> Calling<'a>
where
    P: WireList + ComponentNamedList + Lower,
    R: WireList + ComponentNamedList + Lift,
{
    Box::pin(async move {
        let params = P::from_bytes(params).map_err(BadParams)?;
        let results = func
            .typed::<P, R>(&*store)?
            .call_async(store, params)
            .await?;
        Ok(results.to_bytes())
    })
}

/// `on-set` and `on-delete` of `wasi:keyvalue/watcher`: the text that travels for the bucket
/// becomes an opened bucket.
fn watcher<'a, P>(store: &'a mut Store<Ctx>, func: Func, params: Bytes) -> Calling<'a>
where
    P: WatcherParams,
{
    Box::pin(async move {
        let (bucket, rest) = P::split(P::from_bytes(params).map_err(BadParams)?);
        let bucket = store.data_mut().table.push(Bucket(bucket))?;
        P::call(store, func, bucket, rest).await?;
        Ok(Bytes::new())
    })
}

/// The parameters of a function of `watcher` as they travel.
trait WatcherParams: WireList {
    type Rest: Send;

    fn split(self) -> (String, Self::Rest);

    fn call(
        store: &mut Store<Ctx>,
        func: Func,
        bucket: Resource<Bucket>,
        rest: Self::Rest,
    ) -> impl Future<Output = wasmtime::Result<()>> + Send;
}

impl WatcherParams for (String, String, Bytes) {
    type Rest = (String, Bytes);

    fn split(self) -> (String, Self::Rest) {
        (self.0, (self.1, self.2))
    }

    async fn call(
        store: &mut Store<Ctx>,
        func: Func,
        bucket: Resource<Bucket>,
        (key, value): Self::Rest,
    ) -> wasmtime::Result<()> {
        let func = func.typed::<(Resource<Bucket>, String, Bytes), ()>(&*store)?;
        func.call_async(store, (bucket, key, value)).await
    }
}

impl WatcherParams for (String, String) {
    type Rest = String;

    fn split(self) -> (String, Self::Rest) {
        self
    }

    async fn call(
        store: &mut Store<Ctx>,
        func: Func,
        bucket: Resource<Bucket>,
        key: Self::Rest,
    ) -> wasmtime::Result<()> {
        let func = func.typed::<(Resource<Bucket>, String), ()>(&*store)?;
        func.call_async(store, (bucket, key)).await
    }
}

/// The call of a watcher's function and the shape of its parameters.
pub(crate) fn watcher_call(function: &str) -> Option<(TypedCall, Shape)> {
    match function {
        "on-set" => Some((
            watcher::<(String, String, Bytes)>,
            <(String, String, Bytes)>::shape(),
        )),
        "on-delete" => Some((watcher::<(String, String)>, <(String, String)>::shape())),
        _ => None,
    }
}

/// The call of `handle-message` and the shape of its parameters.
pub(crate) fn message_call() -> (TypedCall, Shape) {
    (
        typed::<(BrokerMessage,), (Result<(), String>,)>,
        <(BrokerMessage,)>::shape(),
    )
}

/// `handle` of an `incoming-handler` whose message is a resource, called by our own package.
fn incoming<'a>(store: &'a mut Store<Ctx>, func: Func, params: Bytes) -> Calling<'a> {
    Box::pin(async move {
        let (message,) = <(OwnMessage,)>::from_bytes(params).map_err(BadParams)?;
        Ok((handled(store, func, message).await?,).to_bytes())
    })
}

/// The same, called by that of 1.x, whose errors are texts.
fn plain_incoming<'a>(store: &'a mut Store<Ctx>, func: Func, params: Bytes) -> Calling<'a> {
    Box::pin(async move {
        let (message,) = <(BrokerMessage,)>::from_bytes(params).map_err(BadParams)?;
        let handled = handled(store, func, message.into()).await?;
        Ok((handled.map_err(|error| error.to_string()),).to_bytes())
    })
}

async fn handled(
    store: &mut Store<Ctx>,
    func: Func,
    message: OwnMessage,
) -> wasmtime::Result<Result<(), HandlerError>> {
    let message = Message::arrived(message, store.data_mut().writing());
    let message = store.data_mut().table.push(message)?;
    let func = func.typed::<(Resource<Message>,), (Result<(), HandlerError>,)>(&*store)?;
    let (handled,) = func.call_async(store, (message,)).await?;
    Ok(handled)
}

/// The call of `incoming-handler.handle` by our own package, and the shape of its parameters.
pub(crate) fn incoming_call() -> (TypedCall, Shape) {
    (incoming, <(OwnMessage,)>::shape())
}

/// `offered`: that it is served is its answer. The guest is not asked.
fn offered<'a>(_store: &'a mut Store<Ctx>, _func: Func, params: Bytes) -> Calling<'a> {
    Box::pin(async move {
        <()>::from_bytes(params).map_err(BadParams)?;
        Ok(Bytes::new())
    })
}

/// The call by which providers find out whether messages are handled in our own form.
pub(crate) fn offered_call() -> (TypedCall, Shape) {
    (offered, <()>::shape())
}

/// The same by the package of 1.x.
pub(crate) fn plain_incoming_call() -> (TypedCall, Shape) {
    (plain_incoming, <(BrokerMessage,)>::shape())
}

/// The typed call for a signature, if it is a common one.
pub(crate) fn typed_call(params: &Shape, results: &Shape) -> Option<TypedCall> {
    fn with<P>(params: &[Plan], results: &[Plan]) -> Option<TypedCall>
    where
        P: WireList + ComponentNamedList + Lower,
    {
        fn one<P, R>(results: &[Plan]) -> Option<TypedCall>
        where
            P: WireList + ComponentNamedList + Lower,
            R: WireList + ComponentNamedList + Lift,
        {
            (R::plans() == results).then_some(typed::<P, R> as TypedCall)
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
    let (params, results) = (params.plans(), results.plans());
    with::<()>(params, results)
        .or_else(|| with::<(Bytes,)>(params, results))
        .or_else(|| with::<(String,)>(params, results))
        .or_else(|| with::<(String, String)>(params, results))
        .or_else(|| with::<(String, Bytes)>(params, results))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::testing::{EchoHttp, FakeEnv};
    use crate::{CallContext, Component, ComponentOptions, Runtime, RuntimeConfig};

    /// Takes a list of any length.
    const TAKER: &str = r#"(component
      (core module $m
        (memory (export "memory") 1)
        (func (export "realloc") (param i32 i32 i32 i32) (result i32) i32.const 0)
        (func (export "take") (param i32 i32)))
      (core instance $i (instantiate $m))
      (func (export "take") (param "items" (list bool))
        (canon lift (core func $i "take")
          (memory (core memory $i "memory")) (realloc (core func $i "realloc")))))"#;

    async fn take(component: &Component, items: usize) -> Result<Bytes, CallError> {
        let mut params = bytes::BytesMut::new();
        lattice_codec::write::uleb(&mut params, items as u64);
        params.resize(params.len() + items, 1);
        let cx = CallContext::within(std::time::Duration::from_secs(60));
        let export = &component.exports()[0];
        component.call(export, cx, params.freeze()).await
    }

    #[tokio::test]
    async fn the_values_of_all_calls_have_a_bound_together() {
        let config = RuntimeConfig {
            max_instances: 4,
            max_memory_bytes: 1 << 20,
            ..RuntimeConfig::default()
        };
        let runtime = Runtime::new(config).unwrap();
        let wasm = wat::parse_str(TAKER).unwrap().into();
        let (options, env) = (ComponentOptions::default(), Arc::new(FakeEnv::default()));
        let prepared = runtime.prepare(wasm, options, Arc::new(EchoHttp), env);
        let component = prepared.await.unwrap();
        let room = &runtime.inner().value_room;
        let others = room.take_all_but(2000);
        take(&component, 1999).await.unwrap();
        assert_eq!(room.left(), 2000, "the room is given back");
        let refused = take(&component, 2000).await;
        assert!(matches!(refused, Err(CallError::NoRoom)), "{refused:?}");
        drop(others);
        take(&component, 2000).await.unwrap();
        let _others = room.take_all_but(0);
        take(&component, 1000).await.unwrap();
    }
}
