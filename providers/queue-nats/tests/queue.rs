//! What a component sees of its queues.

mod support;

use std::time::Duration;

use async_nats::jetstream::stream;
use lattice_core::link::LinkState;
use queue_nats::QueueNats;
use support::{Component, Error, Lattice, Message, Outcome, attribute, body, text};
use tokio::time::Instant;

const QUEUE: &str = "jobs";

async fn start() -> (Lattice, Component) {
    let mut lattice = Lattice::start::<QueueNats>(&[]).await;
    let component = lattice
        .link("worker", "default", &[("queue", QUEUE), ("create", "true")])
        .await;
    (lattice, component)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_sent_is_received_and_gone_when_acknowledged() {
    let (_lattice, worker) = start().await;
    let message = Message {
        content_type: Some("text/plain".into()),
        attributes: vec![
            ("a".into(), "1".into()),
            ("ü-less".replace('ü', "u"), "ä\n%".into()),
        ],
        ..text("hello")
    };
    let id = worker.send(QUEUE, &message).await.unwrap();
    let got = worker.one("default").await;
    assert_eq!((&got.id, got.attempt), (&id, 1));
    assert_eq!(got.message, message);
    assert!(got.enqueued_at_ms > 1_700_000_000_000);
    assert_eq!(got.lease_ms, 30_000);
    let depth = worker.depth(QUEUE).await.unwrap();
    assert_eq!((depth.ready, depth.leased), (0, Some(1)));
    worker.none(QUEUE).await;
    assert_eq!(worker.ack(QUEUE, &got).await, Ok(()));
    assert_eq!(worker.ack(QUEUE, &got).await, Err(Error::ReceiptExpired));
    let depth = worker.depth(QUEUE).await.unwrap();
    assert_eq!(
        (depth.ready, depth.leased, depth.delayed),
        (0, Some(0), Some(0))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_that_ends_gives_the_message_to_the_next_worker() {
    let (_lattice, worker) = start().await;
    worker.send(QUEUE, &text("once")).await.unwrap();
    let first = worker.receive_for(QUEUE, 1, 1000, Some(300)).await.unwrap();
    let second = worker.one(QUEUE).await;
    assert_eq!(second.attempt, 2);
    assert_ne!(first[0].receipt, second.receipt);
    let late = worker.ack(QUEUE, &first[0]).await;
    assert_eq!(late, Err(Error::ReceiptExpired));
    assert_eq!(worker.ack(QUEUE, &second).await, Ok(()));
    worker.none(QUEUE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_extended_lease_lasts() {
    let (_lattice, worker) = start().await;
    worker.send(QUEUE, &text("long")).await.unwrap();
    let got = worker.receive_for(QUEUE, 1, 1000, Some(400)).await.unwrap();
    assert_eq!(worker.extend(QUEUE, &got[0].receipt, 3000).await, Ok(()));
    assert_eq!(worker.receive_for(QUEUE, 1, 1000, None).await, Ok(vec![]));
    assert_eq!(worker.ack(QUEUE, &got[0]).await, Ok(()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn retries_wait_and_count() {
    let (_lattice, worker) = start().await;
    worker.send(QUEUE, &text("again")).await.unwrap();
    let first = worker.one(QUEUE).await;
    let start = Instant::now();
    let retry = Outcome::Retry(Some(700));
    assert_eq!(worker.settle(QUEUE, &first.receipt, retry).await, Ok(()));
    worker.none(QUEUE).await;
    let second = worker.one(QUEUE).await;
    assert!(start.elapsed() >= Duration::from_millis(650));
    assert_eq!(second.attempt, 2);
    let at_once = Outcome::Retry(None);
    assert_eq!(worker.settle(QUEUE, &second.receipt, at_once).await, Ok(()));
    assert_eq!(worker.one(QUEUE).await.attempt, 3);
}

/// Others may write to a queue too, and tell the server things that do not hold elsewhere.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_server_was_told_of_a_message_is_not_said_of_its_letter() {
    let (lattice, worker) = start().await;
    let js = async_nats::jetstream::new(lattice.nats.client().await.unwrap());
    let (stream, later) = ("queue_default_jobs", "queue_default_jobs=later");
    let mut headers = async_nats::HeaderMap::new();
    headers.insert("Nats-Expected-Stream", stream);
    headers.insert("Nats-Expected-Last-Sequence", "0");
    headers.insert("Nats-Msg-Id", "mine");
    let sent = js.publish_with_headers(format!("{stream}.one"), headers.clone(), "bad".into());
    sent.await.unwrap().await.unwrap();
    let got = worker.one(QUEUE).await;
    let why = Outcome::Reject("no".into());
    assert_eq!(worker.settle(QUEUE, &got.receipt, why).await, Ok(()));
    let dead = worker.one("jobs-dead").await;
    assert_eq!(
        (body(&dead).as_str(), dead.message.dedup_id.as_deref()),
        ("bad", None)
    );
    assert_eq!(attribute(&dead, "dead-letter-reason"), Some("no"));
    // Nor of one that is moved.
    headers.insert("Nats-Expected-Stream", later);
    headers.insert("Nats-Msg-Id", "other");
    let sent = js.publish_with_headers(later, headers, "late".into());
    sent.await.unwrap().await.unwrap();
    let got = worker.one(QUEUE).await;
    assert_eq!(
        (body(&got).as_str(), got.message.dedup_id.as_deref()),
        ("late", Some("other"))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_rejected_is_a_dead_letter() {
    let (_lattice, worker) = start().await;
    let message = Message {
        attributes: vec![("a".into(), "1".into())],
        dedup_id: Some("once".into()),
        ..text("bad")
    };
    worker.send(QUEUE, &message).await.unwrap();
    let got = worker.one(QUEUE).await;
    let reject = Outcome::Reject("no such order".into());
    assert_eq!(worker.settle(QUEUE, &got.receipt, reject).await, Ok(()));
    let depth = worker.depth(QUEUE).await.unwrap();
    assert_eq!(
        (depth.ready, depth.leased, depth.dead),
        (0, Some(0), Some(1))
    );
    let dead = worker.one("jobs-dead").await;
    assert_eq!(body(&dead), "bad");
    assert_eq!(
        attribute(&dead, "dead-letter-reason"),
        Some("no such order")
    );
    assert_eq!(attribute(&dead, "dead-letter-queue"), Some(QUEUE));
    assert_eq!(attribute(&dead, "dead-letter-attempts"), Some("1"));
    assert_eq!(attribute(&dead, "a"), Some("1"));
    assert_eq!(dead.message.dedup_id, None);
    assert_eq!(worker.ack("jobs-dead", &dead).await, Ok(()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_that_limits_attempts_buries_what_nobody_settles() {
    let mut lattice = Lattice::start::<QueueNats>(&[]).await;
    let config = [("queue", QUEUE), ("max_attempts", "2")];
    let worker = lattice.link("worker", "default", &config).await;
    worker.send("", &text("poison")).await.unwrap();
    for attempt in 1..=2 {
        let got = worker.one("").await;
        assert_eq!(got.attempt, attempt);
        let retry = Outcome::Retry(None);
        worker.settle("", &got.receipt, retry).await.unwrap();
    }
    assert_eq!(worker.receive_for("", 1, 500, None).await, Ok(vec![]));
    let dead = worker.one("default-dead").await;
    assert_eq!(body(&dead), "poison");
    assert!(
        attribute(&dead, "dead-letter-reason")
            .unwrap()
            .contains("2 times")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn delayed_messages_come_when_they_are_due() {
    let (_lattice, worker) = start().await;
    let start = Instant::now();
    let id = worker
        .send_later(QUEUE, &text("later"), 1200)
        .await
        .unwrap();
    worker.send(QUEUE, &text("now")).await.unwrap();
    assert_eq!(body(&worker.one(QUEUE).await), "now");
    assert_eq!(worker.depth(QUEUE).await.unwrap().delayed, Some(1));
    assert_eq!(worker.receive_for(QUEUE, 1, 300, None).await, Ok(vec![]));
    let later = worker.one(QUEUE).await;
    assert!(start.elapsed() >= Duration::from_millis(1150));
    assert_eq!(
        (body(&later), later.attempt, &later.id),
        ("later".into(), 1, &id)
    );
    assert_eq!(later.message, text("later"));
    worker
        .until_depth(QUEUE, |depth| depth.delayed == Some(0))
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_id_is_stored_once() {
    let (_lattice, worker) = start().await;
    let message = Message {
        dedup_id: Some("order 7".into()),
        ..text("a")
    };
    let first = worker.send(QUEUE, &message).await.unwrap();
    assert_eq!(worker.send(QUEUE, &message).await, Ok(first));
    let got = worker.receive(QUEUE, 10).await.unwrap();
    assert_eq!(got.len(), 1);
    assert_eq!(got[0].message, message);
}

/// Of a stream that was made elsewhere: a link can say no window that is so short.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_for_longer_than_ids_are_known_is_no_duplicate() {
    let mut lattice = Lattice::start::<QueueNats>(&[]).await;
    let js = async_nats::jetstream::new(lattice.nats.client().await.unwrap());
    let made = js.create_stream(stream::Config {
        name: "queue_default_jobs".into(),
        subjects: vec!["queue_default_jobs.>".into()],
        retention: stream::RetentionPolicy::WorkQueue,
        duplicate_window: Duration::from_secs(2),
        ..stream::Config::default()
    });
    made.await.unwrap();
    let worker = lattice.link("worker", "default", &[("queue", QUEUE)]).await;
    let of = |body: &str| Message {
        dedup_id: Some("order 7".into()),
        ..text(body)
    };
    let begun = Instant::now();
    let sent = worker.send_later(QUEUE, &of("first"), 4000).await;
    sent.unwrap();
    // The id is not known any more then, and is again when the first one comes due.
    tokio::time::sleep_until(begun + Duration::from_millis(3500)).await;
    worker.send(QUEUE, &of("second")).await.unwrap();
    let mut bodies = Vec::new();
    for _ in 0..2 {
        let got = worker.one(QUEUE).await;
        assert_eq!(got.message.dedup_id.as_deref(), Some("order 7"));
        worker.ack(QUEUE, &got).await.unwrap();
        bodies.push(body(&got));
    }
    bodies.sort_unstable();
    assert_eq!(bodies, ["first", "second"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn groups_come_in_order_one_at_a_time() {
    let (_lattice, worker) = start().await;
    let of = |group: &str, body: &str| Message {
        group: Some(group.into()),
        ..text(body)
    };
    for n in 0..5 {
        for group in ["a", "b"] {
            worker
                .send(QUEUE, &of(group, &n.to_string()))
                .await
                .unwrap();
        }
    }
    let mut seen = [Vec::new(), Vec::new()];
    let mut failed = false;
    while seen.iter().map(Vec::len).sum::<usize>() < 10 {
        let got = worker.receive(QUEUE, 10).await.unwrap();
        let groups: Vec<_> = got.iter().map(|d| d.message.group.clone()).collect();
        assert!(!got.is_empty() && got.len() <= 2, "{groups:?}");
        for delivery in got {
            let of = usize::from(delivery.message.group.as_deref() == Some("b"));
            if body(&delivery) == "2" && !failed {
                // One that comes again comes before those behind it.
                failed = true;
                let retry = Outcome::Retry(Some(100));
                worker
                    .settle(QUEUE, &delivery.receipt, retry)
                    .await
                    .unwrap();
                continue;
            }
            worker.ack(QUEUE, &delivery).await.unwrap();
            seen[of].push(body(&delivery));
        }
    }
    assert_eq!(seen[0], ["0", "1", "2", "3", "4"]);
    assert_eq!(seen[1], ["0", "1", "2", "3", "4"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_that_is_full_refuses_and_keeps() {
    let mut lattice = Lattice::start::<QueueNats>(&[]).await;
    let worker = lattice
        .link(
            "worker",
            "default",
            &[("max_messages", "3"), ("max_message_bytes", "1000")],
        )
        .await;
    let messages: Vec<_> = (0..5).map(|n| text(n.to_string())).collect();
    let sent = worker.send_many("", &messages).await.unwrap();
    assert!(sent[..3].iter().all(Result::is_ok), "{sent:?}");
    assert!(matches!(sent[3], Err(Error::Full(_))), "{sent:?}");
    let large = worker.send("", &text("x".repeat(2000))).await;
    assert!(
        matches!(large, Err(Error::TooLarge(n)) if n <= 1000),
        "{large:?}"
    );
    let got = worker.receive("", 10).await.unwrap();
    assert_eq!(got.iter().map(body).collect::<Vec<_>>(), ["0", "1", "2"]);
    worker.ack("", &got[0]).await.unwrap();
    assert!(worker.send("", &text("room")).await.is_ok());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_too_large_for_the_server_is_refused_by_size() {
    let (_lattice, worker) = start().await;
    let most = 1 << 20;
    let large = worker.send(QUEUE, &text("x".repeat(most + 1))).await;
    let Err(Error::TooLarge(room)) = large else {
        panic!("{large:?}");
    };
    let fits = text("x".repeat(usize::try_from(room).unwrap()));
    assert!(worker.send(QUEUE, &fits).await.is_ok());
    assert_eq!(worker.one(QUEUE).await.message, fits);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_just_fits_can_be_moved_and_rejected() {
    let mut lattice = Lattice::start::<QueueNats>(&[]).await;
    for (name, most) in [
        ("large", None),
        ("small", Some(("max_message_bytes", "1000"))),
    ] {
        let config: Vec<_> = most.into_iter().chain([("queue", name)]).collect();
        let worker = lattice.link("worker", name, &config).await;
        let large = worker.send_later("", &text("x".repeat(1 << 20)), 50).await;
        let Err(Error::TooLarge(room)) = large else {
            panic!("{large:?}");
        };
        let fits = text("x".repeat(usize::try_from(room).unwrap()));
        worker.send_later("", &fits, 50).await.unwrap();
        let moved = worker.one("").await;
        assert_eq!(moved.message, fits);
        worker.ack("", &moved).await.unwrap();
        let Err(Error::TooLarge(room)) = worker.send("", &text("x".repeat(1 << 20))).await else {
            panic!("it fits");
        };
        let fits = text("x".repeat(usize::try_from(room).unwrap()));
        worker.send("", &fits).await.unwrap();
        let reject = Outcome::Reject("ü".repeat(1000));
        let got = worker.one("").await;
        assert_eq!(worker.settle("", &got.receipt, reject).await, Ok(()));
        let dead = worker.one("default-dead").await;
        assert_eq!(dead.message.body, fits.body);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn queues_are_created_as_the_link_says() {
    let mut lattice = Lattice::start::<QueueNats>(&[]).await;
    let own = lattice.link("worker", "default", &[]).await;
    assert!(own.send("default", &text("a")).await.is_ok());
    assert_eq!(own.send("other", &text("a")).await, Err(Error::NoSuchQueue));
    assert_eq!(own.receive("other", 1).await, Err(Error::NoSuchQueue));
    lattice
        .put(
            "strict",
            "default",
            &[("create", "false"), ("queue", "none")],
        )
        .await;
    let report = lattice.report_of(LinkState::Failed).await;
    let why = format!("{report:?}");
    assert!(why.contains("there is no queue `none`"), "{why}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receipt_is_of_its_link_and_queue() {
    let (mut lattice, worker) = start().await;
    let other = lattice
        .link("other", "default", &[("queue", QUEUE), ("create", "true")])
        .await;
    worker.send(QUEUE, &text("mine")).await.unwrap();
    let got = worker.one(QUEUE).await;
    let theirs = other.ack(QUEUE, &got).await;
    assert!(matches!(theirs, Err(Error::Invalid(_))), "{theirs:?}");
    let elsewhere = worker.ack("more", &got).await;
    assert!(matches!(elsewhere, Err(Error::Invalid(_))), "{elsewhere:?}");
    for made_up in ["", "x", &got.receipt[1..], &format!("{}A", got.receipt)] {
        let refused = worker.settle(QUEUE, made_up, Outcome::Ack).await;
        assert!(
            matches!(refused, Err(Error::Invalid(_) | Error::ReceiptExpired)),
            "{refused:?}"
        );
    }
    assert_eq!(worker.ack(QUEUE, &got).await, Ok(()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_copies_settle_for_each_other() {
    let (mut lattice, worker) = start().await;
    lattice.run_another::<QueueNats>().await;
    let messages: Vec<_> = (0..40).map(|n| text(n.to_string())).collect();
    worker.send_many(QUEUE, &messages).await.unwrap();
    let mut left = 40;
    while left > 0 {
        let got = worker.receive(QUEUE, 4).await.unwrap();
        for delivery in got {
            assert_eq!(delivery.attempt, 1);
            let extended = worker.extend(QUEUE, &delivery.receipt, 20_000).await;
            assert_eq!(extended, Ok(()));
            assert_eq!(worker.ack(QUEUE, &delivery).await, Ok(()));
            left -= 1;
        }
    }
    let depth = worker.depth(QUEUE).await.unwrap();
    assert_eq!((depth.ready, depth.leased), (0, Some(0)));
}

/// JetStream does not tell what has come back from what somebody has.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_has_come_back_counts_as_leased_until_it_is_received() {
    let (_lattice, worker) = start().await;
    for n in 0..2 {
        worker.send(QUEUE, &text(n.to_string())).await.unwrap();
    }
    let got = worker
        .receive_for(QUEUE, 2, 1000, Some(2000))
        .await
        .unwrap();
    let retry = Outcome::Retry(Some(60_000));
    let settled = worker.settle(QUEUE, &got[0].receipt, retry).await;
    assert_eq!(settled, Ok(()));
    tokio::time::sleep(Duration::from_millis(2500)).await;
    let depth = worker.depth(QUEUE).await.unwrap();
    assert_eq!(
        (depth.ready, depth.leased, depth.delayed),
        (0, Some(2), Some(0))
    );
    assert_eq!(body(&worker.one(QUEUE).await), "1");
}

/// Whoever listens keeps the server from saying that nobody took a message.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[expect(
    clippy::disallowed_methods,
    reason = "stands in for who watches on the same NATS"
)]
async fn a_queue_that_went_is_made_again_though_somebody_watches_it() {
    let (lattice, worker) = start().await;
    let client = lattice.nats.client().await.unwrap();
    let _watching = client.subscribe("queue_default_jobs.>").await.unwrap();
    client.flush().await.unwrap();
    let js = async_nats::jetstream::new(client);
    js.delete_stream("queue_default_jobs").await.unwrap();
    // The first may fail, unless the provider has noticed by itself.
    let sent = async { while worker.send(QUEUE, &text("1")).await.is_err() {} };
    let within = Duration::from_secs(20);
    tokio::time::timeout(within, sent).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_workers_never_have_the_same_message() {
    let (_lattice, worker) = start().await;
    let count = 300;
    let messages: Vec<_> = (0..count).map(|n| text(n.to_string())).collect();
    worker.send_many(QUEUE, &messages).await.unwrap();
    let work = async |worker: Component| {
        let mut seen = Vec::new();
        loop {
            let got = worker.receive_for(QUEUE, 7, 300, None).await.unwrap();
            if got.is_empty() {
                return seen;
            }
            for delivery in got {
                seen.push(body(&delivery));
                worker.ack(QUEUE, &delivery).await.unwrap();
            }
        }
    };
    let (a, b) = tokio::join!(work(worker.clone()), work(worker.clone()));
    let mut all: Vec<_> = a.into_iter().chain(b).collect();
    all.sort_by_key(|body| body.parse::<u32>().unwrap());
    let expected: Vec<_> = (0..count).map(|n| n.to_string()).collect();
    assert_eq!(all, expected);
}
