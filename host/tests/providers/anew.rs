//! What a provider is told again, as it may have missed it, and what it alone is told.

use std::time::Duration;

use async_nats::Subscriber;
use lattice_host::Host;
use serde_json::{Value, json};

use crate::common::provider::Program;
use crate::common::{Events, Lattice};
use crate::links::{puts, told};
use crate::{Health, WAIT, answer_health, link, next, start};

/// A provider of ours which has connected so often, and listens when `health` answers.
async fn answers(lattice: &Lattice, host: &Host, connects: u64) -> Health {
    let answer = json!({"healthy": true, "host_id": host.id().as_str(), "connects": connects});
    answer_health(lattice, answer).await
}

async fn running() -> (Lattice, Host, Events, Program) {
    let often = Duration::from_millis(200);
    let (lattice, host, events) = Lattice::running_with(|config| {
        config.providers.health_interval = often;
    })
    .await;
    lattice.done("config.put.redis", &json!({"url": "a"})).await;
    let program = Program::new(&lattice, "kv", WAIT);
    let mut command = start(&host, &program);
    command["config"] = json!(["redis"]);
    lattice.provide(&host, &command).await;
    program.host_data(0).await;
    (lattice, host, events, program)
}

/// The configs that processes are told from now on.
async fn configs(lattice: &Lattice) -> Subscriber {
    let subject = "wasmbus.rpc.default.*.config.update";
    let updates = lattice.client.subscribe(subject).await.unwrap();
    lattice_nats_box::taken_in(&lattice.client).await.unwrap();
    updates
}

/// The next config that one process alone is told.
async fn own_config(updates: &mut Subscriber) -> Value {
    told(updates).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_of_ours_is_told_its_config_and_no_other_is() {
    let (lattice, host, mut events, _program) = running().await;
    let _health = answers(&lattice, &host, 1).await;
    events.data("health_check_passed").await;
    let mut updates = configs(&lattice).await;
    lattice.done("config.put.redis", &json!({"url": "b"})).await;
    assert_eq!(own_config(&mut updates).await, json!({"url": "b"}));
    // What all were told would come before what they are told now.
    let all = "wasmbus.rpc.default.kv.config.update";
    lattice.client.publish(all, "{}".into()).await.unwrap();
    assert_eq!(next(&mut updates).await.1, json!({}));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_config_that_changes_before_the_process_listens_is_told_again() {
    let (lattice, host, _events, _program) = running().await;
    let mut updates = configs(&lattice).await;
    lattice.done("config.put.redis", &json!({"url": "b"})).await;
    assert_eq!(own_config(&mut updates).await, json!({"url": "b"}));
    let _health = answers(&lattice, &host, 1).await;
    assert_eq!(own_config(&mut updates).await, json!({"url": "b"}));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_was_away_from_nats_is_told_everything_again() {
    let (lattice, host, mut events, _program) = running().await;
    let health = answers(&lattice, &host, 1).await;
    events.data("health_check_passed").await;
    let identities = "wasmbus.rpc.default.*.identity";
    let mut identities = lattice.client.subscribe(identities).await.unwrap();
    let (mut puts, mut updates) = (puts(&lattice).await, configs(&lattice).await);
    lattice.done("link.put", &link(&[])).await;
    assert_eq!(told(&mut puts).await["source_id"], "counter");
    health.abort();
    let health = answers(&lattice, &host, 2).await;
    assert_eq!(told(&mut puts).await["source_id"], "counter");
    assert_eq!(own_config(&mut updates).await, json!({"url": "a"}));
    assert!(told(&mut identities).await["provider"].is_string());

    let dels = "wasmbus.rpc.default.*.linkdefs.del";
    let mut dels = lattice.client.subscribe(dels).await.unwrap();
    let delete =
        json!({"source_id": "counter", "wit_namespace": "wasi", "wit_package": "keyvalue"});
    health.abort();
    lattice.done("link.del", &delete).await;
    assert_eq!(next(&mut dels).await.1["source_id"], "counter");
    let _health = answers(&lattice, &host, 3).await;
    assert_eq!(next(&mut dels).await.1["source_id"], "counter");
}
