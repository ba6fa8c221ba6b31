//! What a provider is told when links are gone, by whom, and which others hear of it.

use std::time::Duration;

use lattice_host::{Host, HostConfig};
use serde_json::{Value, json};

use crate::common::provider::Program;
use crate::common::{Lattice, until};
use crate::links::{puts, told};
use crate::{Health, WAIT, answer_health, healthy, link, next, start};

const DELS: &str = "wasmbus.rpc.default.*.linkdefs.del";
/// How much later than a host is told of it the table of the host shows that a link is gone.
const LATE: Duration = Duration::from_millis(200);
const NEVER: Duration = Duration::from_secs(600);

/// Waits no longer than has to be for the answers of processes.
fn brief(config: &mut HostConfig) {
    config.rpc_timeout = Duration::from_millis(500);
}

/// Writes the record of the source of links, as nobody does who tells their ends.
async fn record(lattice: &Lattice, links: Value) {
    let js = async_nats::jetstream::new(lattice.client.clone());
    let bucket = js.get_key_value("LATTICEDATA_default").await.unwrap();
    let record = json!({"url": "", "links": links}).to_string();
    bucket
        .put("COMPONENT_counter", record.into())
        .await
        .unwrap();
}

async fn empty(lattice: &Lattice) {
    record(lattice, json!([])).await;
}

/// A link from the provider.
fn from_it(rules: Value) -> Value {
    json!({
        "source_id": "kv", "target": "other", "name": "default", "wit_namespace": "wasi",
        "wit_package": "keyvalue", "interfaces": ["store"], "source_config": [],
        "target_config": [], "rules": rules,
    })
}

/// The same with rules that nobody would keep for it: the provider may no longer have it.
fn ruled() -> Value {
    from_it(json!({"rate": "1/s"}))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_that_another_host_takes_from_all_is_told_again() {
    let (lattice, _host, _events, _program, _health) = healthy(|_| {}).await;
    let mut puts = puts(&lattice).await;
    lattice.done("link.put", &link(&[])).await;
    let mut first = told(&mut puts).await;
    for key in ["source_secrets", "target_secrets"] {
        first[key] = Value::Null;
    }
    let del = "wasmbus.rpc.default.kv.linkdefs.del";
    lattice
        .client
        .publish(del, first.to_string().into())
        .await
        .unwrap();
    assert_eq!(told(&mut puts).await["source_id"], "counter");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_that_another_host_deletes_is_not_told_again() {
    let (lattice, _host, _events, _program, _health) = healthy(|_| {}).await;
    let mut puts = puts(&lattice).await;
    let del = "wasmbus.rpc.default.kv.linkdefs.del";
    for round in 0..3 {
        let mut put = link(&[]);
        put["name"] = json!(format!("round-{round}"));
        lattice.done("link.put", &put).await;
        let mut gone = told(&mut puts).await;
        assert_eq!(gone["name"], put["name"]);
        for key in ["source_secrets", "target_secrets"] {
            gone[key] = Value::Null;
        }
        let mut dels = lattice.client.subscribe(del).await.unwrap();
        // The order in which a host that has deleted a link may be heard.
        let gone = gone.to_string();
        lattice.client.publish(del, gone.into()).await.unwrap();
        assert_eq!(next(&mut dels).await.1["source_id"], "counter");
        tokio::time::sleep(LATE).await;
        empty(&lattice).await;
    }
    // What is told of another comes after all that.
    let mut other = link(&[]);
    other["name"] = json!("other");
    lattice.done("link.put", &other).await;
    assert_eq!(told(&mut puts).await["name"], "other");
    let nobody = format!("wasmbus.rpc.default.X{}.linkdefs.put", "A".repeat(55));
    let marker = json!({"source_id": "marker"}).to_string();
    lattice.client.publish(nobody, marker.into()).await.unwrap();
    assert_eq!(told(&mut puts).await["source_id"], "marker");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_that_whoever_deletes_it_tells_of_is_not_told_of_again() {
    let (lattice, _host, _events, _program, _health) = healthy(brief).await;
    let mut puts = puts(&lattice).await;
    lattice.done("link.put", &link(&[])).await;
    told(&mut puts).await;
    let del = "wasmbus.rpc.default.kv.linkdefs.del";
    let mut dels = lattice.client.subscribe(del).await.unwrap();
    let delete =
        json!({"source_id": "counter", "wit_namespace": "wasi", "wit_package": "keyvalue"});
    lattice.done("link.del", &delete).await;
    assert_eq!(next(&mut dels).await.1["name"], "default");
    // One of which nobody tells is told of by the host, after it has waited for that.
    let mut other = link(&[]);
    other["name"] = json!("other");
    lattice.done("link.put", &other).await;
    assert_eq!(told(&mut puts).await["name"], "other");
    empty(&lattice).await;
    assert_eq!(next(&mut dels).await.1["name"], "other");
}

/// A host with a process of ours that has said once that it is healthy, and how long the host waits for the
/// answers of others.
async fn with_ours(patience: Duration) -> (Lattice, Host, Program, Health) {
    let (lattice, host, mut events) = Lattice::running_with(|config| {
        config.rpc_timeout = patience;
        config.providers.health_interval = NEVER;
    })
    .await;
    let program = Program::new(&lattice, "kv", WAIT);
    let ours = json!({"healthy": true, "host_id": host.id().as_str()});
    let ours = answer_health(&lattice, ours).await;
    lattice.provide(&host, &start(&host, &program)).await;
    events.data("health_check_passed").await;
    (lattice, host, program, ours)
}

/// Waits until processes of the provider were asked so often.
async fn asked(lattice: &Lattice, times: u32) {
    let subject = "wasmbus.rpc.default.kv.health";
    let mut asked = lattice.client.subscribe(subject).await.unwrap();
    for _ in 0..times {
        next(&mut asked).await;
    }
}

/// Tells all processes that a link is gone, as another host does.
async fn tell_gone(lattice: &Lattice, link: &Value) {
    let mut gone = link.clone();
    for key in ["source_config", "target_config"] {
        gone[key] = json!({});
    }
    let del = "wasmbus.rpc.default.kv.linkdefs.del";
    let gone = gone.to_string().into();
    lattice.client.publish(del, gone).await.unwrap();
}

/// Who is told that a link is gone of which nobody else tells, by the host of a process of ours beside
/// which this answers.
async fn told_beside(answer: Value) -> String {
    let (lattice, _host, _program, _ours) = with_ours(Duration::from_millis(500)).await;
    let _other = answer_health(&lattice, answer).await;
    let mut puts = puts(&lattice).await;
    lattice.done("link.put", &link(&[])).await;
    told(&mut puts).await;
    let mut dels = lattice.client.subscribe(DELS).await.unwrap();
    empty(&lattice).await;
    let (told, removal) = next(&mut dels).await;
    assert_eq!(removal["source_id"], "counter");
    told.subject.as_str().split('.').nth(3).unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn processes_of_ours_are_all_told_that_a_link_is_gone() {
    // Somebody has to let go of what is kept for it.
    let other = json!({"healthy": true, "host_id": "another"});
    assert_eq!(told_beside(other).await, "kv");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_of_ours_beside_an_old_one_is_told_alone_that_a_link_is_gone() {
    let to = told_beside(json!({"healthy": true})).await;
    assert!(to.starts_with('X'), "{to}");
}

#[tokio::test(flavor = "multi_thread")]
async fn old_processes_of_one_id_are_not_told_by_one_host_that_a_link_is_gone() {
    let rarely = |config: &mut HostConfig| {
        brief(config);
        config.providers.health_interval = NEVER;
    };
    let (lattice, _host, _events, _program, _health) = healthy(rarely).await;
    let _other = answer_health(&lattice, json!({"healthy": true})).await;
    let mut puts = puts(&lattice).await;
    lattice.done("link.put", &link(&[])).await;
    told(&mut puts).await;
    let del = "wasmbus.rpc.default.kv.linkdefs.del";
    let mut dels = lattice.client.subscribe(del).await.unwrap();
    let asked = "wasmbus.rpc.default.kv.health";
    let mut asked = lattice.client.subscribe(asked).await.unwrap();
    empty(&lattice).await;
    // Whether others have the id. It is asked for its health when the test is over.
    next(&mut asked).await;
    let mut again = link(&[]);
    again["name"] = json!("again");
    lattice.done("link.put", &again).await;
    assert_eq!(told(&mut puts).await["name"], "again");
    lattice.client.publish(del, "{}".into()).await.unwrap();
    assert_eq!(next(&mut dels).await.1, json!({}), "it was taken from all");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_is_taken_away_before_another_of_the_same_ends_is_told() {
    let (lattice, _host, _events, _program, _health) = healthy(brief).await;
    let mut puts = puts(&lattice).await;
    lattice.done("link.put", &link(&[])).await;
    told(&mut puts).await;
    let all = "wasmbus.rpc.default.*.linkdefs.*";
    let mut all = lattice.client.subscribe(all).await.unwrap();
    let mut other = link(&[]);
    other["name"] = json!("other");
    record(&lattice, json!([other])).await;
    let mut told: Vec<(String, Value)> = Vec::new();
    while told.last().is_none_or(|(_, name)| name != "other") {
        let (message, body) = next(&mut all).await;
        told.push((message.subject.as_str().to_owned(), body["name"].clone()));
    }
    let del = "wasmbus.rpc.default.kv.linkdefs.del".to_owned();
    assert!(told.contains(&(del, json!("default"))), "{told:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_never_answers_is_told_that_a_link_is_gone() {
    let (lattice, host, _events) = Lattice::running_with(brief).await;
    lattice.done("link.put", &link(&[])).await;
    let program = Program::new(&lattice, "kv", WAIT);
    lattice.provide(&host, &start(&host, &program)).await;
    let data = program.host_data(0).await;
    assert_eq!(data["link_definitions"][0]["source_id"], "counter");
    let mut dels = lattice.client.subscribe(DELS).await.unwrap();
    empty(&lattice).await;
    let (message, removal) = next(&mut dels).await;
    let subject = message.subject.as_str();
    assert_eq!(subject, "wasmbus.rpc.default.kv.linkdefs.del");
    assert_eq!(removal["source_id"], "counter");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_beside_others_is_ended_for_a_link_once_it_shows_to_be_old() {
    let (lattice, host, mut events) = Lattice::running_with(|config| {
        brief(config);
        config.providers.health_interval = Duration::from_millis(200);
    })
    .await;
    lattice.done("link.put", &from_it(json!({}))).await;
    let other = json!({"healthy": true, "host_id": "another"});
    let _other = answer_health(&lattice, other).await;
    let program = Program::new(&lattice, "kv", WAIT);
    lattice.provide(&host, &start(&host, &program)).await;
    let data = program.host_data(0).await;
    assert_eq!(data["link_definitions"][0]["source_id"], "kv");
    let mut dels = lattice.client.subscribe(DELS).await.unwrap();
    lattice.done("link.put", &ruled()).await;
    let (message, _) = next(&mut dels).await;
    let to = message.subject.as_str().split('.').nth(3).unwrap();
    assert!(to.starts_with('X'), "{to}");
    assert_eq!(program.starts(), 1);
    let _old = answer_health(&lattice, json!({"healthy": true})).await;
    let exited = events.data("provider_exited").await;
    let status = exited["status"].as_str().unwrap();
    assert!(status.contains("no longer have one of"), "{status}");
}

#[tokio::test(flavor = "multi_thread")]
async fn that_a_link_is_gone_is_told_again_to_who_was_away_when_it_was_told() {
    let (lattice, host, mut events) = Lattice::running_with(|config| {
        brief(config);
        config.providers.health_interval = Duration::from_millis(100);
    })
    .await;
    let ours = |connects: u64| json!({"healthy": true, "host_id": host.id().as_str(), "connects": connects});
    let health = answer_health(&lattice, ours(1)).await;
    let program = Program::new(&lattice, "kv", WAIT);
    lattice.provide(&host, &start(&host, &program)).await;
    events.data("health_check_passed").await;
    let mut puts = puts(&lattice).await;
    lattice.done("link.put", &link(&[])).await;
    told(&mut puts).await;
    let mut dels = lattice.client.subscribe(DELS).await.unwrap();
    empty(&lattice).await;
    until("the link to be gone", async || {
        let links = lattice.control_raw("link.get", "").await;
        (links["response"] == json!([])).then_some(())
    })
    .await;
    // It answers some times before it is told.
    let asked = "wasmbus.rpc.default.kv.health";
    let mut asked = lattice.client.subscribe(asked).await.unwrap();
    for _ in 0..4 {
        next(&mut asked).await;
    }
    health.abort();
    assert_eq!(next(&mut dels).await.1["source_id"], "counter");
    let _health = answer_health(&lattice, ours(2)).await;
    assert_eq!(next(&mut dels).await.1["source_id"], "counter");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_process_is_not_ended_for_a_link_while_nats_is_away() {
    let patience = Duration::from_secs(1);
    let (mut lattice, _host, _events, program, _health) =
        healthy(|config| config.rpc_timeout = patience).await;
    let mut puts = puts(&lattice).await;
    lattice.done("link.put", &from_it(json!({}))).await;
    assert_eq!(told(&mut puts).await["source_id"], "kv");
    let mut dels = lattice.client.subscribe(DELS).await.unwrap();
    let asked = "wasmbus.rpc.default.kv.health";
    let mut asked = lattice.client.subscribe(asked).await.unwrap();
    lattice.done("link.put", &ruled()).await;
    // Whether others have the id. NATS is away when it would be told.
    next(&mut asked).await;
    lattice.nats.stop();
    tokio::time::sleep(2 * patience).await;
    lattice.nats.restart().await.unwrap();
    let (message, removal) = next(&mut dels).await;
    let subject = message.subject.as_str();
    assert_eq!(subject, "wasmbus.rpc.default.kv.linkdefs.del");
    assert_eq!(removal["source_id"], "kv");
    assert_eq!(program.starts(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_process_does_without_is_not_taken_for_what_others_tell_of() {
    let (lattice, _host, _program, _ours) = with_ours(Duration::from_millis(500)).await;
    let mut puts = puts(&lattice).await;
    lattice.done("link.put", &from_it(json!({}))).await;
    told(&mut puts).await;
    let mut dels = lattice.client.subscribe(DELS).await.unwrap();
    lattice.done("link.put", &ruled()).await;
    assert_eq!(next(&mut dels).await.1["source_id"], "kv");
    let mut other = link(&[]);
    other["name"] = json!("other");
    for link in [&link(&[]), &other] {
        lattice.done("link.put", link).await;
        told(&mut puts).await;
    }
    record(&lattice, json!([other])).await;
    until("the link to be gone", async || {
        let links = lattice.control_raw("link.get", "").await;
        let links = links["response"].as_array().unwrap().len();
        (links == 2).then_some(())
    })
    .await;
    tell_gone(&lattice, &link(&[])).await;
    assert_eq!(next(&mut dels).await.1["name"], "default");
    // Of this one nobody else tells.
    empty(&lattice).await;
    assert_eq!(next(&mut dels).await.1["name"], "other");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_that_is_put_again_while_others_are_asked_is_not_taken_away() {
    let (lattice, _host, _program, _ours) = with_ours(Duration::from_secs(3)).await;
    let mut puts = puts(&lattice).await;
    lattice.done("link.put", &link(&[])).await;
    told(&mut puts).await;
    let mut dels = lattice.client.subscribe(DELS).await.unwrap();
    empty(&lattice).await;
    // Whether there are others. It is not asked otherwise.
    asked(&lattice, 1).await;
    record(&lattice, json!([link(&[])])).await;
    assert_eq!(told(&mut puts).await["name"], "default");
    let del = "wasmbus.rpc.default.kv.linkdefs.del";
    lattice.client.publish(del, "{}".into()).await.unwrap();
    assert_eq!(next(&mut dels).await.1, json!({}), "it was taken away");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_process_is_told_the_links_again_that_it_forgets_with_another() {
    let often = |config: &mut HostConfig| {
        brief(config);
        config.providers.health_interval = Duration::from_millis(100);
    };
    let (lattice, _host, _events, _program, _health) = healthy(often).await;
    // Until it is not told anything again for being new.
    asked(&lattice, 5).await;
    let mut puts = puts(&lattice).await;
    let mut other = link(&[]);
    other["name"] = json!("other");
    for link in [&link(&[]), &other] {
        lattice.done("link.put", link).await;
        assert_eq!(told(&mut puts).await["name"], link["name"]);
    }
    let delete =
        json!({"source_id": "counter", "wit_namespace": "wasi", "wit_package": "keyvalue"});
    lattice.done("link.del", &delete).await;
    assert_eq!(told(&mut puts).await["name"], "other");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_that_was_told_again_is_not_lost_when_nats_goes_away() {
    let often = |config: &mut HostConfig| {
        brief(config);
        config.providers.health_interval = Duration::from_millis(300);
    };
    let (mut lattice, _host, _events, _program, _health) = healthy(often).await;
    asked(&lattice, 5).await;
    let mut puts = puts(&lattice).await;
    lattice.done("link.put", &link(&[])).await;
    told(&mut puts).await;
    // Until it must have heard of it.
    asked(&lattice, 5).await;
    tell_gone(&lattice, &link(&[])).await;
    told(&mut puts).await;
    lattice.nats.stop();
    lattice.nats.restart().await.unwrap();
    assert_eq!(told(&mut puts).await["name"], "default");
}
