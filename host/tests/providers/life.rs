//! Starting and stopping providers.

use std::path::PathBuf;
use std::time::Duration;

use async_nats::{Message, Subscriber};
use lattice_host::config::NatsConfig;
use lattice_host::{Host, HostConfig, StopReason, StopRequest};
use lattice_nats_box::Middleman;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::common::provider::Program;
use crate::common::{Events, Lattice, SOON, golden, until, wat};
use crate::links::{puts, told};
use crate::{WAIT, answer_health, healthy, link, listed, next, start};

/// Checks what is told of a started provider.
fn is_told_as_recorded(data: &Value, program: &Program) {
    let mut recorded = golden::event("provider.start http", "provider_started");
    // A bare program has no claims.
    recorded.as_object_mut().unwrap().remove("claims");
    golden::same_shape(data, &recorded);
    assert_eq!(data["image_ref"], program.path.display().to_string());
    assert_eq!(
        (&data["instance_id"], &data["public_key"]),
        (&json!("kv"), &json!("kv"))
    );
}

/// Checks the line on the standard input of a process whose config and link say `redis`.
fn knows_everything(host_data: &Value, lattice: &Lattice, host: &Host) {
    let mut recorded = golden::host_data("http-server-provider");
    // Ours, beside what 1.9 says.
    let added = "provider_xkey_public_key";
    assert!(host_data[added].as_str().unwrap().starts_with('X'));
    recorded[added] = "X".into();
    let identity = &host_data["lattice_identity"];
    assert!(identity["tokens"]["provider"].is_string(), "{identity}");
    recorded["lattice_identity"] = identity.clone();
    recorded["lattice_takes_failures"] = true.into();
    recorded["lattice_own_config"] = true.into();
    golden::same_shape(host_data, &recorded);
    assert_eq!(host_data["host_id"], host.id().as_str());
    assert_eq!(host_data["provider_key"], "kv");
    assert_eq!(host_data["lattice_rpc_url"], lattice.nats.url);
    assert_eq!(host_data["config"], json!({"url": "redis://a"}));
    assert_eq!(
        host_data["link_definitions"][0]["target_config"],
        json!({"url": "redis://a"})
    );
    let key = host_data["provider_xkey_private_key"].as_str().unwrap();
    assert!(key.starts_with("SX"));
}

/// Stops the provider, whose process is asked to end and agrees.
async fn stop(lattice: &Lattice, host: &Host, events: &mut Events) {
    let mut shutdown = lattice.shutdown_of("kv").await;
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
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_is_started_told_everything_and_stopped() {
    let (lattice, host, mut events) = Lattice::running().await;
    let program = Program::new(&lattice, "kv", WAIT);
    let health = answer_health(&lattice, json!({"healthy": true})).await;
    let updates = "wasmbus.rpc.default.kv.config.update";
    let mut updates = lattice.client.subscribe(updates).await.unwrap();
    let config = async |url: &str| {
        let config = json!({ "url": url });
        lattice.done("config.put.redis", &config).await;
        config
    };
    let first = config("redis://a").await;
    lattice.done("link.put", &link(&["redis"])).await;
    events.data("linkdef_set").await;

    let mut command = start(&host, &program);
    command["config"] = json!(["redis"]);
    let tail = format!("provider.start.{}", host.id());
    let reply = lattice.done(&tail, &command).await;
    assert_eq!(reply, golden::reply("provider.start http"));
    is_told_as_recorded(&events.data("provider_started").await, &program);
    assert_eq!(next(&mut updates).await.1, first);
    let passed = events.data("health_check_passed").await;
    golden::same_shape(
        &passed,
        &golden::event("provider.start http", "health_check_passed"),
    );
    knows_everything(&program.host_data(0).await, &lattice, &host);

    let again = lattice.control(&tail, &command).await;
    assert_eq!(
        again["message"],
        golden::reply("provider.start duplicate")["message"]
    );
    let running = listed(&lattice, &host).await;
    let mut recorded = golden::reply("host.get running")["response"]["providers"][0].clone();
    recorded.as_object_mut().unwrap().remove("name");
    recorded["legacy"] = true.into();
    golden::same_shape(&running[0], &recorded);

    let second = config("redis://b").await;
    assert_eq!(next(&mut updates).await.1, second);
    stop(&lattice, &host, &mut events).await;
    assert_eq!(listed(&lattice, &host).await, json!([]));
    health.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_is_interrupted_where_nats_is_away_when_its_host_stops() {
    let (mut lattice, host, mut events) = Lattice::running().await;
    let (program, heard) = interruptible(&lattice);
    let _health = answer_health(&lattice, json!({"healthy": true})).await;
    lattice.provide(&host, &start(&host, &program)).await;
    events.data("health_check_passed").await;
    program.host_data(0).await;
    lattice.nats.stop();
    drain(host).await;
    assert!(heard.exists(), "killed without a word");
}

/// As where its connection broke a moment ago, and it has not subscribed anew.
#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_nats_does_not_know_is_interrupted_when_its_host_stops() {
    let (lattice, host, mut events) = Lattice::running().await;
    let (program, heard) = interruptible(&lattice);
    let _health = answer_health(&lattice, json!({"healthy": true})).await;
    lattice.provide(&host, &start(&host, &program)).await;
    events.data("health_check_passed").await;
    program.host_data(0).await;
    drain(host).await;
    assert!(heard.exists(), "killed without a word");
}

/// A process that ends when it is interrupted, and the file that it makes then.
fn interruptible(lattice: &Lattice) -> (Program, PathBuf) {
    let heard = lattice.path("heard");
    // Whoever runs the tests may have the signal ignored, and a shell cannot undo that.
    let then = format!(
        "exec env --default-signal=INT \
         sh -c 'trap \": > {}; exit\" INT; while :; do sleep 0.05; done'",
        heard.display()
    );
    (Program::new(lattice, "kv", &then), heard)
}

/// Stops a host that gives its providers some seconds.
async fn drain(host: Host) {
    let wish = StopRequest {
        reason: StopReason::Program,
        timeout: Some(Duration::from_secs(6)),
    };
    timeout(SOON, host.drain(wish))
        .await
        .expect("the drain to end");
}

/// As after a machine has slept, or where a cable was pulled.
#[tokio::test(flavor = "multi_thread")]
async fn a_provider_is_interrupted_where_the_connection_is_dead_and_does_not_show_it() {
    let lattice = Lattice::start().await;
    let middleman = Middleman::before(lattice.nats.port).await.unwrap();
    let nats = NatsConfig {
        port: middleman.port,
        ..NatsConfig::default()
    };
    let mut events = lattice.events().await;
    let host = Host::start(lattice.config().nats(nats)).await.unwrap();
    let (program, heard) = interruptible(&lattice);
    let answer = json!({"healthy": true, "host_id": host.id().as_str()});
    let _health = answer_health(&lattice, answer).await;
    lattice.provide(&host, &start(&host, &program)).await;
    events.data("health_check_passed").await;
    program.host_data(0).await;
    middleman.delay(Duration::from_secs(600));
    drain(host).await;
    assert!(heard.exists(), "killed without a word");
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
    timeout(SOON, drain).await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopping_host_has_no_more_time_for_a_provider_that_is_being_stopped_already() {
    let change = |config: &mut HostConfig| config.providers.shutdown_delay = 60 * SOON;
    let (lattice, host, mut events, _program, _health) = healthy(change).await;
    let mut shutdown = lattice.shutdown_of("kv").await;
    let stop = json!({"provider_id": "kv", "host_id": host.id().as_str()});
    let subject = format!("wasmbus.ctl.v1.default.provider.stop.{}", host.id());
    let client = lattice.client.clone();
    // There is no reply until the process has ended.
    let stopping =
        tokio::spawn(async move { client.request(subject, stop.to_string().into()).await });
    // It is asked, and nobody answers.
    next(&mut shutdown).await;
    let wish = StopRequest {
        reason: StopReason::Program,
        timeout: Some(Duration::from_secs(1)),
    };
    timeout(SOON, host.drain(wish))
        .await
        .expect("the drain to end");
    // Whoever stopped it is told all the same.
    events.data("provider_stopped").await;
    stopping.abort();
}

/// Old processes that share an id share the subject on which they are asked to end, and those made in
/// Go end whoever's host has asked.
#[tokio::test(flavor = "multi_thread")]
async fn a_stopping_host_ends_its_own_process_and_none_of_other_hosts() {
    let (lattice, host, _events, _program, _health) = healthy(|_| {}).await;
    let _other = answer_health(&lattice, json!({"healthy": true})).await;
    let mut shutdown = lattice.shutdown_of("kv").await;
    let drain = host.drain(StopRequest::now(StopReason::Program));
    timeout(SOON, drain).await.unwrap();
    let mark = lattice
        .client
        .publish("wasmbus.rpc.default.kv.default.shutdown", "\"mark\"".into());
    mark.await.unwrap();
    assert_eq!(next(&mut shutdown).await.1, "mark", "nobody was asked");
}

/// The next message to a process on a subject that ends in one of these ways.
async fn next_of(messages: &mut Subscriber, ends: &[&str]) -> Message {
    loop {
        let (message, _) = next(messages).await;
        let subject = message.subject.as_str();
        if ends.iter().any(|end| subject.ends_with(end)) {
            return message;
        }
    }
}

/// Whether a provider that is to stop is asked to end before it is told its links again, for which a
/// process of the old generation has to forget them first.
async fn is_asked_to_end_first() -> bool {
    let change = |config: &mut HostConfig| config.rpc_timeout = SOON;
    let (lattice, host, _events) = Lattice::running_with(change).await;
    let mut puts = puts(&lattice).await;
    let program = Program::new(&lattice, "kv", WAIT);
    lattice.provide(&host, &start(&host, &program)).await;
    program.host_data(0).await;
    // Nobody listens yet: it is told again when the process is heard of.
    lattice.done("link.put", &link(&[])).await;
    told(&mut puts).await;
    let all = lattice.client.subscribe("wasmbus.rpc.default.kv.>");
    let mut messages = all.await.unwrap();
    lattice_nats_box::taken_in(&lattice.client).await.unwrap();
    let request = next_of(&mut messages, &[".health"]).await;
    let healthy = json!({"healthy": true}).to_string();
    let answer = lattice
        .client
        .publish(request.reply.unwrap(), healthy.into());
    answer.await.unwrap();
    // It is asked whether others have the id, which is waited for.
    next_of(&mut messages, &[".health"]).await;
    let stop = json!({"provider_id": "kv", "host_id": host.id().as_str()});
    let tail = format!("provider.stop.{}", host.id());
    let first = next_of(&mut messages, &[".shutdown", ".linkdefs.del"]);
    let (_, first) = tokio::join!(lattice.done(&tail, &stop), first);
    first.subject.ends_with(".shutdown")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_is_asked_to_end_at_once_though_its_links_are_told_again() {
    // On a busy machine the wait may be over before the command comes.
    for _ in 0..3 {
        if is_asked_to_end_first().await {
            return;
        }
    }
    panic!("it was told of its links before");
}

/// Stops a provider, whose start is told to have failed before its end is.
async fn stop_while_it_starts(lattice: &Lattice, host: &Host, events: &mut Events) {
    let stop = json!({"provider_id": "kv", "host_id": host.id().as_str()});
    let tail = format!("provider.stop.{}", host.id());
    lattice.done(&tail, &stop).await;
    let (name, event) = events.next().await;
    assert_eq!(name, "provider_start_failed", "{event}");
    let data = &event["data"];
    assert_eq!(
        (&data["provider_id"], &data["code"]),
        (&json!("kv"), &json!("conflict"))
    );
    assert!(data["error"].as_str().unwrap().contains("was stopped"));
    assert_eq!(events.next().await.0, "provider_stopped");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_starts_a_provider_that_another_stops_hears_that_it_does_not_start() {
    let change = |config: &mut HostConfig| {
        config.rpc_timeout = SOON;
        config.providers.silence = SOON;
    };
    let (lattice, host, mut events) = Lattice::running_with(change).await;
    let program = Program::new(&lattice, "kv", WAIT);
    // Before there is a process: it is asked whether another has the id.
    let asked = "wasmbus.rpc.default.kv.health";
    let mut asked = lattice.client.subscribe(asked).await.unwrap();
    lattice_nats_box::taken_in(&lattice.client).await.unwrap();
    lattice.provide(&host, &start(&host, &program)).await;
    next(&mut asked).await;
    stop_while_it_starts(&lattice, &host, &mut events).await;
    assert_eq!(program.starts(), 0);
    // And when there is one, of which nothing was heard.
    asked.unsubscribe().await.unwrap();
    lattice_nats_box::taken_in(&lattice.client).await.unwrap();
    lattice.provide(&host, &start(&host, &program)).await;
    program.host_data(0).await;
    stop_while_it_starts(&lattice, &host, &mut events).await;
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
            "not-found",
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
async fn a_heartbeat_lists_what_runs_as_recorded() {
    let often = |config: &mut HostConfig| config.heartbeat_interval = Duration::from_millis(300);
    let (lattice, host, mut events, _program, _health) = healthy(often).await;
    let image = lattice.component("addc.wasm", &wat::adder(0));
    let command = json!({"component_ref": image, "component_id": "addc", "count": 5});
    lattice.scale(&host, &command).await;
    let both = |beat: &Value| beat["components"][0].is_object() && beat["providers"][0].is_object();
    let beat = events.find("host_heartbeat", both).await;
    let mut recorded = golden::event("heartbeat", "host_heartbeat");
    // A bare program has no claims, which its name comes from.
    let provider = recorded["providers"][0].as_object_mut().unwrap();
    provider.remove("name");
    // An addition, which 1.9 ignores.
    provider.insert("legacy".to_owned(), true.into());
    golden::same_shape(&beat, &recorded);
    assert_eq!(beat["components"][0]["max_instances"], 5);
    assert_eq!(beat["providers"][0]["id"], "kv");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_ends_at_once_has_not_started() {
    let (lattice, host, mut events) = Lattice::running().await;
    let program = Program::new(&lattice, "kv", "exit 3");
    lattice.provide(&host, &start(&host, &program)).await;
    let data = events.data("provider_start_failed").await;
    let error = data["error"].as_str().unwrap();
    assert!(error.contains("exit status: 3"), "{data}");
    assert_eq!(data["code"], "provider-failed");
    assert!(data["hint"].is_string(), "{data}");
}

/// Hosts of 1.9 say of each process that it has started, whatever it says.
#[tokio::test(flavor = "multi_thread")]
async fn what_lives_and_says_nothing_has_started_and_is_not_well() {
    let (lattice, host, mut events) = Lattice::running_with(|config| {
        config.providers.settling = Duration::from_secs(1);
        config.providers.silence = Duration::from_millis(100);
        config.providers.health_misses = 1;
    })
    .await;
    let program = Program::new(&lattice, "kv", WAIT);
    lattice.provide(&host, &start(&host, &program)).await;
    events.data("provider_started").await;
    let data = events.data("health_check_failed").await;
    assert_eq!(data["provider_id"], "kv");
    let _health = answer_health(&lattice, json!({"healthy": true})).await;
    events.data("health_check_passed").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn processes_end_with_their_host() {
    let (lattice, host, _events) = Lattice::running().await;
    let pid = lattice.path("pid");
    let then = format!("echo $$ > {}\nexec sleep 1000", pid.display());
    let program = Program::new(&lattice, "kv", &then);
    lattice.provide(&host, &start(&host, &program)).await;
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
