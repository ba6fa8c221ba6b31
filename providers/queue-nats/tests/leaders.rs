//! What is said of a queue that is there while nobody answers for it, as when its servers choose a leader.

#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test fails by panicking, and listens to what the provider asks"
)]

mod support;

use async_nats::jetstream;
use futures::{FutureExt as _, StreamExt as _};
use lattice_nats_box::{NatsBoxOptions, taken_in};
use queue_nats::QueueNats;
use support::{Component, Error, Lattice, Message, PATIENCE, text};
use tokio::time::Instant;

const QUEUE: &str = "jobs";
const STREAM: &str = "queue_default_jobs";

/// A queue on a NATS that leads a subject to where nobody listens.
async fn without(subject: &str, nowhere: &str) -> (Lattice, Component, jetstream::Context) {
    let options = NatsBoxOptions {
        extra_config: format!("mappings {{ {subject:?}: {nowhere:?} }}\n"),
        ..NatsBoxOptions::default()
    };
    let mut lattice = Lattice::start_on::<QueueNats>(options, &[]).await;
    let worker = lattice.link("worker", "default", &[("queue", QUEUE)]).await;
    let jetstream = jetstream::new(lattice.nats.client().await.unwrap());
    (lattice, worker, jetstream)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_sends_hears_that_the_queue_is_unavailable_and_when_it_is_gone() {
    let (_lattice, worker, jetstream) = without(&format!("{STREAM}.one"), "nowhere").await;
    let sent = worker.send(QUEUE, &text("a")).await;
    assert!(matches!(sent, Err(Error::Unavailable(_))), "{sent:?}");
    jetstream.delete_stream(STREAM).await.unwrap();
    let sent = worker.send(QUEUE, &text("a")).await;
    assert_eq!(sent, Err(Error::NoSuchQueue));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_receives_hears_that_the_queue_is_unavailable_and_when_it_is_gone() {
    let subject = format!("$JS.API.CONSUMER.MSG.NEXT.{STREAM}.workers");
    let (_lattice, worker, jetstream) = without(&subject, "nowhere").await;
    let got = worker.receive_for(QUEUE, 1, 0, None).await;
    assert!(matches!(got, Err(Error::Unavailable(_))), "{got:?}");
    let stream = jetstream.get_stream(STREAM).await.unwrap();
    stream.delete_consumer("workers").await.unwrap();
    let got = worker.receive_for(QUEUE, 1, 0, None).await;
    assert_eq!(got, Err(Error::NoSuchQueue));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receipt_lasts_while_nobody_answers_and_not_without_its_consumer() {
    let subject = format!("$JS.ACK.{STREAM}.>");
    let (_lattice, worker, jetstream) = without(&subject, "nowhere.>").await;
    worker.send(QUEUE, &text("a")).await.unwrap();
    let got = worker.one(QUEUE).await;
    for _again in 0..2 {
        let done = worker.ack(QUEUE, &got).await;
        assert!(matches!(done, Err(Error::Unavailable(_))), "{done:?}");
    }
    let stream = jetstream.get_stream(STREAM).await.unwrap();
    stream.delete_consumer("workers").await.unwrap();
    assert_eq!(worker.ack(QUEUE, &got).await, Err(Error::ReceiptExpired));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_receives_does_not_wait_for_lanes_for_which_nobody_answers() {
    // That of the group below.
    let lane = "lane-12";
    let subject = format!("$JS.API.CONSUMER.MSG.NEXT.{STREAM}.{lane}");
    let (lattice, worker, jetstream) = without(&subject, "nowhere").await;
    let grouped = Message {
        group: Some("a".to_owned()),
        ..text("a")
    };
    worker.send(QUEUE, &grouped).await.unwrap();
    // This makes the consumer of the lane.
    worker.none(QUEUE).await;
    let stream = jetstream.get_stream(STREAM).await.unwrap();
    stream.consumer_info(lane).await.unwrap();
    let nats = lattice.nats.client().await.unwrap();
    let asked = format!("$JS.API.CONSUMER.INFO.{STREAM}.{lane}");
    let mut asked = nats.subscribe(asked).await.unwrap();
    taken_in(&nats).await.unwrap();
    // An answer that is late is asked about as well, though not each time.
    let until = Instant::now() + PATIENCE;
    loop {
        worker.none(QUEUE).await;
        taken_in(&nats).await.unwrap();
        let mut is_asked = false;
        while asked.next().now_or_never().flatten().is_some() {
            is_asked = true;
        }
        if !is_asked {
            break;
        }
        assert!(Instant::now() < until, "the lane is asked about each time");
    }
}
