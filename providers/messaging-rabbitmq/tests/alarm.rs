//! A RabbitMQ that has run out of memory.
//!
//! It is a server of its own: its alarm stops whoever publishes.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../../backend/rabbitmq/tests/support/memory.rs"]
mod memory;
#[path = "../../messaging-nats/tests/support/mod.rs"]
mod support;

use std::path::Path;
use std::time::Duration;

use lattice_services::{Kind, Service};
use memory::set_memory;
use messaging_rabbitmq::MessagingRabbitMq;
use support::{Lattice, Said, until};
use tokio::time::Instant as WallClock;

const REFUSED: &str = "takes no messages at the moment";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_without_memory_refuses_what_is_published_and_is_emptied() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("rabbitmq-alarm");
    std::fs::remove_dir_all(&folder).ok();
    let mut server = Service::reserve_in(Kind::RabbitMq, &folder).unwrap();
    server.start_again().await.unwrap();
    let url = server.url();
    let mut lattice = Lattice::start::<MessagingRabbitMq>().await;
    let publisher = lattice.target("publisher", &[("url", &url)]).await;
    lattice.ready().await;
    // The next message comes when the one before is acknowledged.
    let config = [
        ("url", &*url),
        ("subscriptions", "backlog"),
        ("max_in_flight", "1"),
    ];
    lattice.source("worker", &config).await;
    lattice.ready().await;
    // Nobody serves the component yet.
    for body in ["1", "2", "3"] {
        publisher.publish("backlog", body.as_bytes()).await.unwrap();
    }
    set_memory(&server, &folder, "0").await;
    // The server says so when something is published.
    let refused = async || {
        let error = publisher.publish("backlog", b"late").await.err();
        error.filter(|error| error.contains(REFUSED))
    };
    until(refused).await;
    let begun = WallClock::now();
    for _ in 0..20 {
        let error = publisher.publish("backlog", &[0; 65_536]).await;
        let error = error.unwrap_err();
        assert!(error.contains(REFUSED), "{error}");
    }
    let error = publisher.request("backlog", b"?", 20_000).await;
    let error = error.unwrap_err();
    assert!(error.contains(REFUSED), "{error}");
    let elapsed = begun.elapsed();
    assert!(elapsed < Duration::from_secs(4), "{elapsed:?}");
    let reason = lattice.failed().await;
    assert!(reason.contains(REFUSED), "{reason}");
    let mut heard = lattice.handler("worker", |_| Said::Done).await;
    for body in ["1", "2", "3"] {
        assert_eq!(heard.next().await.text(), body);
    }
    set_memory(&server, &folder, "0.4").await;
    until(async || publisher.publish("backlog", b"after").await.ok()).await;
    until(async || (heard.next().await.text() == "after").then_some(())).await;
    drop(server);
    std::fs::remove_dir_all(&folder).ok();
}
