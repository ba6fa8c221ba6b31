//! Handlers that are called with what is in a queue.

mod support;

use std::collections::HashSet;
use std::time::Duration;

use async_nats::Subscriber;
use async_nats::connection::State;
use async_nats::jetstream::consumer::PullConsumer;
use futures::StreamExt as _;
use lattice_core::link::LinkState;
use lattice_nats_box::{NatsBox, NatsBoxOptions, free_port, taken_in};
use queue_nats::QueueNats;
use support::{Component, Error, Lattice, Outcome, PATIENCE, attribute, body, text};
use tokio::time::Instant;

const QUEUE: &str = "jobs";

async fn start(config: &[(&str, &str)]) -> (Lattice, Component) {
    let mut lattice = Lattice::start::<QueueNats>(&[]).await;
    let sender = lattice.link("sender", "default", &[("queue", QUEUE)]).await;
    let mut config = config.to_vec();
    config.push(("queue", QUEUE));
    lattice.link_handler("worker", &config).await;
    (lattice, sender)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_handler_says_settles_the_message() {
    let (lattice, sender) = start(&[("backoff_ms", "50")]).await;
    let mut worker = lattice.handle("worker").await;
    for body in ["ack", "retry", "reject"] {
        sender.send("", &text(body)).await.unwrap();
    }
    let mut retried = false;
    for _ in 0..4 {
        let (delivery, answer) = worker.next().await;
        let outcome = match body(&delivery).as_str() {
            "retry" if !retried => {
                retried = true;
                Outcome::Retry(Some(100))
            }
            "retry" => {
                assert_eq!(delivery.attempt, 2);
                Outcome::Ack
            }
            "reject" => Outcome::Reject("not mine".into()),
            _ => Outcome::Ack,
        };
        answer.send(outcome).unwrap();
    }
    let done = |depth: &support::Depth| (depth.ready, depth.leased) == (0, Some(0));
    let depth = sender.until_depth("", done).await;
    assert_eq!(depth.dead, Some(1));
    let dead = sender.one("default-dead").await;
    assert_eq!(attribute(&dead, "dead-letter-reason"), Some("not mine"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trap_is_tried_again_and_then_a_dead_letter_with_its_cause() {
    let (lattice, sender) = start(&[("backoff_ms", "20"), ("max_attempts", "3")]).await;
    let mut worker = lattice.handle("worker").await;
    sender.send("", &text("poison")).await.unwrap();
    for attempt in 1..=3 {
        let (delivery, answer) = worker.next().await;
        assert_eq!(delivery.attempt, attempt);
        drop(answer);
    }
    let depth = sender.until_depth("", |depth| depth.dead == Some(1)).await;
    assert_eq!(depth.ready, 0);
    let dead = sender.one("default-dead").await;
    let reason = attribute(&dead, "dead-letter-reason").unwrap();
    assert!(reason.starts_with("attempt 3, the last one: "), "{reason}");
    assert!(worker.is_quiet(Duration::from_millis(300)).await);
}

/// Where a queue is its own dead-letter queue there is nowhere else to go.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handler_of_dead_letters_has_as_many_attempts_as_it_takes() {
    let config = [
        ("dead_letter", QUEUE),
        ("backoff_ms", "20"),
        ("max_attempts", "2"),
    ];
    let (lattice, sender) = start(&config).await;
    let mut worker = lattice.handle("worker").await;
    sender.send("", &text("dead")).await.unwrap();
    for attempt in 1..=4 {
        let (delivery, answer) = worker.next().await;
        assert_eq!(delivery.attempt, attempt);
        let outcome = match attempt {
            4 => Outcome::Ack,
            _ => Outcome::Retry(None),
        };
        answer.send(outcome).unwrap();
    }
    let done = |depth: &support::Depth| (depth.ready, depth.leased) == (0, Some(0));
    sender.until_depth("", done).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handler_that_is_late_counts_as_failed() {
    let config = [
        ("timeout_ms", "300"),
        ("backoff_ms", "20"),
        ("max_attempts", "2"),
    ];
    let (lattice, sender) = start(&config).await;
    let mut worker = lattice.handle("worker").await;
    sender.send("", &text("slow")).await.unwrap();
    let first = worker.next().await;
    let second = worker.next().await;
    assert_eq!((first.0.attempt, second.0.attempt), (1, 2));
    sender.until_depth("", |depth| depth.dead == Some(1)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_is_kept_while_the_handler_works() {
    let (lattice, sender) = start(&[("lease_ms", "300")]).await;
    let mut worker = lattice.handle("worker").await;
    sender.send("", &text("long")).await.unwrap();
    let (delivery, answer) = worker.next().await;
    assert!(worker.is_quiet(Duration::from_millis(1200)).await);
    assert_eq!(sender.depth("").await.unwrap().leased, Some(1));
    // The handler itself may look after its delivery too, by its own link.
    answer.send(Outcome::Ack).unwrap();
    sender
        .until_depth("", |depth| depth.leased == Some(0))
        .await;
    assert_eq!(delivery.attempt, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_wait_for_a_component_that_is_away() {
    let (lattice, sender) = start(&[("max_attempts", "1")]).await;
    for n in 0..5 {
        sender.send("", &text(n.to_string())).await.unwrap();
    }
    // All that can be leased is, and nobody is there.
    sender.until_depth("", |depth| depth.leased > Some(0)).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    let mut worker = lattice.handle("worker").await;
    let mut seen = HashSet::new();
    while seen.len() < 5 {
        let (delivery, answer) = worker.next().await;
        assert_eq!(delivery.attempt, 1);
        assert!(seen.insert(body(&delivery)));
        answer.send(Outcome::Ack).unwrap();
    }
    let depth = sender
        .until_depth("", |depth| depth.leased == Some(0))
        .await;
    assert_eq!(depth.dead, Some(0));
}

/// Waits until so many messages are at work.
async fn until_leased(workers: &PullConsumer, count: usize) {
    let until = Instant::now() + PATIENCE;
    loop {
        let info = workers.get_info().await.expect("a consumer");
        if info.num_ack_pending == count {
            return;
        }
        assert!(Instant::now() < until, "{} at work", info.num_ack_pending);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Waits until this process has noticed that the lattice's NATS is away.
async fn until_cut_off(lattice: &Lattice) {
    let until = Instant::now() + PATIENCE;
    while lattice.peer.nats().connection_state() == State::Connected {
        assert!(Instant::now() < until, "it is connected");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Waits until the time of a message at work was extended so often.
async fn until_extended(said: &mut Subscriber, count: usize) {
    for _ in 0..count {
        let extended =
            async { while said.next().await.expect("a connection").payload != "+WPI" {} };
        let in_time = tokio::time::timeout(PATIENCE, extended).await;
        in_time.expect("the lease is extended");
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "listens to what the provider tells the backend"
)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_wait_while_the_lattice_is_away_and_their_backend_is_not() {
    let mut lattice = Lattice::start::<QueueNats>(&[]).await;
    let backend = NatsBox::start().await.unwrap();
    let config = [("cluster_uri", backend.url.as_str()), ("queue", QUEUE)];
    let sender = lattice.link("sender", "default", &config).await;
    let mut worker = lattice.handle("worker").await;
    let hasty = [
        ("max_attempts", "1"),
        ("timeout_ms", "300"),
        ("lease_ms", "1800"),
    ];
    let handler = [&config[..], &hasty[..]].concat();
    lattice.link_handler("worker", &handler).await;
    let client = backend.client().await.unwrap();
    let mut said = client.subscribe("$JS.ACK.>").await.unwrap();
    taken_in(&client).await.unwrap();
    lattice.nats.stop();
    until_cut_off(&lattice).await;
    let js = async_nats::jetstream::new(client);
    let kept = js.publish("queue_default_jobs.one", "kept".into()).await;
    kept.unwrap().await.unwrap();
    let stream = js.get_stream("queue_default_jobs").await.unwrap();
    let workers: PullConsumer = stream.get_consumer("workers").await.unwrap();
    until_leased(&workers, 1).await;
    // Each is a third of the lease, twice as long as a call may take. None of those leaves the process.
    until_extended(&mut said, 3).await;
    until_leased(&workers, 1).await;
    lattice.nats.restart().await.unwrap();
    let (delivery, answer) = worker.next().await;
    assert_eq!((body(&delivery).as_str(), delivery.attempt), ("kept", 1));
    answer.send(Outcome::Ack).unwrap();
    sender
        .until_depth("", |depth| depth.leased == Some(0))
        .await;
    let dead = js.get_stream("queue_default_jobs-dead").await;
    assert!(dead.is_err(), "there are dead letters");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_more_than_allowed_are_handled_at_once() {
    let (lattice, sender) = start(&[("max_in_flight", "2")]).await;
    let mut worker = lattice.handle("worker").await;
    let messages: Vec<_> = (0..6).map(|n| text(n.to_string())).collect();
    sender.send_many("", &messages).await.unwrap();
    let first = worker.next().await;
    let second = worker.next().await;
    assert!(worker.is_quiet(Duration::from_millis(400)).await);
    first.1.send(Outcome::Ack).unwrap();
    let third = worker.next().await;
    assert!(worker.is_quiet(Duration::from_millis(300)).await);
    for (_, answer) in [second, third] {
        answer.send(Outcome::Ack).unwrap();
    }
    for _ in 0..3 {
        worker.next().await.1.send(Outcome::Ack).unwrap();
    }
    sender
        .until_depth("", |depth| (depth.ready, depth.leased) == (0, Some(0)))
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_that_goes_gives_its_messages_back() {
    let (mut lattice, sender) = start(&[]).await;
    let mut worker = lattice.handle("worker").await;
    sender.send("", &text("given back")).await.unwrap();
    let asked = worker.next().await;
    lattice.unlink().await;
    let again = sender.one("").await;
    assert_eq!(body(&again), "given back");
    assert_eq!(again.attempt, 2);
    drop(asked);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn links_that_cannot_be_right_are_refused_by_name() {
    let mut lattice = Lattice::start::<QueueNats>(&[]).await;
    for (key, value) in [
        ("max_in_flight", "0"),
        ("lease_ms", "soon"),
        ("max_messages", "-3"),
        ("queue", "a b"),
        ("require", "telepathy"),
        ("require", "max-message-bytes>=99999999999"),
    ] {
        lattice.put("worker", "default", &[(key, value)]).await;
        if key == "max_in_flight" {
            // Only a link with handlers has it.
            lattice.report_of(LinkState::Ready).await;
            continue;
        }
        let report = format!("{:?}", lattice.report_of(LinkState::Failed).await);
        let named = value.split(">=").next().unwrap();
        assert!(report.contains(key) || report.contains(named), "{report}");
    }
    let requiring = |what| [("queue", QUEUE), ("require", what)];
    lattice
        .link_handler("worker", &requiring("groups, order=fifo, dead-letter"))
        .await;
    lattice
        .put_handler("worker", &requiring("groups, telepathy"))
        .await;
    let reason = lattice.report_of(LinkState::Failed).await.reason.unwrap();
    assert!(reason.contains("requires `telepathy`"), "{reason}");
    let private = NatsBoxOptions::private("shop", "sesame");
    let private = NatsBox::start_with(private).await.unwrap();
    let url = |login: &str| private.url.replace("//", &format!("//{login}@"));
    let nobody = format!("nats://127.0.0.1:{}", free_port().unwrap());
    for (config, why) in [
        (
            [("cluster_uri", &*nobody), ("x", "")],
            "could not connect to NATS",
        ),
        (
            [("cluster_uri", &*url("shop:wr0ng")), ("x", "")],
            "authorization violation",
        ),
        ([("queue", "none"), ("create", "false")], "none"),
    ] {
        lattice.put("worker", "default", &config).await;
        let reason = lattice.report_of(LinkState::Failed).await.reason.unwrap();
        assert!(reason.contains(why), "{reason}");
        assert!(!reason.contains("wr0ng"), "{reason}");
    }
    let right = url("shop:sesame");
    let worker = lattice
        .link("worker", "default", &[("cluster_uri", &right)])
        .await;
    worker.send("", &text("let in")).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nats_may_restart() {
    let mut lattice = Lattice::start::<QueueNats>(&[]).await;
    let mut backend = lattice_nats_box::NatsBox::start().await.unwrap();
    let uri = backend.url.clone();
    let worker = lattice
        .link("worker", "default", &[("cluster_uri", &uri)])
        .await;
    worker.send("", &text("kept")).await.unwrap();
    backend.stop();
    let failed = lattice.report_of(LinkState::Failed).await;
    assert!(format!("{failed:?}").contains("NATS"), "{failed:?}");
    let refused = worker.send("", &text("lost")).await;
    assert!(matches!(refused, Err(Error::Unavailable(_))), "{refused:?}");
    backend.restart().await.unwrap();
    lattice.report_of(LinkState::Ready).await;
    assert_eq!(body(&worker.one("").await), "kept");
}
