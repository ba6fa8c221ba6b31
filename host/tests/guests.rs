//! Compiled guests on a host: HTTP over the lattice, live config, named links.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use common::{Lattice, until};
use http_body_util::{BodyExt as _, Empty, Full};
use lattice_codec::write;
use lattice_host::{Host, StopReason, StopRequest};
use lattice_rpc::http::{HANDLE, HttpError, INCOMING_HANDLER, IncomingBody};
use lattice_rpc::{CallError, Invocation, Peer, RemoteError};
use serde_json::{Value, json};
use tokio::time::Instant;

/// The reference of a compiled guest.
fn guest(name: &str) -> String {
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/components");
    let path = target.join(format!("{name}.wasm"));
    let path = path.canonicalize().unwrap_or_else(|error| {
        panic!("no guest `{name}`: {error}; run `cargo xtask guests` first")
    });
    common::reference(&path)
}

async fn start(lattice: &Lattice, host: &Host, id: &str, mut command: Value) {
    let mut events = lattice.events().await;
    command["component_ref"] = json!(guest(command["component_ref"].as_str().unwrap()));
    command["component_id"] = json!(id);
    lattice.scale(host, &command).await;
    loop {
        let (name, event) = events.next().await;
        assert_ne!(name, "component_scale_failed", "{event}");
        if name == "component_scaled" {
            return;
        }
    }
}

fn invocation(id: &str, instance: &str, function: &str, within: Duration) -> Invocation {
    let subject = format!("default.{id}.wrpc.0.0.1.{instance}.{function}");
    Invocation::new(subject, Instant::now() + within)
}

async fn get(
    peer: &Peer,
    path: &str,
    within: Duration,
) -> Result<http::Response<IncomingBody>, HttpError> {
    let request = http::Request::get(format!("http://localhost{path}"));
    let request = request.body(Empty::<Bytes>::new()).unwrap();
    peer.call_http(invocation("web", INCOMING_HANDLER, HANDLE, within), request)
        .await
}

async fn text(response: http::Response<IncomingBody>) -> String {
    let body = response.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(body.to_vec()).unwrap()
}

const WITHIN: Duration = Duration::from_secs(5);

#[tokio::test(flavor = "multi_thread")]
async fn http_requests_are_answered_over_the_lattice() {
    let lattice = Lattice::start().await;
    let host = lattice.host().await;
    let peer = lattice.peer().await;
    let command = json!({"component_ref": "http-probe", "count": 10});
    start(&lattice, &host, "web", command).await;

    assert_eq!(text(get(&peer, "/", WITHIN).await.unwrap()).await, "ok\n");
    assert_eq!(
        get(&peer, "/status/418", WITHIN).await.unwrap().status(),
        418
    );
    let body = Bytes::from(vec![b'x'; 2 << 20]);
    let request = http::Request::post("http://localhost/echo").body(Full::new(body.clone()));
    let call = invocation("web", INCOMING_HANDLER, HANDLE, WITHIN);
    let response = peer.call_http(call, request.unwrap()).await.unwrap();
    assert_eq!(
        response.into_body().collect().await.unwrap().to_bytes(),
        body
    );
    // A body may take longer than the call had until its head.
    let slow = get(&peer, "/slow/6/200", Duration::from_millis(900))
        .await
        .unwrap();
    assert_eq!(text(slow).await.lines().count(), 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_handler_is_an_error_in_time() {
    let (lattice, host, mut events) = Lattice::running().await;
    let peer = lattice.peer().await;
    let command = json!({"component_ref": "http-probe", "count": 2});
    start(&lattice, &host, "web", command).await;
    for (path, code) in [
        ("/trap", RemoteError::FAILED),
        ("/silent", RemoteError::FAILED),
    ] {
        let error = get(&peer, path, WITHIN).await.unwrap_err();
        let HttpError::Call(CallError::Remote(remote)) = &error else {
            panic!("{error}")
        };
        assert_eq!(remote.code, code, "{path}: {}", remote.message);
        let told = events.data("invocation_failed").await;
        assert!(
            told["operation"]
                .as_str()
                .unwrap()
                .contains("incoming-handler"),
            "{told}"
        );
    }
    assert!(matches!(
        get(&peer, "/error", WITHIN).await,
        Err(HttpError::Handler(_))
    ));
    // One that breaks off in its body is told, too.
    let begun = get(&peer, "/trap-after/2000000", WITHIN).await.unwrap();
    begun.into_body().collect().await.unwrap_err();
    let told = events.data("invocation_failed").await;
    assert!(
        told["error"].as_str().unwrap().contains("broke off"),
        "{told}"
    );
    for path in ["/spin", "/wait/60000"] {
        let asked = Instant::now();
        get(&peer, path, Duration::from_millis(500))
            .await
            .unwrap_err();
        assert!(
            asked.elapsed() < Duration::from_secs(2),
            "{path}: {:?}",
            asked.elapsed()
        );
    }
    // Both permits are back, although the requests were left.
    for _ in 0..8 {
        assert_eq!(text(get(&peer, "/", WITHIN).await.unwrap()).await, "ok\n");
    }
    until("no call to be open", async || {
        (peer.stats().open_calls == 0).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn overload_is_refused_and_passes() {
    let (lattice, host, _) = Lattice::running_with(|config| config.queue.max_queued = 2).await;
    let peer = lattice.peer().await;
    let command = json!({"component_ref": "http-probe", "count": 1});
    start(&lattice, &host, "web", command).await;
    let calls = (0..10).map(|_| get(&peer, "/wait/300", Duration::from_secs(3)));
    let outcomes = futures::future::join_all(calls).await;
    let refused = outcomes
        .iter()
        .filter(|outcome| matches!(outcome, Err(HttpError::Call(error)) if error.never_started()));
    assert!(refused.count() >= 5, "{outcomes:?}");
    assert!(outcomes.iter().any(Result::is_ok));
    let asked = Instant::now();
    assert_eq!(text(get(&peer, "/", WITHIN).await.unwrap()).await, "ok\n");
    assert!(asked.elapsed() < Duration::from_secs(1));
}

fn string(text: &str) -> Bytes {
    let mut out = bytes::BytesMut::new();
    write::string(&mut out, text);
    out.freeze()
}

async fn config(peer: &Peer, key: &str) -> String {
    let call = invocation("box", "test:sandbox/reach@0.1.0", "config", WITHIN);
    let answer = peer.call(call, string(key)).await.unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn changed_configs_are_seen_at_the_next_get() {
    let lattice = Lattice::start().await;
    let host = lattice.host().await;
    let peer = lattice.peer().await;
    lattice
        .done("config.put.first", &json!({"colour": "red", "size": "1"}))
        .await;
    lattice
        .done("config.put.second", &json!({"colour": "blue"}))
        .await;
    let command = json!({"component_ref": "sandbox", "count": 1, "config": ["first", "second"]});
    start(&lattice, &host, "box", command).await;
    assert!(config(&peer, "colour").await.ends_with("blue"));
    lattice
        .done("config.put.second", &json!({"colour": "green"}))
        .await;
    until("the new value", async || {
        config(&peer, "colour")
            .await
            .ends_with("green")
            .then_some(())
    })
    .await;
    // A deleted config counts as empty, which lets the earlier one through.
    lattice.control_raw("config.del.second", "").await;
    until("the earlier value", async || {
        config(&peer, "colour").await.ends_with("red").then_some(())
    })
    .await;
    assert!(config(&peer, "size").await.ends_with('1'));
}

#[tokio::test(flavor = "multi_thread")]
async fn links_are_chosen_by_name_for_one_call_only() {
    let (lattice, host, mut events) = Lattice::running().await;
    let peer = lattice.peer().await;
    for (name, target) in [("default", "probe"), ("ghost", "nobody")] {
        let link = json!({
            "source_id": "caller", "target": target, "name": name, "wit_namespace": "test",
            "wit_package": "probe", "interfaces": ["echo", "behave", "keyvalue"],
        });
        lattice.done("link.put", &link).await;
    }
    let command = json!({"component_ref": "probe", "count": 20});
    start(&lattice, &host, "probe", command).await;
    let command = json!({"component_ref": "caller", "count": 20});
    start(&lattice, &host, "caller", command).await;
    let relay = "test:caller/relay@0.1.0";
    let text = peer.call(invocation("caller", relay, "text", WITHIN), string("hello"));
    assert_eq!(text.await.unwrap(), string("hello"));
    let every = peer.call(
        invocation("caller", relay, "every-type", WITHIN),
        Bytes::new(),
    );
    assert_eq!(
        every.await.unwrap()[0],
        0,
        "not all types came back as they went"
    );

    let mut ghost = bytes::BytesMut::new();
    write::string(&mut ghost, "ghost");
    write::string(&mut ghost, "hello");
    let over = invocation("caller", relay, "text-over-link", WITHIN);
    let error = peer.call(over, ghost.freeze()).await.unwrap_err();
    assert!(error.to_string().contains("nobody"), "{error}");
    assert_eq!(
        events.data("invocation_failed").await["code"],
        "unreachable"
    );
    let text = peer.call(invocation("caller", relay, "text", WITHIN), string("again"));
    assert_eq!(text.await.unwrap(), string("again"));

    // The time that is left goes along: the callee gives up before the caller is overdue.
    let mut millis = bytes::BytesMut::new();
    write::uleb(&mut millis, 60_000);
    let call = invocation("caller", relay, "sleep", Duration::from_millis(700));
    let asked = Instant::now();
    peer.call(call, millis.freeze()).await.unwrap_err();
    assert!(
        asked.elapsed() < Duration::from_millis(1500),
        "{:?}",
        asked.elapsed()
    );
    let told = events.data("invocation_failed").await;
    assert_eq!(told["code"], "timeout", "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_lets_calls_end() {
    let lattice = Lattice::start().await;
    let host = lattice.host().await;
    let peer = lattice.peer().await;
    let command = json!({"component_ref": "http-probe", "count": 10});
    start(&lattice, &host, "web", command).await;
    let call = tokio::spawn({
        let peer = peer.clone();
        async move { text(get(&peer, "/wait/800", WITHIN).await.unwrap()).await }
    });
    until("the call to be under way", async || {
        (peer.stats().open_calls == 1).then_some(())
    })
    .await;
    // Only the host knows that it has taken the call in.
    assert_eq!(text(get(&peer, "/", WITHIN).await.unwrap()).await, "ok\n");
    host.drain(StopRequest::now(StopReason::Program)).await;
    assert_eq!(call.await.unwrap(), "waited\n");
}
