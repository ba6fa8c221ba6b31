//! A queue in a JetStream domain, at a leaf whose own domain may have a queue of that name as well.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::time::Duration;

use async_nats::jetstream;
use lattice_nats_box::{Middleman, NatsBox, NatsBoxOptions, free_port};
use queue_nats::QueueNats;
use support::{Error, Lattice, PATIENCE, text};
use tokio::time::Instant;

const QUEUE: &str = "jobs";

/// A hub, the line to it, and a provider at a leaf.
async fn at_a_leaf() -> (NatsBox, Middleman, Lattice) {
    let port = free_port().unwrap();
    let hub = NatsBoxOptions {
        js_domain: Some("hub".to_owned()),
        extra_config: format!("leafnodes {{ listen: \"127.0.0.1:{port}\" }}\n"),
        ..NatsBoxOptions::default()
    };
    let hub = NatsBox::start_with(hub).await.unwrap();
    let line = Middleman::before(port).await.unwrap();
    let url = line.instead_of(&format!("nats-leaf://127.0.0.1:{port}"));
    let leaf = NatsBoxOptions {
        js_domain: Some("leaf".to_owned()),
        extra_config: format!("leafnodes {{ remotes: [ {{ url: {url:?} }} ] }}\n"),
        ..NatsBoxOptions::default()
    };
    let lattice = Lattice::start_on::<QueueNats>(leaf, &[]).await;
    let client = lattice.nats.client().await.unwrap();
    let there = jetstream::with_domain(client, "hub");
    let until = Instant::now() + PATIENCE;
    while let Err(error) = there.query_account().await {
        assert!(Instant::now() < until, "{error}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    (hub, line, lattice)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_queue_of_another_domain_takes_is_not_said_to_be_sent() {
    let (_hub, line, mut lattice) = at_a_leaf().await;
    let config = [("queue", QUEUE), ("js_domain", "hub")];
    let far = lattice.link("far", "default", &config).await;
    let until = Instant::now() + PATIENCE;
    // The leaf may not know yet who listens at the hub.
    while let Err(error) = far.send(QUEUE, &text("a")).await {
        assert!(Instant::now() < until, "{error:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let near = lattice.link("near", "default", &[("queue", QUEUE)]).await;
    near.send(QUEUE, &text("b")).await.unwrap();
    // The leaf is the first to answer.
    line.delay(Duration::from_millis(100));
    let sent = far.send(QUEUE, &text("c")).await;
    let Err(Error::Unavailable(why)) = sent else {
        panic!("{sent:?}");
    };
    for part in ["`leaf`", "`hub`", "stream_prefix"] {
        assert!(why.contains(part), "{why}");
    }
}
