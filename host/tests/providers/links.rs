//! What a provider is told of its links, and what it says of them.

use async_nats::Subscriber;
use serde_json::{Value, json};

use crate::common::provider::Program;
use crate::common::{Lattice, golden, until};
use crate::{WAIT, answer_health, healthy, link, next, start};

/// The links that providers are told of from now on.
pub(crate) async fn puts(lattice: &Lattice) -> Subscriber {
    let subject = "wasmbus.rpc.default.*.linkdefs.put";
    lattice.client.subscribe(subject).await.unwrap()
}

/// The next link that a process is told of by its key: only the owner of the key is meant.
pub(crate) async fn told(puts: &mut Subscriber) -> Value {
    loop {
        let (message, body) = next(puts).await;
        let key = message.subject.as_str().split('.').nth(3).unwrap();
        if key.len() == 56 && key.starts_with('X') {
            return body;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn links_reach_a_running_provider_however_they_change() {
    let (lattice, _host, _events, _program, _health) = healthy(|_| {}).await;
    let config = async |config: Value| lattice.done("config.put.redis", &config).await;
    config(json!({"url": "redis://a"})).await;
    let mut puts = puts(&lattice).await;
    let dels = "wasmbus.rpc.default.kv.linkdefs.del";
    let mut dels = lattice.client.subscribe(dels).await.unwrap();
    lattice.done("link.put", &link(&["redis"])).await;
    let first = told(&mut puts).await;
    let step = "link.put counter to redis";
    let recorded = golden::recorded(step, |subject| subject.starts_with("wasmbus.rpc.default.X"));
    golden::same_shape(&first, &recorded[0]);
    assert_eq!(first["target_config"], json!({"url": "redis://a"}));

    // A changed config is a removal and a new link, since providers ignore a link they have.
    config(json!({"url": "redis://b"})).await;
    assert_eq!(next(&mut dels).await.1["source_id"], "counter");
    assert_eq!(
        told(&mut puts).await["target_config"],
        json!({"url": "redis://b"})
    );

    // A link that somebody takes out of the store is taken from the provider.
    let key = "COMPONENT_counter";
    let js = async_nats::jetstream::new(lattice.client.clone());
    let bucket = js.get_key_value("LATTICEDATA_default").await.unwrap();
    bucket
        .put(key, r#"{"url":"","links":[]}"#.into())
        .await
        .unwrap();
    assert_eq!(next(&mut dels).await.1["target"], "kv");
    // So is one whose record is purged.
    lattice.done("link.put", &link(&["redis"])).await;
    told(&mut puts).await;
    bucket.purge(key).await.unwrap();
    assert_eq!(next(&mut dels).await.1["wit_package"], "keyvalue");
    until("the link to be forgotten", async || {
        let links = lattice.control_raw("link.get", "").await;
        (links["response"] == json!([])).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_of_ours_takes_a_changed_link_and_others_of_its_id_keep_theirs() {
    let (lattice, host, mut events) = Lattice::running().await;
    let program = Program::new(&lattice, "kv", WAIT);
    let health = json!({"healthy": true, "host_id": host.id().as_str()});
    let _health = answer_health(&lattice, health).await;
    lattice.provide(&host, &start(&host, &program)).await;
    events.data("health_check_passed").await;
    lattice
        .done("config.put.redis", &json!({"url": "redis://a"}))
        .await;
    let mut puts = puts(&lattice).await;
    lattice.done("link.put", &link(&["redis"])).await;
    told(&mut puts).await;
    let mut dels = lattice
        .client
        .subscribe("wasmbus.rpc.default.kv.linkdefs.del")
        .await
        .unwrap();
    lattice
        .done("config.put.redis", &json!({"url": "redis://b"}))
        .await;
    assert_eq!(
        told(&mut puts).await["target_config"],
        json!({"url": "redis://b"})
    );
    // What anybody was told before would have come first.
    let delete =
        json!({"source_id": "counter", "wit_namespace": "wasi", "wit_package": "keyvalue"});
    lattice
        .client
        .publish("wasmbus.rpc.default.kv.linkdefs.del", "{}".into())
        .await
        .unwrap();
    assert_eq!(next(&mut dels).await.1, json!({}));
    lattice.done("link.del", &delete).await;
    assert_eq!(next(&mut dels).await.1["source_id"], "counter");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_old_processes_of_one_id_keep_their_links_when_a_config_changes() {
    let (lattice, _host, _events, _program, _health) = healthy(|_| {}).await;
    lattice
        .done("config.put.redis", &json!({"url": "redis://a"}))
        .await;
    let mut puts = puts(&lattice).await;
    lattice.done("link.put", &link(&["redis"])).await;
    told(&mut puts).await;
    let _other = answer_health(&lattice, json!({"healthy": true})).await;
    let del = "wasmbus.rpc.default.kv.linkdefs.del";
    let mut dels = lattice.client.subscribe(del).await.unwrap();
    lattice
        .done("config.put.redis", &json!({"url": "redis://b"}))
        .await;
    assert_eq!(
        told(&mut puts).await["target_config"],
        json!({"url": "redis://b"})
    );
    lattice.client.publish(del, "{}".into()).await.unwrap();
    assert_eq!(
        next(&mut dels).await.1,
        json!({}),
        "nothing was taken away before"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_of_a_link_that_is_not_there_is_not_told() {
    let (lattice, host, mut events, _program, _health) = healthy(|_| {}).await;
    let mut report = json!({
        "source_id": "counter", "target": "kv", "name": "invented", "wit_namespace": "wasi",
        "wit_package": "keyvalue", "state": "failed", "host_id": host.id().as_str(),
    });
    lattice.done("link.put", &link(&[])).await;
    for name in ["invented", "default"] {
        report["name"] = json!(name);
        let subject = "wasmbus.rpc.default.kv.linkstatus";
        lattice
            .client
            .publish(subject, report.to_string().into())
            .await
            .unwrap();
    }
    assert_eq!(events.data("link_status_changed").await["name"], "default");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_keeps_what_a_deleted_config_said() {
    let (lattice, _host, _events, _program, _health) = healthy(|_| {}).await;
    let grants = json!({"allow": "https://api.example.com"});
    for name in ["allow", "other"] {
        lattice.done(&format!("config.put.{name}"), &grants).await;
    }
    let mut puts = puts(&lattice).await;
    lattice.done("link.put", &link(&["allow", "other"])).await;
    assert_eq!(told(&mut puts).await["target_config"], grants);
    lattice.done("config.del.allow", &Value::Null).await;

    // What is changed after it is told, and has what was deleted beside it.
    lattice
        .done("config.put.other", &json!({"retries": "2"}))
        .await;
    let expected = json!({"allow": "https://api.example.com", "retries": "2"});
    assert_eq!(told(&mut puts).await["target_config"], expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_is_not_told_of_a_link_from_it_whose_rules_nobody_keeps() {
    let (lattice, _host, mut events, _program, _health) = healthy(|_| {}).await;
    let mut puts = puts(&lattice).await;
    let from_it = |name: &str, rules: Value| {
        json!({
            "source_id": "kv", "target": "other", "name": name, "wit_namespace": "wasi",
            "wit_package": "keyvalue", "interfaces": ["store"], "source_config": [],
            "target_config": [], "rules": rules,
        })
    };
    let ruled = from_it("ruled", json!({"rate": "1/s"}));
    lattice.done("link.put", &ruled).await;
    let failed = events.data("link_status_changed").await;
    assert_eq!(
        (&failed["name"], &failed["state"]),
        (&json!("ruled"), &json!("failed"))
    );
    let why = failed["reason"].as_str().unwrap();
    assert!(why.contains("the link has rules"), "{why}");
    until("the state in the list of links", async || {
        let links = lattice.control_raw("link.get", "").await;
        let reason = links["response"][0]["status"][0]["reason"]
            .as_str()?
            .to_owned();
        reason.contains("the link has rules").then_some(())
    })
    .await;
    // Neither by its key nor as an old provider; the next one it is told of is another.
    lattice.done("link.put", &from_it("free", json!({}))).await;
    loop {
        let (message, body) = next(&mut puts).await;
        let end = message
            .subject
            .as_str()
            .split('.')
            .nth(3)
            .unwrap()
            .to_owned();
        if end != "other" {
            assert_eq!(body["name"], "free", "{end}");
        }
        if end.len() == 56 {
            break;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn links_are_told_again_when_a_provider_is_first_heard_of() {
    let (lattice, host, _events) = Lattice::running().await;
    let program = Program::new(&lattice, "kv", WAIT);
    lattice.provide(&host, &start(&host, &program)).await;
    program.host_data(0).await;
    // Nobody listens yet: this one is lost.
    lattice.done("link.put", &link(&[])).await;
    let mut puts = puts(&lattice).await;
    let _health = answer_health(&lattice, json!({"healthy": true})).await;
    // On a busy machine the first is heard here after all.
    let (_, body) = loop {
        let put = next(&mut puts).await;
        if put.0.subject.as_str().contains(".default.X") {
            break put;
        }
    };
    assert_eq!(body["source_id"], "counter");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_floods_with_reports_of_a_link_is_heard_some_times_a_second() {
    let (lattice, host, mut events, _program, _health) = healthy(|_| {}).await;
    lattice.done("link.put", &link(&[])).await;
    for number in 0..5000 {
        let report = json!({
            "source_id": "counter", "target": "kv", "name": "default", "wit_namespace": "wasi",
            "wit_package": "keyvalue", "state": "failed", "host_id": host.id().as_str(),
            "reason": format!("\u{1b}[2J{number} {}", "y".repeat(2000)),
        });
        let report = match number % 2 {
            0 => report.to_string(),
            _ => "{".to_owned(),
        };
        let subject = "wasmbus.rpc.default.kv.linkstatus";
        lattice
            .client
            .publish(subject, report.into())
            .await
            .unwrap();
    }
    lattice_nats_box::taken_in(&lattice.client).await.unwrap();
    // Others are heard beside it.
    lattice.done("config.put.other", &json!({"a": "b"})).await;
    let mut told = Vec::new();
    loop {
        let (name, event) = events.next().await;
        match name.as_str() {
            "link_status_changed" => told.push(event["data"]["reason"].clone()),
            "config_set" => break,
            _ => {}
        }
    }
    assert!((1..200).contains(&told.len()), "{} events", told.len());
    for reason in told {
        let reason = reason.as_str().unwrap();
        assert!(
            reason.starts_with(" [2J") && reason.len() <= 1000,
            "{reason}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_provider_says_of_a_link_is_listed_and_told() {
    let (lattice, host, mut events, _program, _health) = healthy(|_| {}).await;
    lattice.done("link.put", &link(&[])).await;
    let mut report = json!({
        "source_id": "counter", "target": "kv", "name": "default", "wit_namespace": "wasi",
        "wit_package": "keyvalue", "state": "failed", "reason": "connection refused",
        "host_id": host.id().as_str(),
    });
    let subject = "wasmbus.rpc.default.kv.linkstatus";
    lattice
        .client
        .publish(subject, report.to_string().into())
        .await
        .unwrap();
    let data = events.data("link_status_changed").await;
    assert_eq!(
        (&data["state"], &data["endpoint"]),
        (&json!("failed"), &json!("kv"))
    );
    let listed = until("the state in the list of links", async || {
        let links = lattice.control_raw("link.get", "").await;
        links["response"][0].get("status").cloned()
    })
    .await;
    assert_eq!(listed[0]["reason"], "connection refused");

    report["state"] = json!("ready");
    report.as_object_mut().unwrap().remove("reason");
    lattice
        .client
        .publish(subject, report.to_string().into())
        .await
        .unwrap();
    assert_eq!(events.data("link_status_changed").await["state"], "ready");
    let delete =
        json!({"source_id": "counter", "wit_namespace": "wasi", "wit_package": "keyvalue"});
    let dels = "wasmbus.rpc.default.kv.linkdefs.del";
    let mut dels = lattice.client.subscribe(dels).await.unwrap();
    lattice.done("link.del", &delete).await;
    // A link that is there again before its provider has heard of its end has not been gone.
    next(&mut dels).await;
    lattice.done("link.put", &link(&[])).await;
    until("the state to be forgotten with the link", async || {
        let links = lattice.control_raw("link.get", "").await;
        links["response"][0].get("status").is_none().then_some(())
    })
    .await;
}
