//! Links between components: put, get, delete, and calls through them.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(clippy::disallowed_methods, reason = "a test speaks the wire itself")]

mod common;

use std::time::Duration;

use async_nats::Subscriber;
use common::sums::{self, link};
use common::{Lattice, golden, until, wat};
use futures::StreamExt as _;
use lattice_rpc::{CallError, Peer};
use serde_json::{Value, json};
use tokio::time::{Instant, timeout};

async fn twice(peer: &Peer, value: u8) -> Result<Vec<u8>, CallError> {
    sums::twice(peer, value, Duration::from_secs(5)).await
}

/// Puts a link whose config `redis` is not there.
async fn refused_for_its_config(lattice: &Lattice, link: &Value) {
    let refused = lattice.control("link.put", link).await;
    let text = refused["message"].as_str().unwrap();
    assert!(
        text.starts_with("Failed to validate configuration and secrets."),
        "{text}"
    );
    assert!(
        text.contains("Configuration redis not found in config store"),
        "{text}"
    );
}

/// Takes the next message to a provider about its links, which has to be the one of `step`.
async fn provider_is_told_as_recorded(told: &mut Subscriber, step: &str) {
    let message = timeout(common::SOON, told.next()).await.unwrap().unwrap();
    let ours: Value = serde_json::from_slice(&message.payload).unwrap();
    let theirs = golden::recorded(step, |subject| subject == message.subject.as_str());
    assert_eq!(ours, theirs[0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn links_are_put_listed_and_deleted_as_recorded() {
    let lattice = Lattice::start().await;
    let _host = lattice.host().await;
    let mut events = lattice.events().await;
    let mut told = lattice
        .client
        .subscribe("wasmbus.rpc.default.*.linkdefs.*")
        .await
        .unwrap();
    let step = "link.put counter to redis";
    let request = golden::recorded(step, |subject| subject.ends_with("link.put")).remove(0);

    refused_for_its_config(&lattice, &request).await;
    events.data("linkdef_set_failed").await;

    let config = json!({"url": "redis://127.0.0.1:6379"});
    lattice.done("config.put.redis", &config).await;
    let reply = lattice.done("link.put", &request).await;
    assert_eq!(reply, golden::reply(step));
    assert_eq!(
        events.data("linkdef_set").await,
        golden::event(step, "linkdef_set")
    );
    for _ in 0..2 {
        provider_is_told_as_recorded(&mut told, step).await;
    }
    let reply = lattice.control_raw("link.get", "").await;
    assert_eq!(reply["response"], json!([request]));
    golden::same_shape(&reply, &golden::reply("link.get"));

    let step = "link.put conflicting";
    let other = golden::recorded(step, |subject| subject.ends_with("link.put")).remove(0);
    let refused = lattice.control("link.put", &other).await;
    assert_eq!(refused["message"], golden::reply(step)["message"]);
    assert_eq!(
        events.data("linkdef_set_failed").await,
        golden::event(step, "linkdef_set_failed")
    );

    let delete = golden::recorded("link.del", |subject| subject.ends_with("link.del")).remove(0);
    let reply = lattice.done("link.del", &delete).await;
    assert_eq!(reply, golden::reply("link.del"));
    assert_eq!(
        events.data("linkdef_deleted").await,
        golden::event("link.del", "linkdef_deleted")
    );
    provider_is_told_as_recorded(&mut told, "link.del").await;
    assert_eq!(
        lattice.control_raw("link.get", "").await["response"],
        json!([])
    );

    let unknown = json!({"source_id": "nobody", "wit_namespace": "wasi", "wit_package": "http"});
    let reply = lattice.done("link.del", &unknown).await;
    assert_eq!(
        reply["message"],
        "successfully deleted link (spec doesn't exist)"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_follow_links_from_the_moment_they_are_put() {
    let (lattice, host, mut events) = Lattice::running().await;
    let peer = lattice.peer().await;
    lattice.run(&host, "twice", wat::TWICE).await;
    lattice.run(&host, "sums", wat::SUMS).await;

    // No link: an error for the caller, an event for the operator, and nothing hangs.
    let error = twice(&peer, 4).await.unwrap_err();
    assert!(
        error.to_string().contains("link `default` not found"),
        "{error}"
    );
    let failed = events.data("invocation_failed").await;
    assert_eq!(
        (&failed["code"], &failed["component_id"]),
        (&json!("missing-link"), &json!("twice"))
    );

    lattice.done("link.put", &link("twice", "sums")).await;
    assert_eq!(twice(&peer, 4).await.unwrap(), [8]);

    // A target that runs nowhere is told at once and by name.
    lattice.done("link.del", &link("twice", "sums")).await;
    assert!(twice(&peer, 4).await.is_err());
    lattice.done("link.put", &link("twice", "ghost")).await;
    let asked = Instant::now();
    let error = twice(&peer, 4).await.unwrap_err();
    assert!(
        error.to_string().contains("`ghost` does not serve"),
        "{error}"
    );
    assert!(asked.elapsed() < Duration::from_secs(2));
    events
        .find("invocation_failed", |data| data["code"] == "unreachable")
        .await;

    // Re-linking needs neither a restart nor a rebuild.
    lattice.done("link.del", &link("twice", "ghost")).await;
    lattice.done("link.put", &link("twice", "sums")).await;
    assert_eq!(twice(&peer, 5).await.unwrap(), [10]);
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_cross_hosts_and_a_drained_host_fails_none() {
    let lattice = Lattice::start().await;
    let (first, second) = (lattice.host().await, lattice.host().await);
    let peer = lattice.peer().await;
    lattice.done("link.put", &link("twice", "sums")).await;
    lattice.run(&first, "twice", wat::TWICE).await;
    lattice.run(&first, "sums", wat::SUMS).await;
    lattice.run(&second, "sums", wat::SUMS).await;
    lattice.run(&second, "twice", wat::TWICE).await;
    until("the link on both hosts", async || {
        for _ in 0..8 {
            twice(&peer, 1).await.ok()?;
        }
        Some(())
    })
    .await;
    let calls = tokio::spawn({
        let peer = peer.clone();
        async move {
            for _ in 0..300 {
                assert_eq!(twice(&peer, 4).await.unwrap(), [8]);
            }
        }
    });
    let wish = lattice_host::StopRequest::now(lattice_host::StopReason::Program);
    first.drain(wish).await;
    calls.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_called_component_that_traps_is_named_to_the_caller() {
    let lattice = Lattice::start().await;
    let host = lattice.host().await;
    let peer = lattice.peer().await;
    lattice.run(&host, "twice", wat::TWICE).await;
    let trapping = wat::SUMS.replace("(i32.add (local.get 0) (local.get 1))", "unreachable");
    lattice.run(&host, "sums", &trapping).await;
    let mut events = lattice.events().await;
    lattice.done("link.put", &link("twice", "sums")).await;
    let error = twice(&peer, 4).await.unwrap_err().to_string();
    assert!(
        error.contains("`sums` failed") && error.contains("unreachable"),
        "{error}"
    );
    let mut told = Vec::new();
    for _ in 0..2 {
        told.push(events.data("invocation_failed").await["component_id"].clone());
    }
    assert!(
        told.contains(&json!("sums")) && told.contains(&json!("twice")),
        "{told:?}"
    );
}

/// The bucket with the records of links.
async fn records(lattice: &Lattice) -> async_nats::jetstream::kv::Store {
    let js = async_nats::jetstream::new(lattice.client.clone());
    js.get_key_value("LATTICEDATA_default").await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn links_that_only_1_9_would_store_can_be_deleted() {
    let lattice = Lattice::start().await;
    let _host = lattice.host().await;
    let mut events = lattice.events().await;
    let stored = |name: &str, package: &str| {
        json!({
            "source_id": "counter", "target": "kv", "name": name, "wit_namespace": "wasi",
            "wit_package": package, "interfaces": ["store"], "source_config": [],
            "target_config": [],
        })
    };
    let links = [
        stored("a\tb", "keyvalue"),
        stored("default", "keyvalue@0.2.0-draft"),
    ];
    let record = json!({"url": "", "links": links}).to_string();
    let bucket = records(&lattice).await;
    bucket
        .put("COMPONENT_counter", record.into())
        .await
        .unwrap();
    until("the links", async || {
        let known = lattice.control_raw("link.get", "").await;
        (known["response"].as_array()?.len() == 2).then_some(())
    })
    .await;
    for link in &links {
        let reply = lattice.done("link.del", link).await;
        assert_eq!(reply["message"], "successfully deleted link");
        let event = events.data("linkdef_deleted").await;
        assert_eq!(
            (&event["name"], &event["target"]),
            (&link["name"], &json!("kv"))
        );
    }
    let known = lattice.control_raw("link.get", "").await;
    assert_eq!(known["response"], json!([]));
}

/// Has a host no longer see what changes in the bucket of links, until it notices.
async fn blind(lattice: &Lattice) {
    let js = async_nats::jetstream::new(lattice.client.clone());
    let stream = js.get_stream("KV_LATTICEDATA_default").await.unwrap();
    let watches: Vec<_> = stream.consumer_names().collect().await;
    for watch in watches {
        stream.delete_consumer(&watch.unwrap()).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_that_is_stored_is_told_at_once_though_its_host_has_not_seen_it() {
    let (lattice, _host, mut events) = Lattice::running().await;
    blind(&lattice).await;
    let bucket = records(&lattice).await;
    let stored = async {
        let found = async || bucket.get("COMPONENT_counter").await.unwrap();
        until("the link", found).await;
        lattice.done("config.put.next", &json!({"a": "b"})).await;
    };
    let wanted = link("counter", "kv");
    tokio::join!(lattice.done("link.put", &wanted), stored);
    assert_eq!(events.next().await.0, "linkdef_set");
    assert_eq!(events.next().await.0, "config_set");
}

/// Waits until both ends of the link from `counter` to `kv` are told that it is gone, and nobody else
/// before.
async fn both_are_told(told: &mut Subscriber) {
    for end in ["counter", "kv"] {
        let message = timeout(common::SOON, told.next()).await.unwrap().unwrap();
        let subject = format!("wasmbus.rpc.default.{end}.linkdefs.del");
        assert_eq!(message.subject.as_str(), subject);
        let removal: Value = serde_json::from_slice(&message.payload).unwrap();
        assert_eq!(
            (&removal["name"], &removal["target"]),
            (&json!("default"), &json!("kv"))
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_deletes_a_link_again_has_its_ends_told_again() {
    let lattice = Lattice::start().await;
    let _host = lattice.host().await;
    let dels = "wasmbus.rpc.default.*.linkdefs.del";
    let mut told = lattice.client.subscribe(dels).await.unwrap();
    let gone = link("counter", "kv");
    lattice.done("link.put", &gone).await;
    for _ in 0..2 {
        lattice.done("link.del", &gone).await;
        both_are_told(&mut told).await;
        // Of one that never was there nobody is told.
        let mut other = gone.clone();
        other["name"] = json!("other");
        lattice.done("link.del", &other).await;
    }
    // So it is when the whole record is gone.
    records(&lattice)
        .await
        .purge("COMPONENT_counter")
        .await
        .unwrap();
    lattice.done("link.del", &gone).await;
    both_are_told(&mut told).await;
}
