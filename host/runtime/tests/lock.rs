//! Locks that are resources, which travel as leases of `lattice:lock@0.1.0`.

#![allow(clippy::unwrap_used, reason = "all of this is test code")]

mod support;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use lattice_codec::{Reader, write};
use lattice_runtime::{CallContext, Component, ComponentOptions, InvokeError};
use support::{Called, FakeInvoke, call, encoded, find, guest, prepare};
use tokio::time::Instant;

const SUITE: &str = "lattice:conformance/suite@0.1.0";

/// How long a lease without a time lasts, and the shortest.
const USUAL: u32 = 30_000;
const SHORTEST: u32 = 50;

/// Leases by name: their tokens with their ends.
#[derive(Default)]
struct Leases {
    count: u64,
    held: HashMap<String, (String, Instant)>,
}

impl Leases {
    fn acquire(&mut self, mut params: Reader, out: &mut BytesMut) {
        assert_eq!(params.string().unwrap(), "", "the store of the link");
        let name = params.string().unwrap();
        let ttl = match params.u32().unwrap() {
            0 => USUAL,
            ms => ms,
        };
        assert_eq!(params.u32().unwrap(), 0, "it is tried once");
        let now = Instant::now();
        self.held.retain(|_, (_, ends)| *ends > now);
        let refused = name.is_empty() || self.held.contains_key(&name);
        write::bool(out, refused);
        if name.is_empty() {
            write::uleb(out, 2);
            return write::string(out, "the name of a lock is empty");
        }
        if refused {
            write::uleb(out, 0);
            return write::option(out, None::<&str>, write::string);
        }
        self.count += 1;
        let token = format!("token {}", self.count);
        let ends = now + Duration::from_millis(ttl.into());
        self.held.insert(name.clone(), (token.clone(), ends));
        write::string(out, "");
        write::string(out, &name);
        write::string(out, &token);
        write::uleb(out, self.count);
        write::uleb(out, ttl.into());
    }

    fn release(&mut self, mut params: Reader, out: &mut BytesMut) {
        params.string().unwrap();
        let token = params.string().unwrap();
        let before = self.held.len();
        self.held.retain(|_, (held, _)| *held != token);
        let is_gone = self.held.len() == before;
        write::bool(out, is_gone);
        if is_gone {
            write::uleb(out, 1);
        }
    }

    fn answer(&mut self, called: Called) -> Bytes {
        assert_eq!(called.lookup, "wasi:distributed-lock/locker");
        assert_eq!(called.instance, "lattice:lock/lock@0.1.0");
        let params = Reader::new(called.params);
        encoded(|out| match called.function.as_str() {
            "acquire" => self.acquire(params, out),
            _ => self.release(params, out),
        })
    }
}

async fn component(invoke: &Arc<FakeInvoke>) -> Component {
    let options = ComponentOptions::default();
    prepare(guest("suite-lock-wasi"), options, Arc::clone(invoke)).await
}

fn setting(out: &mut BytesMut, name: &str, value: &str) {
    write::string(out, name);
    write::string(out, value);
}

fn case(name: &str) -> Bytes {
    encoded(|out| {
        write::string(out, name);
        write::uleb(out, 1);
        setting(out, "feature:ttl-min-ms", &SHORTEST.to_string());
    })
}

#[tokio::test]
async fn a_guest_has_locks_that_are_resources() {
    let leases = Mutex::new(Leases::default());
    let locks = FakeInvoke::new(move |called| Ok(leases.lock().unwrap().answer(called)));
    let component = component(&locks).await;
    let names = call(&component, SUITE, "cases", Bytes::new()).await;
    let mut names = Reader::new(names.unwrap());
    for _ in 0..names.count(1).unwrap() {
        let name = names.string().unwrap();
        let verdict = call(&component, SUITE, "run", case(&name)).await.unwrap();
        let mut verdict = Reader::new(verdict);
        if verdict.result_is_err().unwrap() {
            verdict.case("failure", 2).unwrap();
            panic!("{name}: {}", verdict.string().unwrap());
        }
    }
}

/// Runs a case whose second lock nobody answers for, for as long as `run` lasts; the first has to be
/// released.
async fn releases_behind(run: impl AsyncFnOnce(&Component, Bytes)) {
    let leases = Arc::new(Mutex::new(Leases::default()));
    let slow = FakeInvoke::with(move |called| {
        let leases = Arc::clone(&leases);
        Box::pin(async move {
            if called.function == "acquire" && leases.lock().unwrap().count > 0 {
                std::future::pending::<()>().await;
            }
            Ok(leases.lock().unwrap().answer(called))
        })
    });
    let component = component(&slow).await;
    run(&component, case("a lock has one holder at a time")).await;
    let released = async {
        loop {
            let calls = slow.calls();
            if let Some(last) = calls.iter().find(|called| called.function == "release") {
                return last.clone();
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let released = tokio::time::timeout(support::LONG, released).await.unwrap();
    let mut params = Reader::new(released.params);
    assert_eq!(params.string().unwrap(), "");
    assert_eq!(params.string().unwrap(), "token 1");
}

#[tokio::test]
async fn a_lock_is_released_behind_an_instance_that_ends_with_it() {
    releases_behind(async |component, params| {
        let called = call(component, SUITE, "run", params);
        let ended = tokio::time::timeout(Duration::from_millis(300), called).await;
        assert!(ended.is_err(), "{ended:?}");
    })
    .await;
}

#[tokio::test]
async fn a_lock_that_is_dropped_after_the_deadline_is_released() {
    releases_behind(async |component, params| {
        let run = find(component, SUITE, "run");
        let cx = CallContext::within(Duration::from_millis(300));
        let _ended = component.call(&run, cx, params).await;
    })
    .await;
}

#[tokio::test]
async fn without_a_link_the_error_says_so() {
    let component = component(&FakeInvoke::new(|called| {
        Err(InvokeError::NoLink {
            link_name: called.link_name,
            instance: called.lookup,
        })
    }))
    .await;
    let params = case("no time means that of the link");
    let verdict = call(&component, SUITE, "run", params).await.unwrap();
    let mut verdict = Reader::new(verdict);
    assert!(verdict.result_is_err().unwrap());
    verdict.case("failure", 2).unwrap();
    let why = verdict.string().unwrap();
    assert!(why.contains("wasi:distributed-lock/locker"), "{why}");
}
