//! Processes that do not take the NATS credentials that they are given, as those of 1.x.

use std::sync::Arc;
use std::time::Duration;

use lattice_claims::{KeyKind, SigningKey};
use lattice_host::Host;
use lattice_host::config::{NatsConfig, ProviderSigner};
use lattice_nats_box::{NatsBox, NatsBoxOptions};
use serde_json::{Value, json};

use crate::common::provider::Program;
use crate::common::{Events, Lattice, until};
use crate::links::{puts, told};
use crate::{answer_health, healthy, link, listed, next, start};

fn signer(patience: Duration) -> Arc<ProviderSigner> {
    Arc::new(ProviderSigner {
        key: Arc::new(SigningKey::generate(KeyKind::Account)),
        account: None,
        file: None,
        life: Duration::from_secs(3600),
        patience,
        longest_line: ProviderSigner::LONGEST_LINE,
    })
}

/// The lattice is told that the provider fails, and why.
async fn fails(events: &mut Events) {
    let failed = events.data("health_check_failed").await;
    let why = failed["message"].as_str().unwrap();
    assert!(
        why.contains("has not taken its new NATS credentials"),
        "{why}"
    );
    assert!(why.contains("lattice/legacy-credentials=true"), "{why}");
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_that_reach_the_whole_lattice_are_not_given_in_a_strict_one() {
    let annotated = |host: &lattice_host::Host, program: &Program| {
        let mut command = crate::start(host, program);
        command["annotations"] = json!({"lattice/legacy-credentials": "true"});
        command
    };
    let strict = |config: &mut lattice_host::HostConfig| {
        config.allow_legacy_peers = false;
        config.provider_signer = Some(signer(ProviderSigner::PATIENCE));
    };
    let (lattice, host, mut events) = Lattice::running_with(strict).await;
    let program = Program::new(&lattice, "kv", crate::WAIT);
    lattice.provide(&host, &annotated(&host, &program)).await;
    let failed = events.data("provider_start_failed").await;
    let why = failed["error"].as_str().unwrap();
    assert!(why.contains("lattice/legacy-credentials=true"), "{why}");
    assert!(why.contains("the lattice is strict"), "{why}");
    // Without it the same provider is started, with rights of its own.
    lattice.provide(&host, &crate::start(&host, &program)).await;
    let data = program.host_data(0).await;
    assert_eq!(data["lattice_bus"]["scoped"], true);

    let signing = |config: &mut lattice_host::HostConfig| {
        config.provider_signer = Some(signer(ProviderSigner::PATIENCE));
    };
    let (lattice, host, _events) = Lattice::running_with(signing).await;
    let program = Program::new(&lattice, "kv", crate::WAIT);
    lattice.provide(&host, &annotated(&host, &program)).await;
    assert_eq!(program.host_data(0).await["lattice_bus"]["scoped"], true);
}

async fn unlink(lattice: &Lattice) {
    let delete =
        json!({"source_id": "counter", "wit_namespace": "wasi", "wit_package": "keyvalue"});
    lattice.done("link.del", &delete).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_takes_no_credentials_hears_of_links_all_the_same() {
    let patient = signer(Duration::from_secs(3600));
    let (lattice, host, mut events, _program, _health) =
        healthy(|config| config.provider_signer = Some(patient)).await;
    let mut puts = puts(&lattice).await;
    let dels = "wasmbus.rpc.default.kv.linkdefs.del";
    let mut dels = lattice.client.subscribe(dels).await.unwrap();
    lattice.done("link.put", &link(&[])).await;
    fails(&mut events).await;
    assert_eq!(told(&mut puts).await["source_id"], "counter");
    until("the problem to show in the inventory", async || {
        let shown = listed(&lattice, &host).await;
        let problem = shown[0]["problem"].as_str()?.to_owned();
        problem.contains("NATS credentials").then_some(())
    })
    .await;
    unlink(&lattice).await;
    assert_eq!(crate::next(&mut dels).await.1["source_id"], "counter");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_take_other_rights_is_told_of_and_started_again() {
    let impatient = signer(Duration::from_secs(1));
    let (lattice, _host, mut events, program, _health) =
        healthy(|config| config.provider_signer = Some(impatient)).await;
    lattice.done("link.put", &link(&[])).await;
    fails(&mut events).await;
    let ended = |exited: Value| {
        let status = exited["status"].as_str().unwrap().to_owned();
        assert!(status.contains("does not take the NATS"), "{status}");
    };
    ended(events.data("provider_exited").await);
    // The next process has what its links need from its start.
    let data = program.host_data(1).await;
    assert_eq!(data["link_definitions"][0]["source_id"], "counter");
    events.data("health_check_passed").await;
    // Nor is it left with rights that it should have no longer.
    unlink(&lattice).await;
    fails(&mut events).await;
    ended(events.data("provider_exited").await);
    let data = program.host_data(2).await;
    assert_eq!(data["link_definitions"], json!([]));
}

/// A lattice on a server that wants a password, which lets in nobody who shows a token.
async fn private() -> (Lattice, NatsConfig) {
    let nats = NatsBox::start_with(NatsBoxOptions::private("me", "word"));
    let nats = nats.await.unwrap();
    let own = async_nats::ConnectOptions::with_user_and_password("me".into(), "word".into());
    let client = own.connect(&nats.url).await.unwrap();
    let config = NatsConfig {
        servers: vec![format!("nats://me:word@127.0.0.1:{}", nats.port)],
        ..NatsConfig::default()
    };
    let dir = tempfile::tempdir().unwrap();
    (Lattice { nats, client, dir }, config)
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_given_a_token_that_the_server_refuses_keeps_its_own_and_is_not_ended() {
    let (lattice, nats) = private().await;
    let mut config = lattice.config().nats(nats);
    // As short as can be: what a process does not take by its own fault ends it at once.
    config.provider_signer = Some(signer(Duration::from_millis(1)));
    let mut events = lattice.events().await;
    let host = Host::start(config).await.unwrap();
    let program = Program::new(&lattice, "kv", crate::WAIT);
    let _health = answer_health(&lattice, json!({"healthy": true})).await;
    lattice.provide(&host, &start(&host, &program)).await;
    events.data("health_check_passed").await;

    let mut puts = puts(&lattice).await;
    let given = "wasmbus.rpc.default.*.credentials";
    let mut given = lattice.client.subscribe(given).await.unwrap();
    lattice.done("link.put", &link(&[])).await;
    // It says that it has heard of the token, and cannot connect with it.
    let (message, _) = next(&mut given).await;
    let reply = message.reply.unwrap();
    lattice.client.publish(reply, "".into()).await.unwrap();
    let failed = events.data("health_check_failed").await;
    let why = failed["message"].as_str().unwrap();
    assert!(why.contains("the NATS server refuses them"), "{why}");
    assert_eq!(told(&mut puts).await["source_id"], "counter");
    // It is told again, and goes on.
    next(&mut given).await;
    let ended = |(name, _): &(String, Value)| name == "provider_exited";
    assert!(!events.drain().await.iter().any(ended));
    assert_eq!(program.starts(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_outlives_its_token_while_nats_is_away() {
    // Long enough that the process is there before it ends.
    const LIFE: Duration = Duration::from_secs(15);
    let mut short = Arc::into_inner(signer(ProviderSigner::PATIENCE)).unwrap();
    short.life = LIFE;
    let (mut lattice, _host, _events, program, _health) =
        healthy(|config| config.provider_signer = Some(Arc::new(short))).await;
    lattice.nats.stop();
    // There is nothing to wait for: that the token ends meanwhile is what is tested, with the time in which
    // the host would tell the process of another.
    tokio::time::sleep(2 * LIFE).await;
    assert_eq!(program.starts(), 1);
    // Nobody can tell it of another token: the next process has one.
    lattice.nats.restart().await.unwrap();
    program.host_data(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_hangs_is_not_ended_while_its_credentials_hold() {
    let (lattice, host, mut events, program, health) = healthy(|config| {
        config.provider_signer = Some(signer(ProviderSigner::PATIENCE));
        config.providers.health_interval = Duration::from_millis(200);
        config.rpc_timeout = Duration::from_millis(200);
    })
    .await;
    let before = logins(&lattice).await;
    health.abort();
    events.data("health_check_failed").await;
    // The host shows the server what the process holds.
    let mut own = 0;
    until("a login of somebody else", async || {
        own += 1;
        (logins(&lattice).await > before + own).then_some(())
    })
    .await;
    let _health = answer_health(&lattice, json!({"healthy": true})).await;
    events.data("health_check_passed").await;
    assert_eq!(program.starts(), 1);
    assert_eq!(listed(&lattice, &host).await[0]["problem"], Value::Null);
}

/// How many clients the server has let in so far, this one too.
async fn logins(lattice: &Lattice) -> u64 {
    let client = lattice.nats.client().await.unwrap();
    client.server_info().client_id
}
