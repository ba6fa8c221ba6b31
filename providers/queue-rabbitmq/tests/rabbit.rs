//! What a component sees of its queues in RabbitMQ. Starting a server takes seconds, so that each
//! test makes the most of one.

#![allow(
    clippy::unwrap_used,
    reason = "steps of tests stand in functions of their own"
)]

#[path = "../../queue-nats/tests/support/mod.rs"]
mod support;

use std::collections::HashSet;
use std::time::Duration;

use lapin::options::QueueDeclareOptions;
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Connection, ConnectionProperties};
use lattice_core::link::LinkState;
use lattice_services::{Kind, Service};
use queue_rabbitmq::QueueRabbitmq;
use support::{Component, Depth, Error, Lattice, Message, Outcome, attribute, body, text};
use tokio::time::Instant;

const QUEUE: &str = "jobs";

async fn start(config: &[(&str, &str)]) -> (Service, Lattice, Component) {
    let service = Service::start(Kind::RabbitMq).await.expect("RabbitMQ");
    let url = service.url();
    let mut lattice = Lattice::start::<QueueRabbitmq>(&[("url", &url)]).await;
    let worker = lattice.link("worker", "default", config).await;
    (service, lattice, worker)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_are_leased_settled_and_counted() {
    let (_service, mut lattice, worker) = start(&[("queue", QUEUE), ("create", "true")]).await;
    leases(&worker).await;
    attempts(&worker, "attempts").await;
    delays(&worker).await;
    dead_letters(&worker).await;
    what_cannot_be_done(&worker).await;
    copies(&mut lattice, &worker).await;
    let classic = [("queue_type", "classic"), ("create", "true")];
    let classic = lattice.link("classic", "default", &classic).await;
    attempts(&classic, "classic").await;
}

async fn leases(worker: &Component) {
    let id = worker.send(QUEUE, &text("once")).await.unwrap();
    let first = worker.receive_for(QUEUE, 1, 3000, Some(500)).await.unwrap();
    assert_eq!((first[0].attempt, &first[0].id), (1, &id));
    worker.none(QUEUE).await;
    let second = worker.one(QUEUE).await;
    assert_eq!((second.attempt, &second.id), (2, &id));
    let late = worker.ack(QUEUE, &first[0]).await;
    assert_eq!(late, Err(Error::ReceiptExpired));
    assert_eq!(worker.extend(QUEUE, &second.receipt, 60_000).await, Ok(()));
    // One limit for all leases, by the name that `describe` has for it.
    let limit = "to 1500s (`max-lease-ms`)";
    for millis in [0, 1_500_001, 604_800_001] {
        let extended = worker.extend(QUEUE, &second.receipt, millis).await;
        let received = worker.receive_for(QUEUE, 1, 0, Some(millis)).await;
        for refused in [extended, received.map(drop)] {
            let is_told = |told: &Error| matches!(told, Error::Invalid(why) if why.contains(limit));
            assert!(refused.as_ref().is_err_and(is_told), "{refused:?}");
        }
    }
    // The time that it was leased before counts as well.
    let too_long = worker.extend(QUEUE, &second.receipt, 1_500_000).await;
    let is_told = matches!(&too_long, Err(Error::Unsupported(why)) if why.contains("max-lease-ms"));
    assert!(is_told, "{too_long:?}");
    assert_eq!(worker.ack(QUEUE, &second).await, Ok(()));
    assert_eq!(worker.ack(QUEUE, &second).await, Err(Error::ReceiptExpired));
    worker.none(QUEUE).await;
}

async fn attempts(worker: &Component, queue: &str) {
    worker.send(queue, &text("again")).await.unwrap();
    for attempt in 1..=4 {
        let got = worker.one(queue).await;
        assert_eq!(got.attempt, attempt, "in {queue}");
        // Longer than the first use of the queue where it waits takes.
        let delay = [None, Some(2500)][usize::from(attempt == 2)];
        let start = Instant::now();
        let retry = Outcome::Retry(delay);
        worker.settle(queue, &got.receipt, retry).await.unwrap();
        if delay.is_some() {
            worker.none(queue).await;
            worker.until_depth(queue, |depth| depth.ready == 1).await;
            assert!(start.elapsed() >= Duration::from_millis(2490));
        }
    }
    let last = worker.one(queue).await;
    assert_eq!(last.attempt, 5, "in {queue}");
    worker.ack(queue, &last).await.unwrap();
}

async fn delays(worker: &Component) {
    let start = Instant::now();
    let message = Message {
        content_type: Some("text/plain".into()),
        attributes: vec![("x-own".into(), "1".into())],
        ..text("later")
    };
    let id = worker.send_later(QUEUE, &message, 2500).await.unwrap();
    worker.none(QUEUE).await;
    let got = worker.one(QUEUE).await;
    assert!(start.elapsed() >= Duration::from_millis(2490));
    assert_eq!((got.attempt, &got.id, &got.message), (1, &id, &message));
    worker.ack(QUEUE, &got).await.unwrap();
    // It comes before the time of the queue that it waits in is over, which is four seconds.
    let start = Instant::now();
    worker.send_later(QUEUE, &text("soon"), 3050).await.unwrap();
    let got = worker.one(QUEUE).await;
    let waited = start.elapsed();
    assert!((3040..3950).contains(&waited.as_millis()), "{waited:?}");
    worker.ack(QUEUE, &got).await.unwrap();
}

async fn dead_letters(worker: &Component) {
    worker.send(QUEUE, &text("bad")).await.unwrap();
    let got = worker.one(QUEUE).await;
    let reject = Outcome::Reject("no such order".into());
    worker.settle(QUEUE, &got.receipt, reject).await.unwrap();
    let depth = worker.depth(QUEUE).await;
    let expected = Depth {
        ready: 0,
        leased: None,
        delayed: None,
        dead: Some(1),
    };
    assert_eq!(depth, Ok(expected));
    let dead = worker.one("jobs-dead").await;
    assert_eq!(
        attribute(&dead, "dead-letter-reason"),
        Some("no such order")
    );
    worker.ack("jobs-dead", &dead).await.unwrap();
}

async fn what_cannot_be_done(worker: &Component) {
    let group = Message {
        group: Some("g".into()),
        ..text("")
    };
    let refused = worker.send(QUEUE, &group).await;
    assert!(matches!(&refused, Err(Error::Unsupported(why)) if why.starts_with("groups")));
    let dedup = Message {
        dedup_id: Some("g".into()),
        ..text("")
    };
    let sent = worker
        .send_many(QUEUE, &[text("a"), dedup, text("b")])
        .await
        .unwrap();
    assert!(sent[0].is_ok() && sent[2].is_ok(), "{sent:?}");
    assert!(matches!(&sent[1], Err(Error::Unsupported(why)) if why.starts_with("dedup")));
    let got = worker.receive(QUEUE, 10).await.unwrap();
    assert_eq!(got.iter().map(body).collect::<Vec<_>>(), ["a", "b"]);
    for delivery in &got {
        worker.ack(QUEUE, delivery).await.unwrap();
    }
}

async fn copies(lattice: &mut Lattice, worker: &Component) {
    lattice.run_another::<QueueRabbitmq>().await;
    let messages: Vec<_> = (0..100).map(|n| text(n.to_string())).collect();
    worker.send_many("many", &messages).await.unwrap();
    let mut seen = HashSet::new();
    while seen.len() < 100 {
        for delivery in worker.receive("many", 7).await.unwrap() {
            assert_eq!(delivery.attempt, 1);
            assert!(seen.insert(body(&delivery)));
            assert_eq!(worker.ack("many", &delivery).await, Ok(()));
        }
    }
    worker.none("many").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limits_and_links_are_refused_by_name() {
    let limits = [("max_messages", "3"), ("max_message_bytes", "1000")];
    let (service, mut lattice, worker) = start(&limits).await;
    let messages: Vec<_> = (0..20).map(|n| text(n.to_string())).collect();
    let sent = worker.send_many("", &messages).await.unwrap();
    let stored = sent.iter().filter(|sent| sent.is_ok()).count();
    // A quorum queue counts a little late.
    assert!((3..20).contains(&stored), "{sent:?}");
    assert!(matches!(sent.last(), Some(Err(Error::Full(_)))), "{sent:?}");
    let got = worker.receive("", 20).await.unwrap();
    assert_eq!(got.len(), stored);
    let large = worker.send("", &text("x".repeat(1001))).await;
    assert_eq!(large, Err(Error::TooLarge(1000)));
    assert_eq!(
        worker.send("other", &text("")).await,
        Err(Error::NoSuchQueue)
    );
    assert_eq!(worker.receive("other", 1).await, Err(Error::NoSuchQueue));

    what_comes_due_while_its_queue_is_full(&mut lattice).await;

    let strict = [("create", "false"), ("queue", "none")];
    lattice.put("strict", "default", &strict).await;
    let report = format!("{:?}", lattice.report_of(LinkState::Failed).await);
    assert!(report.contains("there is no queue `none`"), "{report}");
    let url = service.url().replace("guest:guest", "guest:wrong");
    assert_ne!(url, service.url());
    lattice.put("stranger", "default", &[("url", &url)]).await;
    let report = format!("{:?}", lattice.report_of(LinkState::Failed).await);
    assert!(
        report.contains("ACCESS_REFUSED") || report.contains("refused"),
        "{report}"
    );
    assert!(!report.contains("wrong"), "{report}");
}

async fn what_comes_due_while_its_queue_is_full(lattice: &mut Lattice) {
    for kind in ["classic", "quorum"] {
        let config = [("queue", kind), ("queue_type", kind), ("max_messages", "2")];
        let worker = lattice.link(kind, "default", &config).await;
        worker.send("", &text("again")).await.unwrap();
        let again = worker.one("").await;
        worker.send_later("", &text("later"), 3000).await.unwrap();
        let mut missing = HashSet::from(["again".to_owned(), "later".to_owned()]);
        let retry = Outcome::Retry(Some(3000));
        worker.settle("", &again.receipt, retry).await.unwrap();
        for number in 0.. {
            let body = number.to_string();
            match worker.send("", &text(&body)).await {
                Ok(_) => missing.insert(body),
                Err(Error::Full(_)) => break,
                Err(error) => panic!("{error:?}"),
            };
        }
        tokio::time::sleep(Duration::from_millis(3500)).await;
        while !missing.is_empty() {
            let delivery = worker.one("").await;
            assert!(missing.remove(&body(&delivery)), "{delivery:?}");
            worker.ack("", &delivery).await.unwrap();
        }
        worker.none("").await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handler_is_called_and_the_server_may_die() {
    let (mut service, mut lattice, sender) = start(&[("queue", QUEUE)]).await;
    let config = [
        ("queue", QUEUE),
        ("backoff_ms", "50"),
        ("max_attempts", "3"),
    ];
    lattice.link_handler("handler", &config).await;
    let mut handler = lattice.handle("handler").await;
    sender.send("", &text("poison")).await.unwrap();
    for attempt in 1..=3 {
        let (delivery, answer) = handler.next().await;
        assert_eq!(delivery.attempt, attempt);
        drop(answer);
    }
    sender.until_depth("", |depth| depth.dead == Some(1)).await;
    sender.send("", &text("held")).await.unwrap();
    let held = handler.next().await;
    service.kill();
    lattice.report_of(LinkState::Failed).await;
    let refused = sender.send("", &text("lost")).await;
    assert!(matches!(refused, Err(Error::Unavailable(_))), "{refused:?}");
    service.start_again().await.unwrap();
    // It is asked all the time, also before its queues have chosen their leaders.
    let begun = Instant::now();
    while sender.send("", &text("soon")).await.is_err() {
        assert!(begun.elapsed() < Duration::from_secs(12), "not again");
    }
    lattice.report_of(LinkState::Ready).await;
    // What was not acknowledged comes again.
    held.1.send(Outcome::Ack).ok();
    let mut bodies = Vec::new();
    for _ in 0..2 {
        let (again, answer) = handler.next().await;
        bodies.push(body(&again));
        answer.send(Outcome::Ack).unwrap();
    }
    assert!(bodies.contains(&"held".to_owned()), "{bodies:?}");
    sender.until_depth("", |depth| depth.ready == 0).await;
    assert!(handler.is_quiet(Duration::from_millis(500)).await);
}

/// A server that is killed just after it has made a quorum queue begins it anew.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_for_later_outlives_a_server_that_dies() {
    let (mut service, mut lattice, worker) = start(&[("queue", QUEUE)]).await;
    worker.send("", &text("again")).await.unwrap();
    let got = worker.one("").await;
    worker.send_later("", &text("later"), 3000).await.unwrap();
    let retry = Outcome::Retry(Some(5000));
    worker.settle("", &got.receipt, retry).await.unwrap();
    service.kill();
    lattice.report_of(LinkState::Failed).await;
    service.start_again().await.unwrap();
    lattice.report_of(LinkState::Ready).await;
    let mut missing = HashSet::from(["again".to_owned(), "later".to_owned()]);
    let begun = Instant::now();
    while !missing.is_empty() {
        assert!(begun.elapsed() < support::PATIENCE, "lost: {missing:?}");
        for delivery in worker.receive("", 2).await.unwrap_or_default() {
            missing.remove(&body(&delivery));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_comes_back_is_not_lost() {
    let (service, mut lattice, worker) = start(&[("queue", QUEUE)]).await;
    what_nobody_took(&mut lattice, &worker).await;
    what_its_queue_has_no_room_for(&mut lattice).await;
    what_comes_back_often(&service, &mut lattice).await;
}

async fn what_nobody_took(lattice: &mut Lattice, worker: &Component) {
    lattice.link_handler("away", &[("queue", QUEUE)]).await;
    worker.send("", &text("unseen")).await.unwrap();
    worker.until_depth("", |depth| depth.ready == 0).await;
    lattice.unlink().await;
    let got = worker.one("").await;
    assert_eq!((body(&got).as_str(), got.attempt), ("unseen", 1));
    worker.ack("", &got).await.unwrap();
    worker.none("").await;
}

async fn what_its_queue_has_no_room_for(lattice: &mut Lattice) {
    let config = [
        ("queue", "brim"),
        ("queue_type", "classic"),
        ("max_messages", "2"),
    ];
    let worker = lattice.link("brim", "default", &config).await;
    worker.send("", &text("again")).await.unwrap();
    let again = worker.one("").await;
    while worker.send("", &text("other")).await.is_ok() {}
    let retry = Outcome::Retry(None);
    worker.settle("", &again.receipt, retry).await.unwrap();
    loop {
        let got = worker.one("").await;
        worker.ack("", &got).await.unwrap();
        if body(&got) == "again" {
            assert_eq!(got.attempt, 2);
            break;
        }
    }
}

/// In a queue with the limit that RabbitMQ 4 sets by itself.
async fn what_comes_back_often(service: &Service, lattice: &mut Lattice) {
    let properties = ConnectionProperties::default();
    let connection = Connection::connect(&service.url(), properties).await;
    let connection = connection.unwrap();
    let channel = connection.create_channel().await.unwrap();
    let mut arguments = FieldTable::default();
    let kind = AMQPValue::LongString("quorum".into());
    arguments.insert("x-queue-type".into(), kind);
    arguments.insert("x-delivery-limit".into(), AMQPValue::LongInt(20));
    let declared = channel.queue_declare("worn".into(), QueueDeclareOptions::durable(), arguments);
    declared.await.unwrap();
    let worker = lattice.link("worn", "default", &[("queue", "worn")]).await;
    worker.send("", &text("worn")).await.unwrap();
    for attempt in 1..=40 {
        // First it is given back, and then its leases end.
        let lease = (attempt > 20).then_some(100);
        let got = worker.receive_for("", 1, 10_000, lease).await.unwrap();
        let attempts: Vec<_> = got.iter().map(|delivery| delivery.attempt).collect();
        assert_eq!(attempts, [attempt]);
        if lease.is_none() {
            let retry = Outcome::Retry(None);
            worker.settle("", &got[0].receipt, retry).await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_silent_is_an_error_until_it_speaks_again() {
    let (service, mut lattice, sender) = start(&[("queue", QUEUE)]).await;
    sender.send("", &text("before")).await.unwrap();
    service.freeze().unwrap();
    let (begun, lost) = (Instant::now(), text("x"));
    let (sent, received, _) = tokio::join!(
        sender.send("", &lost),
        sender.receive_for("", 1, 500, None),
        lattice.report_of(LinkState::Failed)
    );
    let silent = begun.elapsed();
    service.thaw().unwrap();
    assert!(matches!(sent, Err(Error::Unavailable(_))), "{sent:?}");
    assert!(
        matches!(received, Err(Error::Unavailable(_))),
        "{received:?}"
    );
    assert!(silent < Duration::from_secs(7), "{silent:?}");
    lattice.report_of(LinkState::Ready).await;
    sender.send("", &text("after")).await.unwrap();
}
