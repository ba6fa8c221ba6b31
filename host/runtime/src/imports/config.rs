//! `wasi:config`: `store` in the drafts in use, and `runtime` as it was called before.

use wasmtime::component::{ComponentType, Lift, Linker, Lower};

use crate::store::Ctx;

/// `error`, formerly `config-error`. The host answers from memory, so that neither case occurs.
#[derive(Debug, Clone, ComponentType, Lift, Lower)]
#[component(variant)]
enum Error {
    #[component(name = "upstream")]
    Upstream(String),
    #[component(name = "io")]
    Io(String),
}

/// Present, former and later names; all have the same functions.
pub(super) const NAMES: [&str; 4] = [
    "wasi:config/runtime@0.2.0-draft",
    "wasi:config/store@0.2.0-draft",
    "wasi:config/store@0.2.0-draft-2024-09-27",
    "wasi:config/store@0.2.0-rc.1",
];

pub(super) fn link(linker: &mut Linker<Ctx>) -> wasmtime::Result<()> {
    for name in NAMES {
        let mut instance = linker.instance(name)?;
        instance.func_wrap("get", |store, (key,): (String,)| {
            let value = store.data().env().config().get(&key).cloned();
            Ok((Ok::<_, Error>(value),))
        })?;
        instance.func_wrap("get-all", |store, (): ()| {
            let config = store.data().env().config();
            let all = config
                .iter()
                .map(|(key, value)| (key.clone(), value.clone()));
            Ok((Ok::<_, Error>(all.collect::<Vec<_>>()),))
        })?;
    }
    Ok(())
}
