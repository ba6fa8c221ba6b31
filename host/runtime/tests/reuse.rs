//! What instances keep from call to call, and what they do not.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

#[path = "reuse/terms.rs"]
mod terms;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use lattice_codec::http::ErrorCode;
use lattice_codec::write;
use lattice_runtime::{
    CallContext, CallError, Component, ComponentOptions, HttpBody, HttpCallError, HttpResponse,
    LogSource, ResponseBody, Reuse, Runtime, RuntimeConfig,
};
use support::{
    FakeEnv, FakeInvoke, LONG, as_number, as_text, behave, call, encoded, find, guest, number,
    prepare, prepare_in, probe, text, wat,
};
use tokio::time::{sleep, timeout};

const REUSED: &str = include_str!("wat/reused.wat");

fn reused(reuse: Reuse) -> ComponentOptions {
    ComponentOptions {
        reuse: Some(reuse),
        ..ComponentOptions::default()
    }
}

/// Reuse without a bound that a test could meet by chance.
fn lasting() -> Reuse {
    Reuse {
        max_idle: LONG,
        ..Reuse::default()
    }
}

/// How many calls the instance has had that is asked.
async fn calls(component: &Component) -> u64 {
    let counted = behave(component, "calls-of-this-instance", "".into()).await;
    as_number(counted.unwrap())
}

async fn http_probe(options: ComponentOptions) -> Component {
    prepare(guest("http-probe"), options, FakeInvoke::unlinked()).await
}

async fn get(component: &Component, path: &str) -> Result<HttpResponse, HttpCallError> {
    get_within(CallContext::within(LONG), component, path).await
}

async fn get_within(
    cx: CallContext,
    component: &Component,
    path: &str,
) -> Result<HttpResponse, HttpCallError> {
    let body: HttpBody = Empty::new().map_err(|never| match never {}).boxed_unsync();
    let request = http::Request::get(format!("http://example.com{path}"));
    let request = request.body(body).unwrap();
    component.handle_http(cx, request).await
}

async fn collect(response: HttpResponse) -> Result<Bytes, ErrorCode> {
    match response.body {
        ResponseBody::Complete { data, .. } => Ok(data),
        ResponseBody::Streaming(body) => Ok(body.collect().await?.to_bytes()),
    }
}

async fn http_calls(component: &Component) -> Bytes {
    let answered = get(component, "/calls").await;
    collect(answered.unwrap()).await.unwrap()
}

async fn until_kept(component: &Component, count: usize) {
    let reached = async {
        while component.kept_instances() != count {
            sleep(Duration::from_millis(5)).await;
        }
    };
    let kept = || component.kept_instances();
    assert!(
        timeout(Duration::from_secs(20), reached).await.is_ok(),
        "{} wait instead of {count}",
        kept()
    );
}

#[tokio::test]
async fn state_does_not_leak_between_callers_unless_it_is_asked_for() {
    let component = probe(ComponentOptions::default()).await;
    let over_http = http_probe(ComponentOptions::default()).await;
    for _ in 0..5 {
        assert_eq!(calls(&component).await, 1);
        assert_eq!(http_calls(&over_http).await, "1");
    }
    assert_eq!(component.kept_instances(), 0);
    assert_eq!(over_http.kept_instances(), 0);
}

#[tokio::test]
async fn an_instance_serves_one_call_after_the_other() {
    let component = probe(reused(lasting())).await;
    let over_http = http_probe(reused(lasting())).await;
    for call in 1..=100 {
        assert_eq!(calls(&component).await, call);
        assert_eq!(http_calls(&over_http).await, call.to_string(), "{call}");
    }
    assert_eq!(component.kept_instances(), 1);
    assert_eq!(over_http.kept_instances(), 1);
}

#[tokio::test]
async fn components_as_people_write_them_hold_on_to_nothing() {
    for name in ["http-hello", "http-keyvalue-counter"] {
        let invoke = FakeInvoke::new(|_| Ok(Bytes::from_static(b"\x00\x05")));
        let component = prepare(guest(name), reused(lasting()), invoke).await;
        for _ in 0..3 {
            let answered = get(&component, "/x").await.unwrap();
            assert_eq!(answered.head.status, 200, "{name}");
            collect(answered).await.unwrap();
            assert_eq!(component.kept_instances(), 1, "{name}");
        }
    }
}

#[tokio::test]
async fn an_instance_is_retired_after_its_last_use() {
    let reuse = Reuse {
        max_uses: 2,
        ..lasting()
    };
    let component = probe(reused(reuse)).await;
    for expected in [1, 2, 1, 2, 1] {
        assert_eq!(calls(&component).await, expected);
    }
}

#[tokio::test]
async fn an_instance_is_never_in_two_calls() {
    let component = probe(reused(lasting())).await;
    let sleepers = (0..4).map(|_| behave(&component, "sleep", number(50)));
    for ended in futures::future::join_all(sleepers).await {
        ended.unwrap();
    }
    assert_eq!(component.kept_instances(), 4);
    // The one that was used last is used next.
    assert_eq!(calls(&component).await, 1);
    assert_eq!(calls(&component).await, 2);
    assert_eq!(component.kept_instances(), 4);
}

#[tokio::test]
async fn no_more_instances_wait_than_may() {
    let reuse = Reuse {
        max_kept: 2,
        ..lasting()
    };
    let component = probe(reused(reuse)).await;
    let sleepers = (0..4).map(|_| behave(&component, "sleep", number(50)));
    futures::future::join_all(sleepers).await;
    assert_eq!(component.kept_instances(), 2);
}

#[tokio::test]
async fn a_call_that_did_not_end_well_retires_its_instance() {
    let options = ComponentOptions {
        cpu_budget: Some(Duration::from_millis(300)),
        ..reused(lasting())
    };
    let component = probe(options).await;
    let short = || CallContext::within(Duration::from_millis(100));
    let sleep = find(&component, "test:probe/behave@0.1.0", "sleep");
    for round in 0..4 {
        assert_eq!(calls(&component).await, 1, "{round}");
        assert_eq!(calls(&component).await, 2, "{round}");
        let ended = match round {
            0 => behave(&component, "trap", text("as asked")).await,
            1 => behave(&component, "spin", "".into()).await,
            2 => component.call(&sleep, short(), number(60_000)).await,
            _ => {
                let call = component.call(&sleep, CallContext::within(LONG), number(60_000));
                assert!(timeout(Duration::from_millis(50), call).await.is_err());
                Err(CallError::Deadline)
            }
        };
        assert!(ended.is_err(), "{round}");
        assert_eq!(component.kept_instances(), 0, "{round}");
    }
}

#[tokio::test]
async fn budgets_are_those_of_one_call() {
    let env = Arc::new(FakeEnv::default());
    let options = ComponentOptions {
        cpu_budget: Some(Duration::from_millis(400)),
        stderr_bytes: 1000,
        ..reused(lasting())
    };
    let component = prepare_in(guest("probe"), options, FakeInvoke::unlinked(), env.clone()).await;
    let print = encoded(|out| {
        write::string(out, "to stderr");
        write::uleb(out, 500);
    });
    for call in 1..=4 {
        behave(&component, "burn", number(150)).await.unwrap();
        behave(&component, "print", print.clone()).await.unwrap();
        behave(&component, "print-error", print.clone())
            .await
            .unwrap();
        // Each one is cut, and each one begins anew.
        let notes = env.lines(LogSource::Runtime);
        assert_eq!(notes.len(), call, "{notes:?}");
        let lines = env.lines(LogSource::Stderr).len() / call;
        assert!((100..=300).contains(&lines), "{lines}");
    }
    assert_eq!(calls(&component).await, 1);
    assert_eq!(calls(&component).await, 2);
    assert_eq!(component.kept_instances(), 1);
}

#[tokio::test]
async fn a_link_that_one_call_chose_does_not_count_for_the_next() {
    let invoke = FakeInvoke::new(|called| Ok(text(&called.link_name)));
    let component = prepare(wat(REUSED), reused(lasting()), invoke.clone()).await;
    let run = async |function| call(&component, "", function, Bytes::new()).await.unwrap();
    assert_eq!(as_number(run("choose").await), 1);
    assert_eq!(as_text(run("ask").await), "default");
    assert_eq!(as_number(run("count").await), 2);
}

#[tokio::test]
async fn an_instance_that_holds_on_to_a_handle_is_retired_and_the_operator_told() {
    let env = Arc::new(FakeEnv::default());
    let invoke = FakeInvoke::unlinked();
    let component = prepare_in(wat(REUSED), reused(lasting()), invoke, env.clone()).await;
    for _ in 0..3 {
        let held = call(&component, "", "hold", Bytes::new()).await.unwrap();
        assert_eq!(as_number(held), 1);
        assert_eq!(component.kept_instances(), 0);
    }
    let told = env.lines(LogSource::Runtime);
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains("with 1 of the handles"), "{told:?}");
}

#[tokio::test]
async fn an_instance_that_has_grown_is_retired() {
    let options = ComponentOptions {
        max_memory_bytes: Some(16 << 20),
        ..reused(lasting())
    };
    let component = probe(options).await;
    behave(&component, "allocate", number(2 << 20))
        .await
        .unwrap();
    assert_eq!(component.kept_instances(), 1);
    behave(&component, "allocate", number(10 << 20))
        .await
        .unwrap();
    assert_eq!(component.kept_instances(), 0);
    component.set_reuse(Some(Reuse {
        max_kept_bytes: 1 << 20,
        ..lasting()
    }));
    assert_eq!(calls(&component).await, 1);
    assert_eq!(component.kept_instances(), 0);
    // One that was denied memory and lives with it may not have enough for the next call.
    let modest = prepare(wat(REUSED), reused(lasting()), FakeInvoke::unlinked()).await;
    for expected in [0, 1] {
        assert_eq!(modest.kept_instances(), expected);
        let function = ["count", "refuse-memory"][expected];
        call(&modest, "", function, Bytes::new()).await.unwrap();
    }
    assert_eq!(modest.kept_instances(), 0);
}

#[tokio::test]
async fn an_instance_does_not_wait_forever() {
    let reuse = Reuse {
        max_idle: Duration::from_millis(150),
        ..lasting()
    };
    let component = probe(reused(reuse)).await;
    for _ in 0..2 {
        assert_eq!(calls(&component).await, 1);
        assert_eq!(component.kept_instances(), 1);
        until_kept(&component, 0).await;
    }
}

#[tokio::test]
async fn reuse_is_turned_on_and_off_while_calls_go_on() {
    let component = probe(ComponentOptions::default()).await;
    assert_eq!(calls(&component).await, 1);
    component.set_reuse(Some(lasting()));
    for expected in [1, 2] {
        assert_eq!(calls(&component).await, expected);
    }
    let slow = component.clone();
    let slow = tokio::spawn(async move { behave(&slow, "sleep", number(300)).await });
    // The one that waited is in the call.
    until_kept(&component, 0).await;
    component.set_reuse(None);
    slow.await.unwrap().unwrap();
    assert_eq!(component.kept_instances(), 0);
    assert_eq!(calls(&component).await, 1);
    assert_eq!(component.kept_instances(), 0);
}

#[tokio::test]
async fn instances_are_dropped_with_their_component() {
    let env = Arc::new(FakeEnv::default());
    let options = reused(lasting());
    let component = prepare_in(guest("probe"), options, FakeInvoke::unlinked(), env.clone()).await;
    assert_eq!(calls(&component).await, 1);
    assert_eq!(component.kept_instances(), 1);
    drop(component);
    // Nothing is left that could log, neither an instance nor a task.
    let gone = async {
        while Arc::strong_count(&env) > 1 {
            tokio::task::yield_now().await;
        }
    };
    assert!(timeout(Duration::from_secs(5), gone).await.is_ok());
}

#[tokio::test]
async fn instances_that_wait_give_way_to_others() {
    let config = RuntimeConfig {
        max_instances: 8,
        ..RuntimeConfig::default()
    };
    let small = Runtime::new(config).unwrap();
    let prepared = async |options| {
        let (invoke, env) = (FakeInvoke::unlinked(), Arc::<FakeEnv>::default());
        let component = small.prepare(guest("probe"), options, invoke, env).await;
        component.unwrap()
    };
    let idle = prepared(reused(lasting())).await;
    let busy = prepared(ComponentOptions::default()).await;
    for _ in 0..3 {
        let sleepers = (0..4).map(|_| behave(&idle, "sleep", number(20)));
        futures::future::join_all(sleepers).await;
        // No more than a quarter of all waits, whatever the component may have.
        assert_eq!(idle.kept_instances(), 2);
        let sleepers = (0..8).map(|_| behave(&busy, "sleep", number(100)));
        for ended in futures::future::join_all(sleepers).await {
            ended.unwrap();
        }
        assert_eq!(idle.kept_instances(), 0);
        assert_eq!(calls(&idle).await, 1);
    }
}

#[tokio::test]
async fn an_instance_that_streams_waits_after_its_body() {
    let component = http_probe(reused(lasting())).await;
    let response = get(&component, "/slow/3/50").await.unwrap();
    assert!(matches!(response.body, ResponseBody::Streaming(_)));
    assert_eq!(component.kept_instances(), 0);
    assert_eq!(http_calls(&component).await, "1");
    assert_eq!(component.kept_instances(), 1);
    collect(response).await.unwrap();
    assert_eq!(component.kept_instances(), 2);
    // The reader went away, so the guest has been ended in mid-call.
    let response = get(&component, "/slow/1000/50").await.unwrap();
    assert_eq!(component.kept_instances(), 1);
    drop(response);
    assert_eq!(component.kept_instances(), 1);
}

#[tokio::test]
async fn an_instance_that_fails_or_goes_on_after_its_answer_is_retired() {
    let component = http_probe(reused(lasting())).await;
    for path in [
        "/trap",
        "/silent",
        "/error",
        "/unfinished/10",
        "/trap-after/10",
    ] {
        assert_eq!(http_calls(&component).await, "1", "{path}");
        if let Ok(response) = get(&component, path).await {
            let _broken = collect(response).await;
        }
        assert_eq!(component.kept_instances(), 0, "{path}");
    }
    // What a call holds is let go when its guest has ended, and its instance is kept or not by then.
    let (held, ended) = tokio::sync::oneshot::channel::<()>();
    let cx = CallContext::within(LONG).holding(held);
    let answered = get_within(cx, &component, "/after/50").await.unwrap();
    assert_eq!(collect(answered).await.unwrap(), "ok\n");
    timeout(LONG, ended).await.unwrap().unwrap_err();
    assert_eq!(component.kept_instances(), 0);
}

#[tokio::test]
async fn a_permit_is_given_back_by_an_instance_that_waits() {
    let component = http_probe(reused(lasting())).await;
    let permit = Arc::new(());
    for _ in 0..2 {
        let cx = CallContext::within(LONG).holding(permit.clone());
        let body: HttpBody = Empty::new().map_err(|never| match never {}).boxed_unsync();
        let request = http::Request::get("http://example.com/").body(body);
        let response = component.handle_http(cx, request.unwrap()).await.unwrap();
        assert_eq!(Arc::strong_count(&permit), 1);
        collect(response).await.unwrap();
        assert_eq!(component.kept_instances(), 1);
    }
}
