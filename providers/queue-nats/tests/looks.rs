//! What a component gets that does not wait, from servers that tell when they find nothing and from
//! those that do not.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::time::Duration;

use lattice_nats_box::{Middleman, NatsBoxOptions, find_old_server};
use queue_nats::QueueNats;
use support::{Component, Lattice, Message, body, text};
use tokio::time::Instant;

const QUEUE: &str = "jobs";

/// Well below the time after which a server counts as silent.
const SOON: Duration = Duration::from_secs(2);

async fn start(is_old: bool) -> (Lattice, Component) {
    let options = NatsBoxOptions {
        program: is_old.then(|| find_old_server().expect("a server of version 2.9")),
        ..NatsBoxOptions::default()
    };
    let mut lattice = Lattice::start_on::<QueueNats>(options, &[]).await;
    let config = [("queue", QUEUE), ("create", "true")];
    let component = lattice.link("worker", "default", &config).await;
    (lattice, component)
}

/// Nothing is there, which is known soon.
async fn is_empty(worker: &Component) {
    let asked = Instant::now();
    worker.none(QUEUE).await;
    let took = asked.elapsed();
    assert!(took < SOON, "it took {took:?}");
}

/// Many look for each message at once, of whom one gets it.
async fn one_gets_it(is_old: bool) {
    let (_lattice, worker) = start(is_old).await;
    is_empty(&worker).await;
    for n in 0..20 {
        let sent = n.to_string();
        worker.send(QUEUE, &text(&*sent)).await.unwrap();
        let asked = Instant::now();
        let looks = (0..8).map(|_| worker.receive_for(QUEUE, 2, 0, None));
        let looks = futures::future::join_all(looks).await;
        let took = asked.elapsed();
        let got: Vec<_> = looks.into_iter().flat_map(Result::unwrap).collect();
        assert_eq!(got.len(), 1, "of message {n}");
        assert!(took < SOON, "message {n} took {took:?}");
        assert_eq!((body(&got[0]), got[0].attempt), (sent, 1));
        worker.ack(QUEUE, &got[0]).await.unwrap();
    }
    is_empty(&worker).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_who_look_at_once_one_gets_a_message() {
    one_gets_it(false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_who_look_at_once_one_gets_a_message_from_an_old_server() {
    one_gets_it(true).await;
}

/// A group whose message is at work gives no other meanwhile.
async fn a_busy_group_is_passed_over(is_old: bool) {
    let (_lattice, worker) = start(is_old).await;
    let of = |group: &str, body: &str| Message {
        group: Some(group.into()),
        ..text(body)
    };
    for body in ["first", "second"] {
        worker.send(QUEUE, &of("a", body)).await.unwrap();
    }
    let first = worker.one(QUEUE).await;
    assert_eq!(body(&first), "first");
    is_empty(&worker).await;
    worker.send(QUEUE, &text("free")).await.unwrap();
    let free = worker.one(QUEUE).await;
    assert_eq!(body(&free), "free");
    worker.send(QUEUE, &of("b", "other")).await.unwrap();
    let other = worker.one(QUEUE).await;
    assert_eq!(body(&other), "other");
    worker.ack(QUEUE, &first).await.unwrap();
    let second = worker.one(QUEUE).await;
    assert_eq!((body(&second), second.attempt), ("second".to_owned(), 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_at_work_keeps_nobody_waiting() {
    a_busy_group_is_passed_over(false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_at_work_keeps_nobody_waiting_on_an_old_server() {
    a_busy_group_is_passed_over(true).await;
}

/// Answers come later than the time for which the server looks.
async fn a_slow_line_gives_what_is_there(is_old: bool) {
    let (mut lattice, _near) = start(is_old).await;
    let middleman = Middleman::before(lattice.nats.port).await.unwrap();
    let uri = middleman.instead_of(&lattice.nats.url);
    let config = [("queue", QUEUE), ("cluster_uri", uri.as_str())];
    let far = lattice.link("far", "default", &config).await;
    middleman.delay(Duration::from_millis(150));
    for group in [None, Some("a".to_owned())] {
        let message = Message {
            group,
            ..text("here")
        };
        far.send(QUEUE, &message).await.unwrap();
        let got = far.receive_for(QUEUE, 1, 0, None).await.unwrap();
        assert_eq!(got.len(), 1, "of {:?}", message.group);
        assert_eq!((&*body(&got[0]), got[0].attempt), ("here", 1));
        far.ack(QUEUE, &got[0]).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_does_not_wait_gets_what_is_there_over_a_slow_line() {
    a_slow_line_gives_what_is_there(false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_does_not_wait_gets_what_is_there_over_a_slow_line_from_an_old_server() {
    a_slow_line_gives_what_is_there(true).await;
}
