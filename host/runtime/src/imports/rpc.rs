//! `wrpc:rpc/error@0.1.0`: the error of a call that could not be carried, as a guest sees it.

use wasmtime::component::{Linker, Resource, ResourceType};
use wasmtime_wasi::p2::IoError;

use super::kept_chain;
use crate::InvokeError;
use crate::store::Ctx;

/// `error` of `wrpc:rpc/error`.
pub(crate) struct RpcError(pub(crate) String);

/// The text of a stream error that comes from a call, as it is kept for a handle; `None` for any
/// other stream error.
pub(super) fn lattice_text(error: &IoError) -> Option<String> {
    error
        .downcast_ref::<InvokeError>()
        .map(|error| kept_chain(error))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_of_a_stream_error_is_cut_where_it_is_too_long_to_be_kept() {
        let error = |bytes: usize| {
            let message = "x".repeat(bytes);
            let target = "other".to_owned();
            lattice_text(&InvokeError::Failed { target, message }.into()).unwrap()
        };
        assert!(error(100).len() >= 100);
        assert!(error(1 << 20).len() < 1 << 16);
        assert_eq!(lattice_text(&wasmtime::Error::msg("another")), None);
    }
}
