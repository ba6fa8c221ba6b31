//! `cas` and `swap` of `wasi:keyvalue/atomics@0.2.0-draft2`.
//!
//! A handle holds what its key held when it was made, with the version that the store gave that.

use bytes::Bytes;
use lattice_core::keyvalue::{Outcome, Versioned};
use wasmtime::component::{ComponentType, Lift, LinkerInstance, Lower, Resource, ResourceType};

use super::second::ask;
use super::wire::Error;
use super::{Borrowed, name};
use crate::InvokeError;
use crate::imports::{Remote, chain, outcome};
use crate::store::Ctx;

const READ: Remote = Remote {
    lookup: "wasi:keyvalue/atomics",
    instances: &["lattice:keyvalue/store@0.1.0"],
    function: "read",
};

const SWAP: Remote = Remote {
    lookup: "wasi:keyvalue/atomics",
    instances: &["lattice:keyvalue/atomics@0.1.0"],
    function: "swap",
};

/// A key as it was.
struct Cas {
    bucket: String,
    key: String,
    seen: Versioned,
}

impl Cas {
    /// How many bytes it keeps.
    fn holds(&self) -> usize {
        let texts = [&self.bucket, &self.key, &self.seen.version];
        let value = self.seen.value.as_ref().map_or(0, Bytes::len);
        texts.into_iter().map(String::len).sum::<usize>() + value
    }
}

/// `cas-error`.
#[derive(ComponentType, Lift, Lower)]
#[component(variant)]
enum CasError {
    #[component(name = "store-error")]
    Store(Error),
    #[component(name = "cas-failed")]
    Failed(Resource<Cas>),
}

/// The store behind the link is one of the first draft.
fn cannot(error: &InvokeError) -> Error {
    let why = chain(error);
    Error::Other(format!(
        "the store behind this link cannot compare and swap: {why}"
    ))
}

pub(super) fn link(instance: &mut LinkerInstance<'_, Ctx>) -> wasmtime::Result<()> {
    instance.resource("cas", ResourceType::host::<Cas>(), |mut store, rep| {
        let cas = Resource::<Cas>::new_own(rep);
        store.data_mut().table.delete(cas)?;
        Ok(())
    })?;
    link_new(instance)?;
    instance.func_wrap("[method]cas.current", |store, (cas,): (Resource<Cas>,)| {
        let seen = &store.data().table.get(&cas)?.seen;
        Ok((Ok::<_, Error>(seen.value.clone()),))
    })?;
    link_swap(instance)
}

fn link_new(instance: &mut LinkerInstance<'_, Ctx>) -> wasmtime::Result<()> {
    let results = outcome::<Versioned, Error>();
    instance.func_wrap_async(
        "[static]cas.new",
        move |mut store, (bucket, key): (Borrowed, String)| {
            let results = results.clone();
            Box::new(async move {
                let bucket = name(store.data(), &bucket)?;
                let params = (bucket.clone(), key.clone());
                let outbound = store.data().outbound();
                let made = match ask::<_, Versioned>(outbound, READ, &results, params).await {
                    Ok(Ok(seen)) => keep(store.data_mut(), Cas { bucket, key, seen }),
                    Ok(Err(error)) => Err(error),
                    Err((_, error)) => Err(cannot(&error)),
                };
                Ok((made,))
            })
        },
    )
}

fn link_swap(instance: &mut LinkerInstance<'_, Ctx>) -> wasmtime::Result<()> {
    let results = outcome::<Outcome, Error>();
    instance.func_wrap_async(
        "swap",
        move |mut store, (cas, value): (Resource<Cas>, Bytes)| {
            let results = results.clone();
            Box::new(async move {
                let Cas { bucket, key, seen } = store.data_mut().table.delete(cas)?;
                let params = (bucket.clone(), key.clone(), seen.version, value);
                let outbound = store.data().outbound();
                let swapped = match ask::<_, Outcome>(outbound, SWAP, &results, params).await {
                    Ok(Ok(Outcome::Swapped)) => Ok(()),
                    Ok(Ok(Outcome::Stale(seen))) => {
                        let kept = keep(store.data_mut(), Cas { bucket, key, seen });
                        Err(kept.map_or_else(CasError::Store, CasError::Failed))
                    }
                    Ok(Err(error)) => Err(CasError::Store(error)),
                    Err((_, error)) => Err(CasError::Store(cannot(&error))),
                };
                Ok((swapped,))
            })
        },
    )
}

/// Makes a handle. All of a guest together hold no more than it may have buffered.
fn keep(cx: &mut Ctx, cas: Cas) -> Result<Resource<Cas>, Error> {
    let most = cx.shared().options.max_buffered_bytes;
    let entries = cx.table.iter_mut();
    let others = entries.filter_map(|entry| entry.downcast_ref::<Cas>());
    if others.map(Cas::holds).sum::<usize>() + cas.holds() > most {
        return Err(Error::Other(format!(
            "the handles for comparing and swapping hold more than {most} bytes together; drop \
             those that are not needed"
        )));
    }
    let kept = cx.table.push(cas);
    kept.map_err(|error| Error::Other(chain(&error)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handle_counts_with_all_that_it_keeps() {
        let text = |bytes| "x".repeat(bytes);
        let cas = Cas {
            bucket: text(1000),
            key: text(200),
            seen: Versioned {
                value: Some(Bytes::from_static(b"value")),
                version: text(30),
            },
        };
        assert_eq!(cas.holds(), 1235);
    }
}
