//! What a host answers about itself, labels, configs, auctions and bad requests, compared with the
//! recording of a 1.9 lattice.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(clippy::disallowed_methods, reason = "a test speaks the wire itself")]

mod common;

use std::time::Duration;

use common::{Lattice, golden, wat};
use futures::StreamExt as _;
use lattice_host::{Host, StopReason, StopRequest};
use serde_json::{Value, json};
use tokio::time::timeout;

#[tokio::test(flavor = "multi_thread")]
async fn a_host_tells_that_it_starts_lives_and_stops() {
    let lattice = Lattice::start().await;
    let mut events = lattice.events().await;
    let mut config = lattice.config();
    config.heartbeat_interval = Duration::from_secs(1);
    let host = Host::start(config).await.unwrap();
    let id = host.id().to_string();

    let (name, event) = events.next().await;
    assert_eq!(
        (name.as_str(), &event["source"]),
        ("host_started", &json!(id))
    );
    golden::same_shape(&event["data"], &golden::event("host start", "host_started"));
    assert_eq!(event["data"]["labels"]["zone"], "a");

    let ping = lattice.control_raw("host.ping", "").await;
    golden::same_shape(&ping, &golden::reply("host.ping"));
    assert_eq!(ping["response"]["rpc_host"], lattice.nats.url);
    assert_eq!(ping["response"]["id"], id);
    let inventory = lattice.control_raw(&format!("host.get.{id}"), "").await;
    golden::same_shape(&inventory, &golden::reply("host.get empty"));

    let beat = events.data("host_heartbeat").await;
    let mut recorded = golden::event("heartbeat", "host_heartbeat");
    for table in ["components", "providers"] {
        recorded[table] = json!([]);
    }
    golden::same_shape(&beat, &recorded);

    let reply = lattice
        .control(&format!("host.stop.{id}"), &json!({"host_id": "other"}))
        .await;
    assert_eq!(reply["message"], "invalid host_id [other]");
    let reply = lattice
        .done(
            &format!("host.stop.{id}"),
            &json!({"host_id": id, "timeout": 2000}),
        )
        .await;
    golden::same_shape(&reply, &golden::reply("host.stop"));
    let request = host.stop_requested().await;
    assert_eq!(request.timeout, Some(Duration::from_millis(2000)));
    host.drain(request).await;
    let stopped = events.data("host_stopped").await;
    assert_eq!(stopped["labels"]["zone"], "a");
    assert_eq!(stopped["reason"], "host.stop");
}

#[tokio::test(flavor = "multi_thread")]
async fn labels_are_put_and_deleted() {
    let lattice = Lattice::start().await;
    let host = lattice.host().await;
    let id = host.id();
    let mut events = lattice.events().await;
    let (put, del) = (format!("label.put.{id}"), format!("label.del.{id}"));

    let reply = lattice
        .done(&put, &json!({"key": "tier", "value": "edge"}))
        .await;
    assert_eq!(reply, golden::reply("label.put"));
    let data = events.data("labels_changed").await;
    golden::same_shape(&data, &golden::event("label.put", "labels_changed"));
    assert_eq!(data["labels"]["tier"], "edge");
    let reply = lattice.done(&del, &json!({"key": "tier"})).await;
    assert_eq!(reply, golden::reply("label.del"));
    assert!(
        events.data("labels_changed").await["labels"]
            .get("tier")
            .is_none()
    );
    let reply = lattice.done(&del, &json!({"key": "tier"})).await;
    assert_eq!(
        reply["message"],
        "successfully deleted label (no such label)"
    );

    let reply = lattice
        .control(&put, &json!({"key": "HostCore.os", "value": "x"}))
        .await;
    assert_eq!(
        reply["message"],
        "hostcore.* labels cannot be set dynamically"
    );
    let reply = lattice.control(&del, &json!({"key": "hostcore.os"})).await;
    assert_eq!(
        (&reply["success"], &reply["code"]),
        (&json!(false), &json!("forbidden"))
    );
    for key in ["", " ", "a\nb"] {
        let label = json!({"key": key, "value": "x"});
        let reply = lattice.control(&put, &label).await;
        assert_eq!(
            (&reply["success"], &reply["code"]),
            (&json!(false), &json!("bad-request"))
        );
        assert!(
            reply["message"].as_str().unwrap().contains("the key of"),
            "{reply}"
        );
        assert!(reply["hint"].as_str().unwrap().contains("zone"), "{reply}");
    }
    assert!(events.drain().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn configs_are_put_read_and_deleted() {
    let lattice = Lattice::start().await;
    let _host = lattice.host().await;
    let mut events = lattice.events().await;
    let config = json!({"address": "127.0.0.1:8000"});
    let reply = lattice.done("config.put.http", &config).await;
    assert_eq!(reply, golden::reply("config.put"));
    assert_eq!(
        events.data("config_set").await,
        golden::event("config.put", "config_set")
    );
    let reply = lattice.control_raw("config.get.http", "").await;
    assert_eq!(reply, golden::reply("config.get"));
    assert_eq!(
        lattice.control_raw("config.get.nothing", "").await,
        golden::reply("config.get missing")
    );
    let dotted = lattice.control_raw("config.get.a.b", "").await;
    assert_eq!(
        dotted["message"],
        golden::reply("config.get dotted name")["message"]
    );
    let reply = lattice.control_raw("config.put.http", "[]").await;
    assert_eq!(
        reply["message"],
        "config data should be a map of string -> string"
    );
    let reply = lattice.control_raw("config.del.http", "").await;
    assert_eq!(reply, golden::reply("config.del"));
    assert_eq!(events.data("config_deleted").await["config_name"], "http");
    assert!(
        lattice
            .control_raw("config.get.http", "")
            .await
            .get("response")
            .is_none()
    );
}

async fn bids(lattice: &Lattice, kind: &str, request: &Value) -> Vec<Value> {
    let inbox = lattice.client.new_inbox();
    let mut replies = lattice.client.subscribe(inbox.clone()).await.unwrap();
    let subject = format!("wasmbus.ctl.v1.default.{kind}.auction");
    let body = request.to_string().into();
    lattice
        .client
        .publish_with_reply(subject, inbox, body)
        .await
        .unwrap();
    let mut bids = Vec::new();
    while let Ok(Some(reply)) = timeout(Duration::from_millis(500), replies.next()).await {
        bids.push(serde_json::from_slice(&reply.payload).unwrap());
    }
    bids
}

#[tokio::test(flavor = "multi_thread")]
async fn hosts_bid_for_what_they_could_run() {
    let lattice = Lattice::start().await;
    let host = lattice.host().await;
    let mut second = lattice.config();
    second.component_auctions = false;
    second.labels.insert("zone".into(), "b".into());
    let second = Host::start(second).await.unwrap();
    let mut events = lattice.events().await;

    let image = lattice.component("add.wasm", &wat::adder(0));
    let component = |zone: &str| json!({"component_ref": image, "component_id": "addc", "constraints": {"zone": zone}});
    let found = bids(&lattice, "component", &component("a")).await;
    assert_eq!(found.len(), 1);
    golden::same_shape(&found[0], &golden::reply("component.auction"));
    // The id that was asked for, and not the reference as 1.9 hosts say.
    assert_eq!(found[0]["response"]["component_id"], "addc");
    assert_eq!(found[0]["response"]["host_id"], host.id().as_str());
    assert!(
        bids(&lattice, "component", &component("b"))
            .await
            .is_empty()
    );

    let command = json!({"component_ref": image, "component_id": "addc", "count": 1});
    lattice.scale(&host, &command).await;
    events.data("component_scaled").await;
    // A client that updates a component looks for its host in the same way.
    let again = bids(&lattice, "component", &component("a")).await;
    assert_eq!(again, found);
    assert!(
        bids(&lattice, "component", &component("b"))
            .await
            .is_empty()
    );

    let provider = json!({"provider_ref": "x", "provider_id": "kv", "constraints": {}});
    let found = bids(&lattice, "provider", &provider).await;
    assert_eq!(found.len(), 2);
    golden::same_shape(&found[0], &golden::reply("provider.auction"));
    second.drain(StopRequest::now(StopReason::Program)).await;
    assert_eq!(bids(&lattice, "provider", &provider).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_requests_are_answered_and_harm_nothing() {
    let lattice = Lattice::start().await;
    let host = lattice.host().await;
    let id = host.id();
    let reply = lattice
        .control_raw(&format!("component.scale.{id}"), "{")
        .await;
    assert_eq!(reply["message"], golden::reply("bad json")["message"]);
    assert_eq!(reply["code"], "bad-request");
    assert!(reply["hint"].is_string(), "{reply}");
    let reply = lattice.control_raw(&format!("host.bogus.{id}"), "").await;
    assert_eq!(
        reply["message"],
        golden::reply("unknown operation")["message"]
    );
    for (tail, body) in [
        (
            format!("component.scale.{id}"),
            json!({"component_id": "a.b", "count": 1}),
        ),
        (
            format!("component.update.{id}"),
            json!({"component_id": "a b"}),
        ),
        (
            format!("provider.start.{id}"),
            json!({"provider_id": "*", "provider_ref": "x"}),
        ),
        (format!("provider.stop.{id}"), json!({"provider_id": ""})),
    ] {
        let reply = lattice.control(&tail, &body).await;
        assert_eq!(
            (&reply["success"], &reply["code"]),
            (&json!(false), &json!("invalid-id"))
        );
        assert!(reply["hint"].is_string(), "{reply}");
    }
    let reply = lattice
        .control(&format!("provider.stop.{id}"), &json!({"provider_id": "x"}))
        .await;
    assert_eq!(
        reply["message"],
        golden::reply("provider.stop unknown")["message"]
    );
    let unknown = lattice
        .client
        .request("wasmbus.ctl.v1.default.bogus.x", "".into())
        .await;
    assert!(unknown.unwrap_err().to_string().contains("no responders"));
    let credentials = json!({"ghcr.io": {"username": "a", "password": "b"}});
    let reply = lattice.done("registry.put", &credentials).await;
    assert_eq!(reply["message"], "successfully put registries");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_address_is_told_in_time() {
    let lattice = Lattice::start().await;
    let mut config = lattice.config();
    config.ctl.port = 1;
    let started = tokio::time::Instant::now();
    let error = Host::start(config).await.unwrap_err();
    assert!(started.elapsed() < Duration::from_secs(10));
    assert!(error.is_unreachable());
    assert!(error.to_string().contains("nats://127.0.0.1:1"), "{error}");
    assert!(error.hint().unwrap().contains("--nats-port"));
}
