//! The imports that the host implements, one file per package.

mod blobstore;
mod bus;
mod config;
mod http;
mod keyvalue;
mod lock;
mod logging;
mod messaging;
mod rpc;
mod secrets;

pub(crate) use lattice_core::reply::message_chain as chain;
use lattice_core::text::clipped_bytes;
use lattice_core::values::Plain;
use wasmtime::Engine;
use wasmtime::component::types::ComponentInstance;
use wasmtime::component::{
    ComponentNamedList, HasData, Lift, Linker, LinkerInstance, Lower, ResourceTable,
};
use wasmtime_wasi_io::bindings::wasi::io;

pub(crate) use blobstore::Budget;
pub(crate) use keyvalue::Bucket;
pub(crate) use logging::{CallName, LOG_PER_CALL, Log, Taken};
pub(crate) use messaging::{
    BrokerMessage, Forms, HandlerError, Message, OFFERED, OWN_HANDLER, OwnMessage,
};
pub(crate) use rpc::RpcError;

use crate::outbound::{Outbound, Target};
use crate::store::Ctx;
use crate::wire::{Wire, WireList};
use crate::{ImportTarget, InvokeError, Shape};

/// Registers everything that the host implements.
pub(crate) fn link(linker: &mut Linker<Ctx>) -> wasmtime::Result<()> {
    wasmtime_wasi::p2::add_to_linker_async(linker)?;
    streams(linker)?;
    http::link(linker)?;
    keyvalue::link(linker)?;
    lock::link(linker)?;
    blobstore::link(linker)?;
    config::link(linker)?;
    logging::link(linker)?;
    bus::link(linker)?;
    rpc::link(linker)?;
    secrets::link(linker)?;
    messaging::link(linker)
}

/// Links `wasi:io` anew: that of the crate asks for the whole WASI context, which is made when it
/// is first asked for, only to reach the table in it.
fn streams(linker: &mut Linker<Ctx>) -> wasmtime::Result<()> {
    fn table(cx: &mut Ctx) -> &mut ResourceTable {
        &mut cx.table
    }
    linker.allow_shadowing(true);
    io::error::add_to_linker::<Ctx, Table>(linker, table)?;
    io::poll::add_to_linker::<Ctx, Table>(linker, table)?;
    io::streams::add_to_linker::<Ctx, Table>(linker, table)?;
    linker.allow_shadowing(false);
    Ok(())
}

/// What `wasi:io` works on.
struct Table;

impl HasData for Table {
    type Data<'a> = &'a mut ResourceTable;
}

/// Interfaces that the host implements, each in one version. A version that is compatible in
/// the sense of semantic versioning is served as well; the linker sees to that.
const PROVIDED: &[&str] = &[
    "wasi:blobstore/blobstore@0.2.0-draft",
    "wasi:blobstore/container@0.2.0-draft",
    "wasi:blobstore/types@0.2.0-draft",
    "wasi:distributed-lock/locker@0.1.0",
    "wasi:distributed-lock/types@0.1.0",
    "wasi:keyvalue/atomics@0.2.0-draft",
    "wasi:keyvalue/batch@0.2.0-draft",
    "wasi:keyvalue/store@0.2.0-draft",
    "wasi:keyvalue/atomics@0.2.0-draft2",
    "wasi:keyvalue/batch@0.2.0-draft2",
    "wasi:keyvalue/store@0.2.0-draft2",
    "wasi:logging/logging",
    "wasi:logging/logging@0.1.0-draft",
    "wasi:messaging/producer@0.2.0-draft",
    "wasi:messaging/request-reply@0.2.0-draft",
    "wasi:messaging/types@0.2.0-draft",
    "wasmcloud:bus/error@2.0.1",
    "wasmcloud:bus/lattice@1.0.0",
    "wasmcloud:bus/lattice@2.0.1",
    "wasmcloud:messaging/consumer@0.2.0",
    "wasmcloud:messaging/producer@0.3.0",
    "wasmcloud:messaging/request-reply@0.3.0",
    "wasmcloud:messaging/types@0.2.0",
    "wasmcloud:messaging/types@0.3.0",
    "wasmcloud:secrets/reveal@0.1.0-draft",
    "wasmcloud:secrets/store@0.1.0-draft",
    "wrpc:rpc/error@0.1.0",
];

/// Packages of WASI that only a host can provide: no link may stand in for them.
const HOST_PACKAGES: &[&str] = &[
    "wasi:cli/",
    "wasi:clocks/",
    "wasi:filesystem/",
    "wasi:http/",
    "wasi:io/",
    "wasi:random/",
    "wasi:sockets/",
];

/// Who provides an imported interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Provided {
    /// The host, in a compatible version.
    Host,
    /// Only a host could, and this one does not have the version.
    OtherVersion,
    /// Whoever the component is linked to.
    Link,
}

/// Fits what the host implements to a component, where one name stands for several shapes.
pub(crate) fn fit(
    linker: &mut Linker<Ctx>,
    engine: &Engine,
    import: &str,
    instance: &ComponentInstance,
) -> wasmtime::Result<()> {
    keyvalue::fit(linker, engine, import, instance)
}

/// Decides who provides an import.
pub(crate) fn provider(import: &str) -> Provided {
    let (name, version) = split_version(import);
    if HOST_PACKAGES
        .iter()
        .any(|package| name.starts_with(package))
    {
        // All of 0.2 is implemented; earlier and later ones are other interfaces.
        return match version {
            Some(v) if v.starts_with("0.2.") && !v.contains('-') => Provided::Host,
            _ => Provided::OtherVersion,
        };
    }
    let known = PROVIDED.iter().chain(&config::NAMES).any(|provided| {
        let (known, at) = split_version(provided);
        known == name && track(at) == track(version)
    });
    if known {
        Provided::Host
    } else {
        Provided::Link
    }
}

/// Splits `ns:pkg/name@version`.
pub(crate) fn split_version(import: &str) -> (&str, Option<&str>) {
    match import.split_once('@') {
        Some((name, version)) => (name, Some(version)),
        None => (import, None),
    }
}

/// The part of a version within which versions are compatible.
fn track(version: Option<&str>) -> Option<&str> {
    let version = version?;
    if version.contains('-') {
        return Some(version);
    }
    let version = version.split('+').next().unwrap_or(version);
    let significant = version
        .split('.')
        .position(|number| number != "0")
        .unwrap_or(2);
    let end = version
        .match_indices('.')
        .nth(significant)
        .map_or(version.len(), |(at, _)| at);
    Some(&version[..end])
}

/// A function of a capability whose wire form is known beforehand.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Remote {
    /// The interface as links name it.
    pub(crate) lookup: &'static str,
    /// The interface on the wire; the later ones are tried when nobody serves the earlier ones.
    pub(crate) instances: &'static [&'static str],
    /// The function on the wire.
    pub(crate) function: &'static str,
}

/// An error type of a WIT interface that has room for a call that failed.
pub(crate) trait FromInvoke {
    fn from_invoke(error: &(dyn std::error::Error + 'static)) -> Self;
}

impl FromInvoke for String {
    fn from_invoke(error: &(dyn std::error::Error + 'static)) -> Self {
        chain(error)
    }
}

/// How long a text may be, in bytes, that the host keeps for a handle of a guest: beside the guest's
/// own memory, and for as many handles as it may have.
const MAX_KEPT_TEXT: usize = 16 << 10;

/// Refuses a text that is too long to be kept for a handle; `what` names it.
fn check_kept(what: &str, text: &str) -> Result<(), String> {
    if text.len() <= MAX_KEPT_TEXT {
        return Ok(());
    }
    Err(format!(
        "{what} has {} bytes, more than the {MAX_KEPT_TEXT} that a host keeps",
        text.len()
    ))
}

/// The text of an error for a handle, cut where it is too long to be kept.
pub(crate) fn kept_chain(error: &(dyn std::error::Error + 'static)) -> String {
    clipped_bytes(&chain(error), MAX_KEPT_TEXT).to_owned()
}

/// The shape of a result list as [`Remote::call`] wants it; made once per function.
pub(crate) fn outcome<T: Wire, E: Wire>() -> Shape {
    <(Result<T, E>,)>::shape()
}

impl Remote {
    /// The function, by the first of its instances.
    fn target<'a>(&'a self, results: &'a Shape) -> Target<'a> {
        Target {
            lookup: self.lookup,
            instance: self.instances[0],
            function: self.function,
            results,
            by_host: false,
            again: false,
        }
    }

    /// The function through a link, for a call that is made after the guest has ended.
    fn import<'a>(&'a self, link_name: &'a str, results: &'a Shape) -> ImportTarget<'a> {
        ImportTarget {
            lookup: self.lookup,
            link_name,
            instance: self.instances[0],
            function: self.function,
            results,
            by_host: false,
            again: false,
        }
    }

    /// Calls the function, whose results have the shape [`outcome`]. What goes wrong on the way
    /// becomes a value of the error type.
    pub(crate) async fn call<T: Wire, E: Wire + FromInvoke>(
        &self,
        outbound: &Outbound,
        results: &Shape,
        params: &impl WireList,
    ) -> Result<T, E> {
        self.call_versioned(outbound, results, params).await.1
    }

    /// The same, with values as they are where whoever serves the first of its instances is in this
    /// process.
    pub(crate) async fn call_plain<A, T, E>(
        &self,
        outbound: &Outbound,
        results: &Shape,
        params: A,
    ) -> Result<T, E>
    where
        A: WireList + Plain,
        T: Wire + Plain,
        E: Wire + Plain + FromInvoke,
    {
        let here = outbound.call_plain::<A, Result<T, E>>(self.target(results), params);
        match here.await {
            Ok(answer) => answered(answer),
            Err(params) => self.call(outbound, results, &params).await,
        }
    }

    /// The same for a call that nobody serves as another function.
    pub(crate) async fn call_again<T: Wire, E: Wire + FromInvoke>(
        &self,
        outbound: &Outbound,
        results: &Shape,
        params: &impl WireList,
    ) -> Result<T, E> {
        self.call_forms(outbound, results, params, true).await.1
    }

    /// Calls the function and tells which of its instances answered.
    pub(crate) async fn call_versioned<T: Wire, E: Wire + FromInvoke>(
        &self,
        outbound: &Outbound,
        results: &Shape,
        params: &impl WireList,
    ) -> (usize, Result<T, E>) {
        self.call_forms(outbound, results, params, false).await
    }

    async fn call_forms<T: Wire, E: Wire + FromInvoke>(
        &self,
        outbound: &Outbound,
        results: &Shape,
        params: &impl WireList,
        again: bool,
    ) -> (usize, Result<T, E>) {
        let params = params.to_bytes();
        for (i, instance) in self.instances.iter().enumerate() {
            let target = Target {
                lookup: self.lookup,
                instance,
                function: self.function,
                results,
                by_host: false,
                again: again || i > 0,
            };
            let last = i + 1 == self.instances.len();
            match outbound.call(target, params.clone()).await {
                Ok(reply) => return (i, unwrap_reply(results, reply)),
                Err(InvokeError::NotServed { .. }) if !last => {}
                Err(error) => return (i, Err(E::from_invoke(&error))),
            }
        }
        unreachable!("every function has at least one instance, and the last one returns")
    }
}

/// The answer of a call within the process. That there is none is a value of the error type.
fn answered<T, E: FromInvoke>(answer: Result<Result<T, E>, InvokeError>) -> Result<T, E> {
    answer.unwrap_or_else(|error| Err(E::from_invoke(&error)))
}

/// Reads an answer, whose shape is `results`.
fn unwrap_reply<T, E>(results: &Shape, reply: bytes::Bytes) -> Result<T, E>
where
    T: Wire,
    E: Wire + FromInvoke,
{
    match <(Result<T, E>,)>::from_answer(results, reply) {
        Ok((result,)) => result,
        Err(error) => Err(E::from_invoke(&error)),
    }
}

/// Registers a function that is answered by a [`Remote`] one. `args` makes the parameters on the
/// wire out of those of the guest.
fn forward<P, A, T, E>(
    instance: &mut LinkerInstance<'_, Ctx>,
    name: &str,
    remote: Remote,
    args: fn(&Ctx, P) -> wasmtime::Result<A>,
) -> wasmtime::Result<()>
where
    P: ComponentNamedList + Lift + Send + 'static,
    A: WireList,
    T: Wire + Lower,
    E: Wire + FromInvoke + Lower,
    (Result<T, E>,): ComponentNamedList + Lower,
{
    let results = outcome::<T, E>();
    instance.func_wrap_async(name, move |store, params: P| {
        let results = results.clone();
        Box::new(async move {
            let params = args(store.data(), params)?;
            let outbound = store.data().outbound();
            Ok((remote.call::<T, E>(outbound, &results, &params).await,))
        })
    })
}

/// The same for a function that may be answered with values as they are.
fn forward_plain<P, A, T, E>(
    instance: &mut LinkerInstance<'_, Ctx>,
    name: &str,
    remote: Remote,
    args: fn(&Ctx, P) -> wasmtime::Result<A>,
) -> wasmtime::Result<()>
where
    P: ComponentNamedList + Lift + Send + 'static,
    A: WireList + Plain,
    T: Wire + Plain + Lower,
    E: Wire + Plain + FromInvoke + Lower,
    (Result<T, E>,): ComponentNamedList + Lower,
{
    let results = outcome::<T, E>();
    instance.func_wrap_async(name, move |store, params: P| {
        let results = results.clone();
        Box::new(async move {
            let params = args(store.data(), params)?;
            let outbound = store.data().outbound();
            let called = remote.call_plain::<A, T, E>(outbound, &results, params);
            Ok((called.await,))
        })
    })
}

#[cfg(test)]
mod tests {
    use bytes::{Bytes, BytesMut};
    use lattice_codec::write;

    use super::*;

    #[test]
    fn an_answer_that_would_take_far_more_memory_than_it_has_bytes_is_refused() {
        type Entries = Vec<Option<(String, Bytes)>>;
        let shape = outcome::<Entries, String>();
        let nones = |count: usize| {
            let mut reply = BytesMut::new();
            write::bool(&mut reply, false);
            write::uleb(&mut reply, count as u64);
            reply.resize(reply.len() + count, 0);
            unwrap_reply::<Entries, String>(&shape, reply.freeze())
        };
        assert_eq!(nones(100_000).unwrap().len(), 100_000);
        let refused = nones(5_000_000).unwrap_err();
        assert!(refused.contains("parts"), "{refused}");
    }

    #[test]
    fn the_text_of_an_error_that_is_kept_is_cut() {
        let error = |bytes: usize| InvokeError::Failed {
            target: "other".to_owned(),
            message: "é".repeat(bytes / 2),
        };
        let short = error(100);
        assert_eq!(kept_chain(&short), chain(&short));
        let long = error(2 * MAX_KEPT_TEXT);
        let kept = kept_chain(&long);
        assert!(kept.len() > MAX_KEPT_TEXT - 2 && kept.len() <= MAX_KEPT_TEXT);
        assert!(chain(&long).starts_with(&kept));
    }

    #[test]
    fn compatible_versions_are_the_hosts() {
        for import in [
            "wasi:http/types@0.2.0",
            "wasi:http/types@0.2.99",
            "wasi:cli/stdin@0.2.6",
            "wasmcloud:bus/lattice@2.0.0",
            "wasmcloud:bus/lattice@1.0.0",
            "wasi:logging/logging",
            "wasi:logging/logging@0.1.0-draft",
            "wasi:keyvalue/store@0.2.0-draft",
            "wasi:keyvalue/store@0.2.0-draft2",
            "wasi:config/store@0.2.0-rc.1",
        ] {
            assert_eq!(provider(import), Provided::Host, "{import}");
        }
    }

    #[test]
    fn other_versions_of_wasi_are_nobodys() {
        for import in [
            "wasi:http/types@0.3.0",
            "wasi:io/streams@0.2.0-rc-2023-11-10",
        ] {
            assert_eq!(provider(import), Provided::OtherVersion, "{import}");
        }
    }

    #[test]
    fn everything_else_goes_through_a_link() {
        for import in [
            "wasi:keyvalue/store@0.2.0-draft3",
            "lattice:keyvalue/store@0.1.0",
            "wasmcloud:postgres/query@0.1.1-draft",
            "wasmcloud:bus/lattice@3.0.0",
            "wasmcloud:messaging/consumer@0.3.0",
            "my:own/thing",
        ] {
            assert_eq!(provider(import), Provided::Link, "{import}");
        }
    }

    #[test]
    fn versions_have_their_tracks() {
        assert_eq!(track(Some("1.2.3")), Some("1"));
        assert_eq!(track(Some("0.2.3")), Some("0.2"));
        assert_eq!(track(Some("0.0.3")), Some("0.0.3"));
        assert_eq!(track(Some("0.2.0-draft")), Some("0.2.0-draft"));
        assert_eq!(track(None), None);
    }
}
