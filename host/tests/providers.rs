//! Providers: what the process is told, how it is watched, and how it ends. The process itself does
//! nothing; this test plays its part on the subjects of section 5.3 of the protocol page.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(clippy::disallowed_methods, reason = "a test speaks the wire itself")]

mod common;

use std::time::Duration;

use async_nats::{Message, Subscriber};
use common::provider::Program;
use common::{Events, Lattice, golden, until};
use futures::StreamExt as _;
use lattice_host::{Host, HostConfig, StopReason, StopRequest};
use serde_json::{Value, json};
use tokio::time::timeout;

const WAIT: &str = "exec sleep 1000";

/// Answers to health requests, as long as it runs.
type Health = tokio::task::JoinHandle<()>;

fn start(host: &Host, program: &Program) -> Value {
    json!({
        "provider_id": "kv", "provider_ref": program.reference(), "host_id": host.id().as_str(),
        "annotations": {"who": "golden"},
    })
}

fn link(config: &[&str]) -> Value {
    json!({
        "source_id": "counter", "target": "kv", "name": "default", "wit_namespace": "wasi",
        "wit_package": "keyvalue", "interfaces": ["store"], "source_config": [],
        "target_config": config,
    })
}

async fn next(messages: &mut Subscriber) -> (Message, Value) {
    let message = timeout(common::SOON, messages.next())
        .await
        .expect("a message")
        .unwrap();
    let value = serde_json::from_slice(&message.payload).unwrap_or(Value::Null);
    (message, value)
}

/// Answers health requests from now on.
async fn answer_health(lattice: &Lattice, answer: Value) -> Health {
    answer_on(lattice, "wasmbus.rpc.default.kv.health", answer).await
}

async fn answer_on(lattice: &Lattice, subject: &str, answer: Value) -> Health {
    let subject = subject.to_owned();
    let mut requests = lattice.client.subscribe(subject).await.unwrap();
    lattice_nats_box::taken_in(&lattice.client).await.unwrap();
    let client = lattice.client.clone();
    tokio::spawn(async move {
        while let Some(request) = requests.next().await {
            let payload = answer.to_string().into();
            client
                .publish(request.reply.unwrap(), payload)
                .await
                .unwrap();
        }
    })
}

/// What the host tells of its providers.
async fn listed(lattice: &Lattice, host: &Host) -> Value {
    lattice.inventory(host).await["providers"].clone()
}

/// A host that was changed in some way, and a provider that waits and says that it is healthy.
async fn healthy(change: impl FnOnce(&mut HostConfig)) -> (Lattice, Host, Events, Program, Health) {
    let (lattice, host, mut events) = Lattice::running_with(change).await;
    let program = Program::new(&lattice, "kv", WAIT);
    let health = answer_health(&lattice, json!({"healthy": true})).await;
    lattice.provide(&host, &start(&host, &program)).await;
    events.data("health_check_passed").await;
    (lattice, host, events, program, health)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_is_started_told_everything_and_stopped() {
    let (lattice, host, mut events) = Lattice::running().await;
    let program = Program::new(&lattice, "kv", WAIT);
    let health = answer_health(&lattice, json!({"healthy": true})).await;
    let mut updates = lattice
        .client
        .subscribe("wasmbus.rpc.default.kv.config.update")
        .await
        .unwrap();
    let mut shutdown = lattice.shutdown_of("kv").await;
    lattice
        .done("config.put.redis", &json!({"url": "redis://a"}))
        .await;
    lattice.done("link.put", &link(&["redis"])).await;
    events.data("linkdef_set").await;

    let mut command = start(&host, &program);
    command["config"] = json!(["redis"]);
    let tail = format!("provider.start.{}", host.id());
    let reply = lattice.done(&tail, &command).await;
    assert_eq!(reply, golden::reply("provider.start http"));
    let data = events.data("provider_started").await;
    let mut recorded = golden::event("provider.start http", "provider_started");
    // A bare program has no claims.
    recorded.as_object_mut().unwrap().remove("claims");
    golden::same_shape(&data, &recorded);
    assert_eq!(data["image_ref"], program.path.display().to_string());
    assert_eq!(
        (&data["instance_id"], &data["public_key"]),
        (&json!("kv"), &json!("kv"))
    );
    assert_eq!(next(&mut updates).await.1, json!({"url": "redis://a"}));
    let passed = events.data("health_check_passed").await;
    golden::same_shape(
        &passed,
        &golden::event("provider.start http", "health_check_passed"),
    );

    let host_data = program.host_data(0).await;
    golden::same_shape(&host_data, &golden::host_data("http-server-provider"));
    assert_eq!(host_data["host_id"], host.id().as_str());
    assert_eq!(host_data["provider_key"], "kv");
    assert_eq!(host_data["lattice_rpc_url"], lattice.nats.url);
    assert_eq!(host_data["config"], json!({"url": "redis://a"}));
    assert_eq!(
        host_data["link_definitions"][0]["target_config"],
        json!({"url": "redis://a"})
    );
    assert!(
        host_data["provider_xkey_private_key"]
            .as_str()
            .unwrap()
            .starts_with("SX")
    );

    let again = lattice.control(&tail, &command).await;
    assert_eq!(
        again["message"],
        golden::reply("provider.start duplicate")["message"]
    );
    let running = listed(&lattice, &host).await;
    let mut recorded = golden::reply("host.get running")["response"]["providers"][0].clone();
    recorded.as_object_mut().unwrap().remove("name");
    golden::same_shape(&running[0], &recorded);

    lattice
        .done("config.put.redis", &json!({"url": "redis://b"}))
        .await;
    assert_eq!(next(&mut updates).await.1, json!({"url": "redis://b"}));

    let client = lattice.client.clone();
    let asked = tokio::spawn(async move {
        let (request, body) = next(&mut shutdown).await;
        client
            .publish(request.reply.unwrap(), "shutting down".into())
            .await
            .unwrap();
        body
    });
    let stop = json!({"provider_id": "kv", "host_id": host.id().as_str()});
    let reply = lattice
        .done(&format!("provider.stop.{}", host.id()), &stop)
        .await;
    assert_eq!(reply, golden::reply("provider.stop redis"));
    assert_eq!(asked.await.unwrap(), json!({"host_id": host.id().as_str()}));
    let stopped = events.data("provider_stopped").await;
    golden::same_shape(
        &stopped,
        &golden::event("provider.stop redis", "provider_stopped"),
    );
    assert_eq!(stopped["annotations"], json!({"who": "golden"}));
    assert_eq!(listed(&lattice, &host).await, json!([]));
    health.abort();
}

/// A provider answers the request to end when its calls have ended, which may be long after any
/// other request would have been given up.
#[tokio::test(flavor = "multi_thread")]
async fn a_stopping_host_gives_a_provider_the_time_of_its_calls() {
    let change = |config: &mut HostConfig| config.rpc_timeout = Duration::from_millis(200);
    let (lattice, host, mut events, _program, _health) = healthy(change).await;
    let mut shutdown = lattice.shutdown_of("kv").await;
    let drain = tokio::spawn(host.drain(StopRequest::now(StopReason::Program)));
    let (request, _) = next(&mut shutdown).await;
    let early = timeout(Duration::from_secs(1), events.data("host_stopped")).await;
    assert!(early.is_err() && !drain.is_finished());
    let reply = request.reply.unwrap();
    let answer = "shutting down".into();
    lattice.client.publish(reply, answer).await.unwrap();
    // The process of this test does not end by itself.
    timeout(common::SOON, drain).await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn links_reach_a_running_provider_however_they_change() {
    let (lattice, _host, _events, _program, _health) = healthy(|_| {}).await;
    lattice
        .done("config.put.redis", &json!({"url": "redis://a"}))
        .await;
    let mut puts = lattice
        .client
        .subscribe("wasmbus.rpc.default.*.linkdefs.put")
        .await
        .unwrap();
    let mut dels = lattice
        .client
        .subscribe("wasmbus.rpc.default.kv.linkdefs.del")
        .await
        .unwrap();

    // Only the process that owns the key is meant.
    let told = async |puts: &mut Subscriber| loop {
        let (message, body) = next(puts).await;
        let key = message
            .subject
            .as_str()
            .split('.')
            .nth(3)
            .unwrap()
            .to_owned();
        if key.len() == 56 && key.starts_with('X') {
            return body;
        }
    };
    lattice.done("link.put", &link(&["redis"])).await;
    let first = told(&mut puts).await;
    let step = "link.put counter to redis";
    let recorded = golden::recorded(step, |subject| subject.starts_with("wasmbus.rpc.default.X"));
    golden::same_shape(&first, &recorded[0]);
    assert_eq!(first["target_config"], json!({"url": "redis://a"}));

    // A changed config is a removal and a new link, since providers ignore a link they have.
    lattice
        .done("config.put.redis", &json!({"url": "redis://b"}))
        .await;
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
async fn links_are_told_again_when_a_provider_is_first_heard_of() {
    let (lattice, host, mut events) = Lattice::running().await;
    let program = Program::new(&lattice, "kv", WAIT);
    lattice.provide(&host, &start(&host, &program)).await;
    events.data("provider_started").await;
    program.host_data(0).await;
    // Nobody listens yet: this one is lost.
    lattice.done("link.put", &link(&[])).await;
    let mut puts = lattice
        .client
        .subscribe("wasmbus.rpc.default.*.linkdefs.put")
        .await
        .unwrap();
    let _health = answer_health(&lattice, json!({"healthy": true})).await;
    let (message, body) = next(&mut puts).await;
    assert!(
        message.subject.as_str().contains(".default.X"),
        "{}",
        message.subject
    );
    assert_eq!(body["source_id"], "counter");
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
    lattice.done("link.del", &delete).await;
    lattice.done("link.put", &link(&[])).await;
    until("the state to be forgotten with the link", async || {
        let links = lattice.control_raw("link.get", "").await;
        links["response"][0].get("status").is_none().then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_ends_is_started_again_with_growing_pauses() {
    let (lattice, host, mut events) = Lattice::running_with(|config| {
        config.providers.first_restart = Duration::from_millis(50);
    })
    .await;
    let program = Program::new(&lattice, "kv", "exit 3");
    lattice.provide(&host, &start(&host, &program)).await;
    let mut pauses = Vec::new();
    for expected in 1..=6 {
        let data = events.data("provider_exited").await;
        assert_eq!(data["restarts"], expected);
        assert!(data["status"].as_str().unwrap().contains("exit status: 3"));
        pauses.push(data["restart_in_ms"].as_u64().unwrap());
        events.data("health_check_failed").await;
    }
    assert_eq!(pauses, [50, 100, 200, 400, 800, 1600]);
    let problem = listed(&lattice, &host).await[0]["problem"].to_string();
    assert!(
        problem.contains("crash loop") && problem.contains("exit status: 3"),
        "{problem}"
    );
    let (first, second) = (program.host_data(0).await, program.host_data(1).await);
    assert_ne!(first["instance_id"], second["instance_id"]);
    assert_eq!(
        first["provider_xkey_private_key"],
        second["provider_xkey_private_key"]
    );
    // It can be stopped in the middle of a pause.
    lattice
        .done(
            &format!("provider.stop.{}", host.id()),
            &json!({"provider_id": "kv"}),
        )
        .await;
    events.data("provider_stopped").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_falls_silent_counts_as_failed() {
    let (lattice, host, mut events, _program, health) = healthy(|config| {
        config.providers.health_interval = Duration::from_millis(200);
        config.rpc_timeout = Duration::from_millis(200);
    })
    .await;
    events.data("health_check_status").await;
    health.abort();
    let failed = events.data("health_check_failed").await;
    assert!(
        failed["message"]
            .as_str()
            .unwrap()
            .contains("no answer to 3 health requests")
    );
    assert!(listed(&lattice, &host).await[0]["problem"].is_string());
    let _health = answer_health(&lattice, json!({"healthy": true})).await;
    events.data("health_check_passed").await;
    until("the problem to be gone", async || {
        listed(&lattice, &host).await[0]
            .get("problem")
            .is_none()
            .then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_cannot_start_is_told() {
    let (lattice, host, mut events) = Lattice::running().await;
    for (reference, error, code, hint) in [
        (
            "file:///nowhere/provider",
            "No such file",
            "not-found",
            "check the path",
        ),
        (
            "oci://ghcr.io/a/b:1",
            "registry",
            "image-unavailable",
            "download the image",
        ),
        (
            "wasmcloud+builtin://http-server",
            "http-server",
            "image-unavailable",
            "name the program",
        ),
    ] {
        let command = json!({"provider_id": "kv", "provider_ref": reference});
        lattice.provide(&host, &command).await;
        let data = events.data("provider_start_failed").await;
        assert_eq!(
            (&data["provider_ref"], &data["provider_id"]),
            (&json!(reference), &json!("kv"))
        );
        let says = |key: &str, part| data[key].as_str().unwrap().contains(part);
        assert!(says("error", error) && says("hint", hint), "{data}");
        assert_eq!(data["code"], code);
    }
    let program = Program::new(&lattice, "kv", WAIT);
    let mut command = start(&host, &program);
    command["config"] = json!(["nothing"]);
    lattice.provide(&host, &command).await;
    let data = events.data("provider_start_failed").await;
    assert_eq!(data["error"], "Config nothing does not exist");
    assert_eq!(data["code"], "missing-config");
    assert!(data["hint"].as_str().unwrap().contains("wash config put"));
    assert_eq!(listed(&lattice, &host).await, json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn processes_end_with_their_host() {
    let (lattice, host, mut events) = Lattice::running().await;
    let pid = lattice.path("pid");
    let then = format!("echo $$ > {}\nexec sleep 1000", pid.display());
    let program = Program::new(&lattice, "kv", &then);
    lattice.provide(&host, &start(&host, &program)).await;
    events.data("provider_started").await;
    let pid: i32 = until("the process id", async || {
        std::fs::read_to_string(&pid).ok()?.trim().parse().ok()
    })
    .await;
    drop(host);
    until("the process to be gone", async || {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"));
        // A zombie waits for nothing but to be looked at.
        stat.map_or(Some(()), |stat| stat.contains(") Z ").then_some(()))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_health_of_another_process_with_the_same_id_counts_for_nothing() {
    let (lattice, host, mut events) = Lattice::running().await;
    let program = Program::new(&lattice, "kv", WAIT);
    let other = json!({"healthy": true, "host_id": "another"});
    let _other = answer_health(&lattice, other).await;
    lattice.provide(&host, &start(&host, &program)).await;
    events.data("provider_started").await;
    let host_data = program.host_data(0).await;
    let key = {
        let seed = host_data["provider_xkey_private_key"].as_str().unwrap();
        lattice_claims::CurveKey::from_seed(seed)
            .unwrap()
            .public_key()
    };
    assert!(events.drain().await.is_empty());
    // A link that is put before the process listens is told again when it does.
    lattice.done("link.put", &link(&[])).await;
    let put = format!("wasmbus.rpc.default.{key}.linkdefs.put");
    let mut puts = lattice.client.subscribe(put).await.unwrap();
    let own = format!("wasmbus.rpc.default.{key}.health");
    let _own = answer_on(&lattice, &own, json!({"healthy": true})).await;
    events.data("health_check_passed").await;
    assert_eq!(next(&mut puts).await.1["source_id"], "counter");
}
