//! `wasi:keyvalue@0.2.0-draft2`.
//!
//! What it shares with the first draft goes the same way. What it has more is asked of
//! `lattice:keyvalue@0.1.0`; where a provider, such as one of the 1.9 lattice, does not serve that,
//! the first draft does what it can, and the rest is refused with an error value.
//!
//! One id stands for two shapes of `batch.get-many`: that of the proposal, which is the first
//! draft's, and that of Spin. A component is given the one that it imports; see [`fit`].

use std::collections::HashMap;

use bytes::Bytes;
use lattice_core::values::Plain;
use wasmtime::Engine;
use wasmtime::component::types::{ComponentInstance, ComponentItem, Type};
use wasmtime::component::{Linker, LinkerInstance};

use super::wire::{Error, KeyResponse, TextResponse};
use super::{Borrowed, Entries, INCREMENT, batch, cas, name, store};
use super::{link_batch, link_bucket, link_writes};
use crate::imports::{FromInvoke as _, Remote, answered, outcome, unwrap_reply};
use crate::outbound::Outbound;
use crate::store::Ctx;
use crate::wire::{Wire, WireList};
use crate::{InvokeError, Shape};

const STORE: &str = "wasi:keyvalue/store@0.2.0-draft2";
const ATOMICS: &str = "wasi:keyvalue/atomics@0.2.0-draft2";
const BATCH: &str = "wasi:keyvalue/batch@0.2.0-draft2";

const LIST: Remote = Remote {
    lookup: "wasi:keyvalue/store",
    instances: &["lattice:keyvalue/store@0.1.0"],
    function: "list-keys",
};

const ADD: Remote = Remote {
    lookup: "wasi:keyvalue/atomics",
    instances: &["lattice:keyvalue/atomics@0.1.0"],
    function: "increment",
};

pub(super) fn link(linker: &mut Linker<Ctx>) -> wasmtime::Result<()> {
    let mut buckets = linker.instance(STORE)?;
    link_bucket(&mut buckets)?;
    link_list(&mut buckets)?;
    let mut atomics = linker.instance(ATOMICS)?;
    link_increment(&mut atomics)?;
    cas::link(&mut atomics)?;
    link_batch(&mut linker.instance(BATCH)?)
}

/// Gives a component that imports `instance` the shape of `get-many` that it means.
pub(crate) fn fit(
    linker: &mut Linker<Ctx>,
    engine: &Engine,
    import: &str,
    instance: &ComponentInstance,
) -> wasmtime::Result<()> {
    if import != BATCH || !is_spins(engine, instance) {
        return Ok(());
    }
    linker.allow_shadowing(true);
    let mut batch = linker.instance(BATCH)?;
    link_writes(&mut batch)?;
    link_many_of_spin(&mut batch)?;
    linker.allow_shadowing(false);
    Ok(())
}

/// Spin's `get-many` lists tuples, that of the proposal options.
fn is_spins(engine: &Engine, instance: &ComponentInstance) -> bool {
    let found = instance.get_export(engine, "get-many");
    let Some(ComponentItem::ComponentFunc(func)) = found.map(|found| found.ty) else {
        return false;
    };
    let Some(Type::Result(result)) = func.results().next() else {
        return false;
    };
    matches!(result.ok(), Some(Type::List(list)) if matches!(list.ty(), Type::Tuple(_)))
}

/// Asks for what only `lattice:keyvalue` has, by a store in this process with values as they are.
/// Where nobody serves it, the parameters come back with the reason.
pub(super) async fn ask<A, T>(
    outbound: &Outbound,
    remote: Remote,
    results: &Shape,
    params: A,
) -> Result<Result<T, Error>, (A, InvokeError)>
where
    A: WireList + Plain,
    T: Wire + Plain,
{
    let target = remote.target(results);
    let params = match outbound.call_plain(target, params).await {
        Ok(answer) => return Ok(answered(answer)),
        Err(params) => params,
    };
    match outbound.call(target, params.to_bytes()).await {
        Ok(reply) => Ok(unwrap_reply(results, reply)),
        Err(error @ InvokeError::NotServed { .. }) => Err((params, error)),
        Err(error) => Ok(Err(Error::from_invoke(&error))),
    }
}

fn link_list(instance: &mut LinkerInstance<'_, Ctx>) -> wasmtime::Result<()> {
    let results = (
        outcome::<TextResponse, Error>(),
        outcome::<KeyResponse, Error>(),
    );
    instance.func_wrap_async(
        "[method]bucket.list-keys",
        move |store, (bucket, cursor): (Borrowed, Option<String>)| {
            let (results, by_number) = results.clone();
            Box::new(async move {
                let params = (name(store.data(), &bucket)?, cursor);
                let outbound = store.data().outbound();
                let asked = ask::<_, TextResponse>(outbound, LIST, &results, params);
                let answer = match asked.await {
                    Ok(answer) => answer,
                    Err((params, _)) => list_by_number(outbound, &by_number, params).await,
                };
                Ok((answer,))
            })
        },
    )
}

/// Lists as the first draft does, whose cursors are numbers.
async fn list_by_number(
    outbound: &Outbound,
    results: &Shape,
    (bucket, cursor): (String, Option<String>),
) -> Result<TextResponse, Error> {
    let number = |text: String| match text.parse::<u64>() {
        Ok(number) => Ok(number),
        Err(_) => Err(Error::Other(format!("`{text}` is no cursor of this store"))),
    };
    let params = (bucket, cursor.map(number).transpose()?);
    let page: Result<KeyResponse, Error> = store("list-keys")
        .call_again(outbound, results, &params)
        .await;
    let page = page?;
    Ok(TextResponse {
        keys: page.keys,
        cursor: page.cursor.map(|cursor| cursor.to_string()),
    })
}

fn link_increment(instance: &mut LinkerInstance<'_, Ctx>) -> wasmtime::Result<()> {
    let results = (outcome::<i64, Error>(), outcome::<u64, Error>());
    instance.func_wrap_async(
        "increment",
        move |store, (bucket, key, delta): (Borrowed, String, i64)| {
            let (results, unsigned) = results.clone();
            Box::new(async move {
                let params = (name(store.data(), &bucket)?, key, delta);
                let outbound = store.data().outbound();
                let answer = match ask::<_, i64>(outbound, ADD, &results, params).await {
                    Ok(answer) => answer,
                    Err((params, _)) => add_unsigned(outbound, &unsigned, params).await,
                };
                Ok((answer,))
            })
        },
    )
}

/// Adds as the first draft does, which knows no signs.
async fn add_unsigned(
    outbound: &Outbound,
    results: &Shape,
    (bucket, key, delta): (String, String, i64),
) -> Result<i64, Error> {
    let delta = u64::try_from(delta).map_err(|_| {
        let why = "the store behind this link can add, and not take away";
        Error::Other(format!("{why}: `{key}` stays as it is"))
    })?;
    let params = (bucket, key, delta);
    let sum: Result<u64, Error> = INCREMENT.call_again(outbound, results, &params).await;
    let (sum, (_, key, _)) = (sum?, params);
    let beyond = |_| {
        Error::Other(format!(
            "`{key}` is {sum} by now, beyond the largest number"
        ))
    };
    i64::try_from(sum).map_err(beyond)
}

/// `get-many` as Spin has it: each key that was asked for, with what it holds.
fn link_many_of_spin(instance: &mut LinkerInstance<'_, Ctx>) -> wasmtime::Result<()> {
    let results = outcome::<Entries, Error>();
    instance.func_wrap_async(
        "get-many",
        move |store, (bucket, keys): (Borrowed, Vec<String>)| {
            let results = results.clone();
            Box::new(async move {
                let params = (name(store.data(), &bucket)?, keys.clone());
                let outbound = store.data().outbound();
                let many = batch("get-many");
                let got: Result<Entries, Error> = many.call_plain(outbound, &results, params).await;
                Ok((got.map(|entries| of_each_key(keys, entries)),))
            })
        },
    )
}

fn of_each_key(keys: Vec<String>, entries: Entries) -> Vec<(String, Option<Bytes>)> {
    let values: HashMap<String, Bytes> = entries.into_iter().flatten().collect();
    let with_value = |key: String| {
        let value = values.get(&key).cloned();
        (key, value)
    };
    keys.into_iter().map(with_value).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Unserved;

    #[tokio::test]
    async fn the_first_draft_is_asked_as_a_further_form_of_the_same_call() {
        let (unserved, outbound) = Unserved::reached();
        let params = ("b".to_owned(), None::<String>);
        let results = outcome::<TextResponse, Error>();
        let asked = ask::<_, TextResponse>(&outbound, LIST, &results, params);
        let Err((params, _)) = asked.await else {
            panic!("nobody serves it");
        };
        let results = outcome::<KeyResponse, Error>();
        let listed = list_by_number(&outbound, &results, params).await;
        let params = ("b".to_owned(), "k".to_owned(), 1);
        let sum = add_unsigned(&outbound, &outcome::<u64, Error>(), params).await;
        assert!(listed.is_err() && sum.is_err());
        let expected = [
            ("lattice:keyvalue/store@0.1.0", false),
            ("wrpc:keyvalue/store@0.2.0-draft", true),
            ("wrpc:keyvalue/atomics@0.2.0-draft", true),
        ];
        assert_eq!(
            unserved.asked(),
            expected.map(|(form, again)| (form.to_owned(), again))
        );
    }

    #[test]
    fn each_key_is_answered_for() {
        let keys = ["b", "x", "b"].map(str::to_owned).to_vec();
        let b = || Some(("b".to_owned(), Bytes::from_static(b"1")));
        let listed = of_each_key(keys, vec![b(), None, b()]);
        let one = || Some(Bytes::from_static(b"1"));
        let expected = [("b", one()), ("x", None), ("b", one())];
        assert_eq!(listed, expected.map(|(key, value)| (key.to_owned(), value)));
    }
}
