//! What the server does with odd requests, too many requests and its own end.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_nats::{HeaderMap, Request};
use bytes::Bytes;
use futures::StreamExt;
use lattice_control::types::{RegistryCredential, ScaleComponentCommand};
use lattice_control::{ClientError, Drained, GatherOptions, ServerConfig};
use lattice_core::{ErrorCode, LatticeName, Link};
use lattice_nats_box::{NatsBox, NatsBoxOptions};
use serde_json::Value;

use crate::fake::{FakeHost, PANIC, SLOW};
use crate::{HOST, client, host, nats_box, other_host, serve, serve_with, soon};

async fn ask(nats: &NatsBox, tail: &str, body: impl Into<String>) -> Value {
    let client = nats.client().await.unwrap();
    let subject = format!("wasmbus.ctl.v1.default.{tail}");
    let body = Bytes::from(body.into());
    let message = client.request(subject, body).await.unwrap();
    serde_json::from_slice(&message.payload).unwrap()
}

fn scale(id: &str) -> ScaleComponentCommand {
    ScaleComponentCommand {
        component_id: id.into(),
        component_ref: "file:///a.wasm".into(),
        count: 1,
        ..Default::default()
    }
}

#[tokio::test]
async fn bodies_that_do_not_parse_keep_the_known_text_and_tell_the_cause_apart() {
    let nats = nats_box().await;
    let _server = serve(&nats, host(), &FakeHost::new(HOST)).await;
    let reply = ask(&nats, &format!("component.scale.{HOST}"), "{oops").await;
    assert_eq!(
        reply["message"],
        "failed to deserialize component scale command"
    );
    assert_eq!(reply["code"], "bad-request");
    assert!(
        reply["cause"].as_str().unwrap().contains("line 1"),
        "{reply}"
    );
    assert!(
        reply["hint"].as_str().unwrap().contains("JSON object"),
        "{reply}"
    );
    let reply = ask(&nats, &format!("label.put.{HOST}"), r#"{"key":1}"#).await;
    assert!(
        reply["hint"].as_str().unwrap().contains("host label"),
        "{reply}"
    );
    let reply = ask(&nats, "component.auction", "[").await;
    assert!(reply["hint"].is_string(), "{reply}");
    let reply = ask(&nats, "config.put.http", r#"{"port":1}"#).await;
    assert_eq!(
        reply["message"],
        "config data should be a map of string -> string"
    );
    assert!(
        reply["cause"]
            .as_str()
            .unwrap()
            .contains("expected a string"),
        "{reply}"
    );
    assert!(
        reply["hint"].as_str().unwrap().contains("in quotes"),
        "{reply}"
    );
}

#[tokio::test]
async fn a_locality_is_told_only_where_it_is_not_the_usual_and_refused_by_name() {
    let nats = nats_box().await;
    let api = FakeHost::new(HOST);
    let _server = serve(&nats, host(), &api).await;
    let link = |source: &str, locality: &str| {
        format!(
            r#"{{"source_id":"{source}","target":"t","wit_namespace":"wasi",
                "wit_package":"keyvalue","interfaces":["store"]{locality}}}"#
        )
    };
    for (source, locality) in [
        ("old", ""),
        ("usual", r#","locality":"prefer-local""#),
        ("near", r#","locality":"local-only""#),
    ] {
        let reply = ask(&nats, "link.put", link(source, locality)).await;
        assert_eq!(reply["success"], Value::Bool(true), "{reply}");
    }
    let links = ask(&nats, "link.get", "").await;
    let told = |place: usize| links["response"][place].get("locality").cloned();
    assert_eq!((told(0), told(1)), (None, None), "{links}");
    assert_eq!(told(2), Some("local-only".into()), "{links}");
    let body = link("bad", r#","locality":"nearby""#);
    let reply = ask(&nats, "link.put", body).await;
    assert_eq!(reply["message"], "failed to deserialize link");
    let cause = reply["cause"].as_str().unwrap();
    assert!(
        cause.starts_with(
            "`nearby` is no locality; it is one of `prefer-local`, `spread` and `local-only`"
        ),
        "{reply}"
    );
    assert_eq!(api.links.lock().unwrap().len(), 3);
}

#[tokio::test]
async fn unknown_operations_are_refused_and_dotted_configs_get_a_hint() {
    let nats = nats_box().await;
    let _server = serve(&nats, host(), &FakeHost::new(HOST)).await;
    let tails = [
        format!("host.bogus.{HOST}"),
        "link.bogus".into(),
        "config.get.a.b".into(),
    ];
    for tail in tails {
        let reply = ask(&nats, &tail, "").await;
        assert_eq!(reply["message"], "unsupported subject", "{tail}");
        assert_eq!(reply["code"], "unsupported-subject");
        let hint = reply["hint"].as_str().unwrap_or_default();
        assert_eq!(
            hint.contains("no dots"),
            tail.starts_with("config"),
            "{tail}: {hint}"
        );
    }
    let client = nats.client().await.unwrap();
    let error = client
        .request("wasmbus.ctl.v1.default.bogus.x", "".into())
        .await
        .unwrap_err();
    assert_eq!(
        error.kind(),
        async_nats::client::RequestErrorKind::NoResponders
    );
}

#[tokio::test]
async fn a_host_stops_only_when_it_is_meant() {
    let nats = nats_box().await;
    let api = FakeHost::new(HOST);
    let _server = serve(&nats, host(), &api).await;
    let tail = format!("host.stop.{HOST}");
    let reply = ask(&nats, &tail, r#"{"host_id":"NOTME"}"#).await;
    assert_eq!(reply["message"], "invalid host_id [NOTME]");
    assert!(api.asked().is_empty());
    assert_eq!(ask(&nats, &tail, "").await["success"], Value::Bool(true));
    assert_eq!(ask(&nats, &tail, "{}").await["success"], Value::Bool(true));
    assert_eq!(
        ask(&nats, &tail, r#"{"timeout":2000}"#).await["success"],
        Value::Bool(true)
    );
    assert_eq!(
        api.asked(),
        [
            "stop within None",
            "stop within None",
            "stop within Some(2000)"
        ]
    );
}

#[tokio::test]
async fn the_trace_of_a_request_comes_back_with_its_reply() {
    let nats = nats_box().await;
    let _server = serve(&nats, host(), &FakeHost::new(HOST)).await;
    let mut headers = HeaderMap::new();
    headers.insert(
        "traceparent",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    );
    headers.insert("tracestate", "vendor=1");
    let request = Request::new().headers(headers.clone());
    let client = nats.client().await.unwrap();
    let reply = client
        .send_request("wasmbus.ctl.v1.default.host.ping", request)
        .await
        .unwrap();
    assert_eq!(reply.headers, Some(headers));
    let plain = client
        .request("wasmbus.ctl.v1.default.host.ping", "".into())
        .await
        .unwrap();
    assert_eq!(plain.headers, None);
}

#[tokio::test]
async fn operations_on_stored_things_reach_one_host_only() {
    let nats = nats_box().await;
    let (one, other) = (FakeHost::new(HOST), FakeHost::new(other_host().as_str()));
    let _servers = (
        serve(&nats, host(), &one).await,
        serve(&nats, other_host(), &other).await,
    );
    let client = client(&nats).await;
    for n in 0..20 {
        let link = Link {
            source_id: format!("s{n}"),
            target: "t".into(),
            name: "default".into(),
            wit_namespace: "wasi".into(),
            wit_package: "keyvalue".into(),
            interfaces: vec!["store".into()],
            source_config: vec![],
            target_config: vec![],
            locality: lattice_core::Locality::default(),
            rules: lattice_core::LinkRules::default(),
            status: vec![],
        };
        client.put_link(&link).await.unwrap();
    }
    let count = |host: &FakeHost| host.links.lock().unwrap().len();
    assert_eq!(count(&one) + count(&other), 20);
}

#[tokio::test]
async fn requests_beyond_the_limits_are_refused_and_the_others_finish() {
    let nats = nats_box().await;
    let api = FakeHost::new(HOST);
    let config = ServerConfig {
        max_in_flight: 2,
        max_queued: 3,
        max_wait: Duration::from_secs(60),
        ..ServerConfig::new(LatticeName::default(), host())
    };
    let _server = serve_with(&nats, config, &api).await;
    let client = nats.client().await.unwrap();
    let subject = format!("wasmbus.ctl.v1.default.component.scale.{HOST}");
    let body = |id: &str| Bytes::from(serde_json::to_vec(&scale(id)).unwrap());
    let inbox = client.new_inbox();
    let mut answers = client.subscribe(inbox.clone()).await.unwrap();
    // Messages of one connection on one subject arrive in order: two are under way, three wait.
    for _ in 0..5 {
        let (subject, inbox) = (subject.clone(), inbox.clone());
        client
            .publish_with_reply(subject, inbox, body(SLOW))
            .await
            .unwrap();
    }
    let refusal = soon("a refusal", client.request(subject, body("fast")))
        .await
        .unwrap();
    let refusal: Value = serde_json::from_slice(&refusal.payload).unwrap();
    assert_eq!(
        (&refusal["code"], &refusal["message"]),
        (&"busy".into(), &"host is overloaded".into())
    );
    api.slow_ones(2).await;
    assert_eq!(api.started.load(Ordering::SeqCst), 2);
    api.release(5);
    for _ in 0..5 {
        let answer = soon("a slow command", answers.next()).await.unwrap();
        assert_eq!(&*answer.payload, br#"{"success":true,"message":""}"#);
    }
    assert_eq!(api.asked().len(), 5);
}

#[tokio::test]
async fn a_request_behind_slow_ones_is_refused_in_time_and_a_host_can_be_asked_and_stopped() {
    let nats = nats_box().await;
    let api = FakeHost::new(HOST);
    let config = ServerConfig {
        max_in_flight: 1,
        max_wait: Duration::from_millis(100),
        ..ServerConfig::new(LatticeName::default(), host())
    };
    let _server = serve_with(&nats, config, &api).await;
    let client = client(&nats).await;
    let slow = client.clone();
    tokio::spawn(async move { slow.scale_component(&host(), scale(SLOW)).await });
    api.slow_ones(1).await;
    let refused = client.scale_component(&host(), scale("fast")).await;
    assert_eq!(refused.unwrap_err().code(), Some(ErrorCode::Busy));
    client.inventory(&host()).await.unwrap();
    let stop = ask(&nats, &format!("host.stop.{HOST}"), "").await;
    assert_eq!(stop["success"], Value::Bool(true), "{stop}");
    api.release(1);
}

#[tokio::test]
async fn a_drain_finishes_what_is_under_way_and_takes_nothing_new() {
    let nats = nats_box().await;
    let api = FakeHost::new(HOST);
    let server = serve(&nats, host(), &api).await;
    let client = client(&nats).await;
    let slow = {
        let client = client.clone();
        tokio::spawn(async move { client.scale_component(&host(), scale(SLOW)).await })
    };
    api.slow_ones(1).await;
    let drain = tokio::spawn(server.drain(Duration::from_secs(30)));
    soon("no more answers", async {
        while !matches!(
            client.inventory(&host()).await,
            Err(ClientError::NoResponders { .. })
        ) {}
    })
    .await;
    assert!(!drain.is_finished());
    api.release(1);
    assert_eq!(soon("slow command", slow).await.unwrap().unwrap(), "");
    assert_eq!(
        soon("drain", drain).await.unwrap(),
        Drained { unfinished: 0 }
    );
}

#[tokio::test]
async fn a_drain_cuts_off_what_is_not_finished_at_its_deadline() {
    let nats = nats_box().await;
    let api = FakeHost::new(HOST);
    let server = serve(&nats, host(), &api).await;
    let client = client(&nats).await;
    tokio::spawn(async move { client.scale_component(&host(), scale(SLOW)).await });
    api.slow_ones(1).await;
    let drained = soon("drain", server.drain(Duration::from_millis(100))).await;
    assert_eq!(drained, Drained { unfinished: 1 });
    assert!(api.asked().is_empty());
}

#[tokio::test]
async fn a_panic_and_a_stuck_request_are_answered() {
    let nats = nats_box().await;
    let api = FakeHost::new(HOST);
    let config = ServerConfig {
        handler_deadline: Duration::from_millis(100),
        ..ServerConfig::new(LatticeName::default(), host())
    };
    let _server = serve_with(&nats, config, &api).await;
    let client = client(&nats).await;
    let error = client
        .scale_component(&host(), scale(PANIC))
        .await
        .unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::Internal));
    let error = client
        .scale_component(&host(), scale(SLOW))
        .await
        .unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::Timeout));
    client.put_label(&host(), "k", "v").await.unwrap();
}

#[tokio::test]
async fn a_reply_that_nats_would_not_take_becomes_an_error() {
    let options = NatsBoxOptions {
        max_payload: Some(4096),
        ..Default::default()
    };
    let nats = NatsBox::start_with(options).await.unwrap();
    let api = FakeHost::new(HOST);
    let _server = serve(&nats, host(), &api).await;
    let link = Link {
        source_id: "s".into(),
        target: "t".into(),
        name: "default".into(),
        wit_namespace: "wasi".into(),
        wit_package: "keyvalue".into(),
        interfaces: vec!["x".repeat(2_500)],
        source_config: vec![],
        target_config: vec![],
        locality: lattice_core::Locality::default(),
        rules: lattice_core::LinkRules::default(),
        status: vec![],
    };
    api.links.lock().unwrap().extend([link.clone(), link]);
    let error = client(&nats).await.links().await.unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("5") && text.contains("at most 4096"),
        "{text}"
    );
    assert!(error.hint().unwrap().contains("max_payload"));
}

#[tokio::test]
async fn auctions_can_be_switched_off() {
    let nats = nats_box().await;
    let config = ServerConfig {
        component_auctions: false,
        ..ServerConfig::new(LatticeName::default(), host())
    };
    let _server = serve_with(&nats, config, &FakeHost::new(HOST)).await;
    let request = lattice_control::types::ComponentAuctionRequest {
        component_id: "a".into(),
        component_ref: "file:///a".into(),
        ..Default::default()
    };
    let client = client(&nats).await;
    let error = client
        .auction_component(request, GatherOptions::first())
        .await
        .unwrap_err();
    assert!(
        matches!(error, ClientError::NoResponders { .. }),
        "{error:?}"
    );
}

#[tokio::test]
async fn registries_reach_every_host_without_a_reply() {
    let nats = nats_box().await;
    let hosts = [FakeHost::new(HOST), FakeHost::new(other_host().as_str())];
    let _servers = (
        serve(&nats, host(), &hosts[0]).await,
        serve(&nats, other_host(), &hosts[1]).await,
    );
    let credentials = [("registry".to_owned(), RegistryCredential::default())]
        .into_iter()
        .collect();
    client(&nats)
        .await
        .put_registries(&credentials)
        .await
        .unwrap();
    soon("both hosts", async {
        while hosts.iter().any(|host| host.asked().is_empty()) {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(Arc::clone(&hosts[1]).asked(), ["registries 1"]);
}
