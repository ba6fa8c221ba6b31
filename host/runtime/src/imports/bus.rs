//! `wasmcloud:bus`: choosing links, and lattice errors behind stream errors.

use std::sync::Arc;

use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, LinkerInstance, Resource, ResourceType};
use wasmtime_wasi::p2::IoError;

use super::{RpcError, check_kept, messaging};
use crate::store::Ctx;

/// `call-target-interface`: the interface as links name it.
struct CallTarget(String);

/// `error` of `wasmcloud:bus/error`.
struct BusError(String);

pub(super) fn link(linker: &mut Linker<Ctx>) -> wasmtime::Result<()> {
    let mut first = linker.instance("wasmcloud:bus/lattice@1.0.0")?;
    link_target(&mut first)?;
    first.func_wrap(
        "set-link-name",
        |mut store, (name, targets): (String, Vec<Resource<CallTarget>>)| {
            // A name without a link shows up at the call.
            choose(&mut store, name, targets, |_, _| Ok(()))?.map_err(wasmtime::Error::msg)
        },
    )?;
    let mut second = linker.instance("wasmcloud:bus/lattice@2.0.1")?;
    link_target(&mut second)?;
    second.func_wrap(
        "set-link-name",
        |mut store, (name, targets): (String, Vec<Resource<CallTarget>>)| {
            Ok((choose(&mut store, name, targets, |cx, (name, lookup)| {
                if messaging::has_link(cx.env(), name, lookup) {
                    return Ok(());
                }
                Err(format!(
                    "interface `{lookup}` does not have an existing link with name `{name}`"
                ))
            })?,))
        },
    )?;
    link_error(&mut linker.instance("wasmcloud:bus/error@2.0.1")?)
}

fn link_target(instance: &mut LinkerInstance<'_, Ctx>) -> wasmtime::Result<()> {
    instance.resource(
        "call-target-interface",
        ResourceType::host::<CallTarget>(),
        |mut store, rep| {
            store
                .data_mut()
                .table
                .delete(Resource::<CallTarget>::new_own(rep))?;
            Ok(())
        },
    )?;
    instance.func_wrap(
        "[constructor]call-target-interface",
        |mut store, (namespace, package, interface): (String, String, String)| {
            let lookup = format!("{namespace}:{package}/{interface}");
            check_kept("the name of an interface", &lookup).map_err(wasmtime::Error::msg)?;
            Ok((store.data_mut().table.push(CallTarget(lookup))?,))
        },
    )
}

/// Sets the link name for all targets, or for none when `check` refuses one.
fn choose(
    store: &mut StoreContextMut<'_, Ctx>,
    name: String,
    targets: Vec<Resource<CallTarget>>,
    check: impl Fn(&Ctx, (&str, &str)) -> Result<(), String>,
) -> wasmtime::Result<Result<(), String>> {
    let cx = store.data_mut();
    let mut lookups = Vec::with_capacity(targets.len());
    for target in targets {
        lookups.push(cx.table.delete(target)?.0);
    }
    if let Err(refused) = check_kept("the name of a link", &name) {
        return Ok(Err(refused));
    }
    if !cx.outbound().has_room_for(&lookups) {
        return Ok(Err(
            "links were chosen for more interfaces than one call may choose them for".to_owned(),
        ));
    }
    for lookup in &lookups {
        if let Err(refused) = check(cx, (&name, lookup)) {
            return Ok(Err(refused));
        }
    }
    let name: Arc<str> = name.into();
    for lookup in lookups {
        cx.outbound_mut().set_link(lookup, Arc::clone(&name));
    }
    Ok(Ok(()))
}

fn link_error(instance: &mut LinkerInstance<'_, Ctx>) -> wasmtime::Result<()> {
    instance.resource(
        "error",
        ResourceType::host::<BusError>(),
        |mut store, rep| {
            store
                .data_mut()
                .table
                .delete(Resource::<BusError>::new_own(rep))?;
            Ok(())
        },
    )?;
    instance.func_wrap(
        "[static]error.from-rpc-error",
        |mut store, (error,): (Resource<RpcError>,)| {
            let table = &mut store.data_mut().table;
            let RpcError(text) = table.delete(error)?;
            Ok((table.push(BusError(text))?,))
        },
    )?;
    instance.func_wrap(
        "[static]error.from-io-error",
        |mut store, (error,): (Resource<IoError>,)| {
            let table = &mut store.data_mut().table;
            Ok((match super::rpc::lattice_text(table.get(&error)?) {
                Some(text) => {
                    table.delete(error)?;
                    Ok(table.push(BusError(text))?)
                }
                None => Err(error),
            },))
        },
    )?;
    instance.func_wrap(
        "[method]error.to-debug-string",
        |store, (error,): (Resource<BusError>,)| Ok((store.data().table.get(&error)?.0.clone(),)),
    )
}
