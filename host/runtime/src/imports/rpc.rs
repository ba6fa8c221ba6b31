//! `wrpc:rpc/error@0.1.0`: the error of a call that could not be carried, as a guest sees it.

use wasmtime::component::{Linker, Resource, ResourceType};
use wasmtime_wasi::p2::IoError;

use super::chain;
use crate::InvokeError;
use crate::store::Ctx;

/// `error` of `wrpc:rpc/error`.
pub(crate) struct RpcError(pub(crate) String);

/// The text of a stream error that comes from a call, `None` for any other stream error.
pub(super) fn lattice_text(error: &IoError) -> Option<String> {
    error
        .downcast_ref::<InvokeError>()
        .map(|error| chain(error))
}

pub(super) fn link(linker: &mut Linker<Ctx>) -> wasmtime::Result<()> {
    let mut instance = linker.instance("wrpc:rpc/error@0.1.0")?;
    instance.resource(
        "error",
        ResourceType::host::<RpcError>(),
        |mut store, rep| {
            store
                .data_mut()
                .table
                .delete(Resource::<RpcError>::new_own(rep))?;
            Ok(())
        },
    )?;
    instance.func_wrap(
        "[static]error.from-io-error",
        |mut store, (error,): (Resource<IoError>,)| {
            let table = &mut store.data_mut().table;
            Ok((match lattice_text(table.get(&error)?) {
                Some(text) => {
                    table.delete(error)?;
                    Ok(table.push(RpcError(text))?)
                }
                None => Err(error),
            },))
        },
    )?;
    instance.func_wrap(
        "[method]error.to-debug-string",
        |store, (error,): (Resource<RpcError>,)| Ok((store.data().table.get(&error)?.0.clone(),)),
    )
}
