//! The life of a provider, over a real NATS server.

#![expect(clippy::disallowed_methods, reason = "a test speaks the wire itself")]

mod changed;
mod deleted;
mod features;
mod secrets;
mod support;

use std::time::Duration;

use lattice_core::link::LinkState;
use lattice_core::provider::{HealthCheckResponse, ShutdownRequest};
use lattice_core::road::RoadTally;
use lattice_core::subject::RpcPrefix;
use lattice_core::{Locality, ResolvedLink};
use lattice_rpc::{Invocation, Peer, PeerConfig};
use support::{HOST_ID, Host, PATIENCE, link};
use tokio::time::Instant;

#[tokio::test]
async fn links_of_the_host_data_are_put_and_reported() {
    let mut host = Host::start(vec![link("counter", "kv", &[("v", "1")])]).await;
    assert_eq!(host.told().await, "put target counter keyvalue default v=1");
    let report = host.report().await;
    assert_eq!(report.state, LinkState::Ready);
    assert_eq!(
        (report.source_id.as_str(), report.target.as_str()),
        ("counter", "kv")
    );
    assert_eq!(report.host_id, HOST_ID);
    assert_eq!(host.health().await.links, vec![report]);
}

#[tokio::test]
async fn health_without_links_says_whose_process_it_is_and_how_often_it_connected() {
    let host = Host::start(vec![]).await;
    assert_eq!(
        host.health_text().await,
        r#"{"healthy":true,"host_id":"NTESTHOST","connects":1}"#
    );
}

#[tokio::test]
async fn a_repeated_put_is_ignored_and_a_changed_one_is_an_update() {
    let mut host = Host::start(vec![link("counter", "kv", &[("v", "1")])]).await;
    host.told().await;
    host.put(&link("counter", "kv", &[("v", "1")])).await;
    host.expect_quiet("same").await;
    host.put(&link("counter", "kv", &[("v", "2")])).await;
    assert_eq!(host.told().await, "delete target counter keyvalue default");
    assert_eq!(host.told().await, "put target counter keyvalue default v=2");
}

#[tokio::test]
async fn health_tells_the_roads_of_calls_until_the_link_is_put_again() {
    // The provider at both ends, so that somebody answers.
    let own = link("kv", "kv", &[("behave", "call")]);
    let mut host = Host::start(vec![own.clone()]).await;
    assert_eq!(host.told().await, "called true");
    assert_eq!(host.told().await, "put source kv keyvalue default v=-");
    let health = host.health().await;
    let roads = &health.links[0].roads;
    assert_eq!((roads.calls(), roads.why.len()), (1, 1), "{roads:?}");
    assert_eq!(host.report().await.roads, RoadTally::default());
    let quiet = link("kv", "kv", &[]);
    host.put(&quiet).await;
    assert_eq!(host.told().await, "delete source kv keyvalue default");
    assert_eq!(host.told().await, "put source kv keyvalue default v=-");
    assert!(host.health().await.links[0].roads.is_empty());
}

#[tokio::test]
async fn another_locality_is_an_update() {
    let near = link("kv", "counter", &[]);
    let mut host = Host::start(vec![near.clone()]).await;
    assert_eq!(host.told().await, "put source counter keyvalue default v=-");
    let spread = ResolvedLink {
        locality: Locality::Spread,
        ..near
    };
    host.put(&spread).await;
    assert_eq!(host.told().await, "delete source counter keyvalue default");
    assert_eq!(host.told().await, "put source counter keyvalue default v=-");
}

#[tokio::test]
async fn links_between_the_same_two_are_kept_apart_by_package_and_name() {
    let mut host = Host::start(vec![link("counter", "kv", &[])]).await;
    host.told().await;
    let mut named = link("counter", "kv", &[]);
    named.name = "second".into();
    host.put(&named).await;
    assert_eq!(host.told().await, "put target counter keyvalue second v=-");
    let mut other = link("kv", "counter", &[]);
    other.wit_package = "messaging".into();
    host.put(&other).await;
    assert_eq!(
        host.told().await,
        "put source counter messaging default v=-"
    );
    host.delete(&named).await;
    assert_eq!(host.told().await, "delete target counter keyvalue second");
    assert_eq!(host.health().await.links.len(), 2);
}

#[tokio::test]
async fn sealed_secrets_come_with_the_link() {
    let mut host = Host::start(vec![]).await;
    let json = br#"{"V":{"kind":"String","value":"hidden"}}"#;
    let mut sealed = link("counter", "kv", &[("v", "open")]);
    sealed.target_secrets = Some(host.xkey.seal(json, &host.provider_xkey).unwrap());
    host.put(&sealed).await;
    assert_eq!(
        host.told().await,
        "put target counter keyvalue default v=hidden"
    );
    // Sealing again gives other bytes, but it is the same link.
    sealed.target_secrets = Some(host.xkey.seal(json, &host.provider_xkey).unwrap());
    host.put(&sealed).await;
    host.expect_quiet("resealed").await;
}

#[tokio::test]
async fn a_process_with_a_key_ignores_the_plain_subject() {
    let mut host = Host::start(vec![]).await;
    let payload = serde_json::to_vec(&link("counter", "kv", &[])).unwrap();
    let subject = host.subjects.link_put();
    host.nats.publish(subject, payload.into()).await.unwrap();
    host.expect_quiet("plain").await;
}

#[tokio::test]
async fn a_process_without_keys_listens_on_the_plain_subject() {
    let mut host = Host::start_with(vec![], false).await;
    let payload = serde_json::to_vec(&link("counter", "kv", &[])).unwrap();
    let subject = host.subjects.link_put();
    host.nats.publish(subject, payload.into()).await.unwrap();
    assert_eq!(host.told().await, "put target counter keyvalue default v=-");
}

#[tokio::test]
async fn a_refused_link_is_reported_and_turns_ready_by_itself() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("there");
    let needs = file.to_str().unwrap().to_owned();
    let mut host = Host::start(vec![]).await;
    let before = Instant::now();
    let wanted = link("counter", "kv", &[("needs", &needs)]);
    let answer = host.put_asking(&wanted).await;
    let reason = format!("`{needs}` is missing");
    assert_eq!(
        answer,
        format!(r#"{{"accepted":false,"reason":"{reason}"}}"#)
    );
    let report = host.report().await;
    assert!(before.elapsed() < Duration::from_secs(5));
    assert_eq!(report.state, LinkState::Failed);
    assert_eq!(report.reason.as_deref(), Some(reason.as_str()));
    let health = host.health().await;
    assert!(health.healthy);
    assert_eq!(health.links, vec![report]);
    std::fs::write(&file, "").unwrap();
    assert_eq!(host.report().await.state, LinkState::Ready);
    assert_eq!(host.put_asking(&wanted).await, r#"{"accepted":true}"#);
}

#[tokio::test]
async fn a_link_that_cannot_be_served_fails_until_it_changes() {
    let mut host = Host::start(vec![link("counter", "kv", &[("behave", "invalid")])]).await;
    assert_eq!(host.report().await.reason.as_deref(), Some("no such thing"));
    host.put(&link("counter", "kv", &[("behave", "panic")]))
        .await;
    let report = host.report().await;
    assert_eq!(
        report.reason.as_deref(),
        Some("the provider panicked over the link")
    );
    host.put(&link("counter", "kv", &[])).await;
    assert_eq!(host.report().await.state, LinkState::Ready);
    host.put(&link("someone", "else", &[])).await;
    assert_eq!(host.report().await.state, LinkState::Failed);
}

#[tokio::test]
async fn one_slow_link_does_not_hold_up_another() {
    let hangs = link("slow", "kv", &[("behave", "hang")]);
    let mut host = Host::start(vec![hangs.clone(), link("counter", "kv", &[])]).await;
    assert_eq!(host.told().await, "put target counter keyvalue default v=-");
    let health = host.health().await;
    let slow = health.links.iter().find(|l| l.source_id == "slow").unwrap();
    assert_eq!(slow.state, LinkState::Pending);
    host.delete(&hangs).await;
    let told = host.told().await;
    assert_eq!(told, "delete target slow keyvalue default");
}

/// What it had begun goes before the next one comes.
#[tokio::test]
async fn a_link_that_changes_while_it_is_put_is_let_go_first() {
    let mut host = Host::start(vec![link("counter", "kv", &[("behave", "hang")])]).await;
    host.expect_quiet("begun").await;
    host.put(&link("counter", "kv", &[("v", "2")])).await;
    for expected in [
        "delete target counter keyvalue default",
        "put target counter keyvalue default v=2",
    ] {
        assert_eq!(host.told().await, expected);
    }
    assert_eq!(host.report().await.state, LinkState::Ready);
}

#[tokio::test]
async fn a_link_whose_backend_drags_fails_within_five_seconds() {
    let mut host = Host::start(vec![]).await;
    let before = Instant::now();
    host.put(&link("slow", "kv", &[("behave", "drag")])).await;
    let report = host.report().await;
    assert!(before.elapsed() < Duration::from_secs(5));
    assert_eq!(report.state, LinkState::Failed);
    let reason = report.reason.unwrap();
    assert!(reason.contains("within 4.5s"), "{reason}");
}

#[tokio::test]
async fn a_new_config_is_passed_on_once() {
    let mut host = Host::start(vec![]).await;
    host.expect_quiet("a").await;
    let subject = host.subjects.config_update();
    let same = r#"{"marker":"a"}"#;
    host.nats
        .publish(subject.clone(), same.into())
        .await
        .unwrap();
    host.nats.publish(subject, "no map".into()).await.unwrap();
    host.expect_quiet("b").await;
}

#[tokio::test]
async fn a_process_with_a_config_of_its_own_takes_that_of_no_other() {
    let mut host = Host::start_with_own_config().await;
    assert_eq!(host.health().await.connects, Some(1));
    let own = host.provider_xkey.public_key();
    for (subject, config) in [
        (host.subjects.config_update(), r#"{"of":"another"}"#),
        (host.subjects.config_update_of(&own), r#"{"of":"this"}"#),
    ] {
        host.nats.publish(subject, config.into()).await.unwrap();
    }
    assert_eq!(host.told().await, r#"config {"of":"this"}"#);
}

#[tokio::test]
async fn a_config_that_concerns_the_links_puts_them_again() {
    let mut host = Host::start(vec![link("counter", "kv", &[("v", "1")])]).await;
    host.told().await;
    let subject = host.subjects.config_update();
    host.nats
        .publish(subject, r#"{"relink":"yes"}"#.into())
        .await
        .unwrap();
    assert_eq!(host.told().await, r#"config {"relink":"yes"}"#);
    assert_eq!(host.told().await, "delete target counter keyvalue default");
    assert_eq!(host.told().await, "put target counter keyvalue default v=1");
}

#[tokio::test]
async fn a_panic_over_a_config_puts_the_links_again_and_the_next_config_is_passed_on() {
    let mut host = Host::start(vec![link("counter", "kv", &[("v", "1")])]).await;
    host.told().await;
    let subject = host.subjects.config_update();
    let bad = r#"{"panic":"yes"}"#;
    let sent = host.nats.publish(subject.clone(), bad.into()).await;
    sent.unwrap();
    assert_eq!(host.told().await, format!("config {bad}"));
    assert_eq!(host.told().await, "delete target counter keyvalue default");
    assert_eq!(host.told().await, "put target counter keyvalue default v=1");
    let good = r#"{"n":"2"}"#;
    host.nats.publish(subject, good.into()).await.unwrap();
    assert_eq!(host.told().await, format!("config {good}"));
}

#[tokio::test]
async fn shutdown_is_for_one_host_and_lets_calls_finish() {
    let mut host = Host::start(vec![]).await;
    let peer = Peer::new(host.nats.clone(), PeerConfig::default())
        .await
        .unwrap();
    let subject =
        RpcPrefix::new(&host.lattice, &host.provider).invocation("test:slow/echo", "echo");
    let invocation = Invocation::new(subject, Instant::now() + PATIENCE);
    let call = tokio::spawn({
        let peer = peer.clone();
        async move { peer.call(invocation, "hello".into()).await }
    });
    peer.confirm(PATIENCE).await.unwrap();
    let ask = |id: &str| {
        let request = ShutdownRequest { host_id: id.into() };
        serde_json::to_vec(&request).unwrap().into()
    };
    let subject = host.subjects.shutdown();
    host.nats
        .publish_with_reply(subject.clone(), "x", ask("NOTHER"))
        .await
        .unwrap();
    let still: HealthCheckResponse = host.health().await;
    assert!(still.healthy);
    let answer = host.nats.request(subject, ask(HOST_ID)).await.unwrap();
    assert_eq!(answer.payload, "shutting down");
    assert_eq!(host.told().await, "shutdown");
    assert_eq!(call.await.unwrap().unwrap(), "hello");
    tokio::time::timeout(PATIENCE, &mut host.running)
        .await
        .unwrap()
        .unwrap()
        .unwrap();
}

#[tokio::test]
async fn a_stopped_provider_ends_and_leaves_the_lattice() {
    let mut host = Host::start(vec![link("counter", "kv", &[])]).await;
    host.stop.cancel();
    tokio::time::timeout(PATIENCE, &mut host.running)
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    let gone = host.nats.request(host.subjects.health(), "".into()).await;
    assert!(gone.is_err());
}

#[tokio::test]
async fn a_restarted_nats_server_finds_the_provider_again() {
    let mut host = Host::start(vec![]).await;
    host.box_.restart().await.unwrap();
    assert!(host.health().await.healthy);
    host.put(&link("counter", "kv", &[])).await;
    assert_eq!(host.told().await, "put target counter keyvalue default v=-");
}
