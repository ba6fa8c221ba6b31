//! A RabbitMQ that has run out of memory.
//!
//! It is a server of its own: its alarm stops whoever sends.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../../backend/rabbitmq/tests/support/memory.rs"]
mod memory;
#[path = "../../queue-nats/tests/support/mod.rs"]
mod support;

use std::path::Path;
use std::time::Duration;

use lattice_core::link::LinkState;
use lattice_services::{Kind, Service};
use memory::set_memory;
use queue_rabbitmq::QueueRabbitmq;
use support::{Component, Delivery, Error, Lattice, Outcome, PATIENCE, body, text};
use tokio::time::Instant;

const REFUSED: &str = "takes no messages at the moment";

fn is_refusal(error: &Error) -> bool {
    matches!(error, Error::Unavailable(why) if why.contains(REFUSED))
}

/// Sends until what comes of it is as wanted.
async fn send_until(worker: &Component, what: &str, wanted: impl Fn(Option<&Error>) -> bool) {
    let until = Instant::now() + PATIENCE;
    loop {
        let sent = worker.send("", &text(what)).await;
        if wanted(sent.as_ref().err()) {
            return;
        }
        assert!(Instant::now() < until, "{sent:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_without_memory_refuses_what_is_sent_and_is_emptied() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("rabbitmq-queue-alarm");
    std::fs::remove_dir_all(&folder).ok();
    let mut server = Service::reserve_in(Kind::RabbitMq, &folder).unwrap();
    server.start_again().await.unwrap();
    let url = server.url();
    let mut lattice = Lattice::start::<QueueRabbitmq>(&[("url", &url)]).await;
    let config = [("queue", "jobs"), ("create", "true")];
    let worker = lattice.link("worker", "default", &config).await;
    wear(&worker).await;
    for body in ["1", "2", "3"] {
        worker.send("", &text(body)).await.unwrap();
    }
    let got = worker.receive_for("", 1, 10_000, Some(600_000)).await;
    let first = got.unwrap().remove(0);
    set_memory(&server, &folder, "0").await;
    // The server says so when something is sent, which is a message whose lease ends.
    what_its_queue_would_drop_waits(&worker).await;
    send_until(&worker, "late", |error| error.is_some_and(is_refusal)).await;
    what_is_sent_is_refused_at_once(&worker, &first).await;
    let report = format!("{:?}", lattice.report_of(LinkState::Failed).await);
    assert!(report.contains(REFUSED), "{report}");
    worker.ack("", &first).await.unwrap();
    for expected in ["2", "3"] {
        let got = worker.one("").await;
        assert_eq!(body(&got), expected);
        worker.ack("", &got).await.unwrap();
    }
    set_memory(&server, &folder, "0.4").await;
    lattice.report_of(LinkState::Ready).await;
    send_until(&worker, "after", |error| error.is_none()).await;
    assert_eq!(worker.one("worn").await.attempt, 17);
    drop(server);
    std::fs::remove_dir_all(&folder).ok();
}

async fn what_is_sent_is_refused_at_once(worker: &Component, leased: &Delivery) {
    let begun = Instant::now();
    for _ in 0..20 {
        let error = worker.send("", &text("x".repeat(65_536))).await;
        let error = error.unwrap_err();
        assert!(is_refusal(&error), "{error:?}");
    }
    let retry = Outcome::Retry(Some(1000));
    let error = worker.settle("", &leased.receipt, retry).await;
    let error = error.unwrap_err();
    assert!(is_refusal(&error), "{error:?}");
    let elapsed = begun.elapsed();
    assert!(elapsed < Duration::from_secs(4), "{elapsed:?}");
}

/// Puts a message into the queue `worn` that has come back as often as it may.
async fn wear(worker: &Component) {
    worker.send("worn", &text("worn")).await.unwrap();
    for _ in 0..15 {
        let got = worker.one("worn").await;
        let retry = Outcome::Retry(None);
        worker.settle("worn", &got.receipt, retry).await.unwrap();
    }
}

async fn what_its_queue_would_drop_waits(worker: &Component) {
    let got = worker.receive_for("worn", 1, 10_000, Some(100)).await;
    assert_eq!(got.unwrap()[0].attempt, 16);
    // Its lease ends, and for longer than the server is given to answer nothing comes back.
    let got = worker.receive_for("worn", 1, 7000, None).await;
    assert_eq!(got, Ok(Vec::new()));
}
