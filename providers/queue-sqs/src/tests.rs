//! Against moto, which speaks the protocol of SQS.

use std::sync::Arc;
use std::time::Duration;

use lattice_provider_sdk::queue::{
    DEAD_LETTER_ATTEMPTS, DEAD_LETTER_REASON, DEAD_LETTER_SIZE, Delivery, Message, Outcome,
    QueueError, Queues, ReceiveOptions,
};
use lattice_provider_sdk::{Settings, Sharing};
use lattice_services::{Kind, Service};
use serde_json::json;
use tokio::time::Instant;

use crate::backend::SqsQueues;
use crate::client::{Again, Sqs};
use crate::settings::{LinkSettings, SqsSettings};

const LEASE: Duration = Duration::from_secs(30);

struct Moto {
    queues: SqsQueues,
    service: Service,
}

fn read(url: &str, values: &[(&str, &str)]) -> (SqsSettings, LinkSettings) {
    let own = [
        ("endpoint", url),
        ("access_key_id", "id"),
        ("secret_access_key", "s3cr3t"),
    ];
    let texts = own.into_iter().chain(values.iter().copied());
    let settings = Settings::from_texts(texts, []);
    let service = SqsSettings::read(&settings, |_| None).unwrap();
    let link = LinkSettings::read(&settings, &service).unwrap();
    (service, link)
}

async fn queues(url: &str, values: &[(&str, &str)]) -> SqsQueues {
    let (service, link) = read(url, values);
    let sharing = Sharing::new();
    let make = || async { Sqs::new(service.clone()).map(Arc::new) };
    let sqs = sharing.get(&service, make).await.unwrap();
    SqsQueues::new(sqs, link)
}

async fn moto(values: &[(&str, &str)]) -> Moto {
    let service = Service::start(Kind::Moto).await.unwrap();
    let queues = queues(&service.url(), values).await;
    Moto { queues, service }
}

fn message(body: impl AsRef<[u8]>) -> Message {
    Message {
        body: body.as_ref().to_vec().into(),
        content_type: None,
        attributes: Vec::new(),
        dedup_id: None,
        group: None,
    }
}

impl Moto {
    async fn receive(&self, queue: &str, max: usize, wait: u64, lease: Duration) -> Vec<Delivery> {
        let want = ReceiveOptions {
            max,
            wait: Duration::from_millis(wait),
            lease,
        };
        self.queues.receive(queue, want).await.unwrap()
    }

    async fn one(&self, queue: &str) -> Delivery {
        let mut got = self.receive(queue, 1, 5000, LEASE).await;
        assert_eq!(got.len(), 1);
        got.remove(0)
    }

    async fn send(&self, queue: &str, message: Message) -> String {
        let sent = self.queues.send(queue, message, Duration::ZERO).await;
        sent.unwrap()
    }
}

#[tokio::test]
async fn what_is_sent_comes_until_it_is_acknowledged() {
    let moto = moto(&[]).await;
    moto.queues.open_own().await.unwrap();
    assert!(moto.receive("default", 10, 0, LEASE).await.is_empty());
    let sent = Message {
        content_type: Some("image/png".to_owned()),
        attributes: (0..20)
            .map(|n| (format!("a{n:02}"), n.to_string()))
            .collect(),
        ..message([0, 1, 255])
    };
    let id = moto.send("default", sent.clone()).await;
    let first = moto.one("default").await;
    assert_eq!((first.id.as_str(), first.attempt), (id.as_str(), 1));
    assert_eq!(first.message, sent);
    assert_eq!(first.lease_ms, 30_000);
    assert!(first.enqueued_at_ms > 1_600_000_000_000);
    assert!(moto.receive("default", 10, 0, LEASE).await.is_empty());
    let retry = moto
        .queues
        .settle("default", &first.receipt, Outcome::Retry(None));
    retry.await.unwrap();
    let second = moto.one("default").await;
    assert_eq!(second.attempt, 2);
    for expected in [Ok(()), Err(QueueError::ReceiptExpired)] {
        let acked = moto
            .queues
            .settle("default", &second.receipt, Outcome::Ack)
            .await;
        assert_eq!(acked, expected);
    }
    let depth = moto.queues.depth("default").await.unwrap();
    assert_eq!(
        (depth.ready, depth.leased, depth.dead),
        (0, Some(0), Some(0))
    );
}

#[tokio::test]
async fn leases_end_and_can_be_extended() {
    let moto = moto(&[]).await;
    for body in ["a", "b"] {
        moto.send("default", message(body)).await;
    }
    let second = Duration::from_secs(1);
    let got = moto.receive("default", 2, 1000, second).await;
    assert_eq!(got.len(), 2);
    let extended = moto.queues.extend("default", &got[0].receipt, LEASE).await;
    assert_eq!(extended, Ok(()));
    // Only the one that was not extended comes again.
    let again = moto.receive("default", 2, 5000, LEASE).await;
    assert_eq!(again.len(), 1);
    assert_eq!(again[0].id, got[1].id);
    let late = moto
        .queues
        .settle("default", &got[1].receipt, Outcome::Ack)
        .await;
    assert_eq!(late, Err(QueueError::ReceiptExpired));
    let late = moto.queues.extend("default", &got[1].receipt, LEASE).await;
    assert_eq!(late, Err(QueueError::ReceiptExpired));
    for delivery in [&got[0], &again[0]] {
        let acked = moto
            .queues
            .settle("default", &delivery.receipt, Outcome::Ack)
            .await;
        assert_eq!(acked, Ok(()));
    }
    assert!(moto.receive("default", 2, 1500, LEASE).await.is_empty());
}

#[tokio::test]
async fn another_copy_settles_what_one_gave_that_has_ended() {
    let moto = moto(&[]).await;
    let other = queues(&moto.service.url(), &[]).await;
    for body in ["a", "b"] {
        moto.send("default", message(body)).await;
    }
    let got = moto.receive("default", 2, 1000, LEASE).await;
    let acked = other.settle("default", &got[0].receipt, Outcome::Ack).await;
    assert_eq!(acked, Ok(()));
    let reject = Outcome::Reject("no".to_owned());
    let rejected = other.settle("default", &got[1].receipt, reject).await;
    assert!(matches!(rejected, Err(QueueError::Other(why)) if why.contains("has ended")));
    let depth = other.depth("default").await.unwrap();
    assert_eq!((depth.ready, depth.leased), (0, Some(1)));
}

#[tokio::test]
async fn rejected_messages_are_kept_with_the_reason() {
    let moto = moto(&[("queue", "jobs")]).await;
    moto.send("jobs", message("bad")).await;
    let got = moto.one("jobs").await;
    let reject = Outcome::Reject("it is bad".to_owned());
    moto.queues
        .settle("jobs", &got.receipt, reject)
        .await
        .unwrap();
    let depth = moto.queues.depth("jobs").await.unwrap();
    assert_eq!(
        (depth.ready, depth.leased, depth.dead),
        (0, Some(0), Some(1))
    );
    let dead = moto.one("jobs-dead").await;
    assert_eq!(dead.message.body, "bad");
    let attributes = &dead.message.attributes;
    for (name, value) in [
        (DEAD_LETTER_REASON, "it is bad"),
        (DEAD_LETTER_ATTEMPTS, "1"),
    ] {
        assert!(attributes.contains(&(name.to_owned(), value.to_owned())));
    }
}

#[tokio::test]
async fn a_dead_letter_queue_is_known() {
    for config in [
        [("queue", "grave"), ("dead_letter", "grave")],
        // Two names of the same one: dead letters have no groups.
        [("queue", "grave"), ("dead_letter", "grave.fifo")],
    ] {
        let moto = moto(&config).await;
        assert!(moto.queues.is_dead_letter_queue("grave"));
        assert!(!moto.queues.is_dead_letter_queue("jobs"));
    }
}

#[tokio::test]
async fn the_largest_message_can_be_rejected() {
    let moto = moto(&[]).await;
    let (most, zero) = (258_048, Duration::ZERO);
    let larger = message(vec![b'x'; most + 1]);
    let refused = moto.queues.send("default", larger, zero).await;
    assert_eq!(refused, Err(QueueError::TooLarge(most as u64)));
    let largest = message(vec![b'x'; most]);
    moto.send("default", largest.clone()).await;
    let got = moto.one("default").await;
    let reject = Outcome::Reject("\"".repeat(2000));
    let rejected = moto.queues.settle("default", &got.receipt, reject).await;
    assert_eq!(rejected, Ok(()));
    let dead = moto.one("default-dead").await;
    assert_eq!(dead.message.body, largest.body);
}

/// The link of another program, which sends larger messages.
const LARGE: (&str, &str) = ("max_message_bytes", "1048576");

/// Creates a queue that takes messages of so many bytes.
async fn create(url: &str, queue: &str, most: &str) {
    let sqs = Sqs::new(read(url, &[]).0).unwrap();
    let attributes = json!({"MaximumMessageSize": most});
    let params = json!({"QueueName": queue, "Attributes": attributes});
    let created = sqs.ask("CreateQueue", &params, Again::Safe).await;
    created.unwrap();
}

#[tokio::test]
async fn what_others_send_is_rejected_as_far_as_the_dead_letter_queue_takes_it() {
    let moto = moto(&[]).await;
    let url = moto.service.url();
    for queue in ["default", "default-dead", "jobs"] {
        create(&url, queue, "1048576").await;
    }
    let large = message(vec![b'x'; 300_000]);
    let reject = || Outcome::Reject("it is bad".to_owned());
    let others = queues(&url, &[LARGE]).await;
    let sent = others.send("default", large.clone(), Duration::ZERO).await;
    sent.unwrap();
    let got = moto.one("default").await;
    let rejected = moto.queues.settle("default", &got.receipt, reject()).await;
    assert_eq!(rejected, Ok(()));
    assert_eq!(moto.one("default-dead").await.message.body, large.body);
    // And where that queue takes less.
    let own = [LARGE, ("queue", "jobs")];
    create(&url, "jobs-dead", "1024").await;
    let jobs = queues(&url, &own).await;
    jobs.send("jobs", large, Duration::ZERO).await.unwrap();
    let got = moto.one("jobs").await;
    let rejected = moto.queues.settle("jobs", &got.receipt, reject()).await;
    assert_eq!(rejected, Ok(()));
    let dead = moto.one("jobs-dead").await;
    assert!(dead.message.body.is_empty());
    for (name, value) in [
        (DEAD_LETTER_REASON, "it is bad"),
        (DEAD_LETTER_SIZE, "300000"),
    ] {
        let told = (name.to_owned(), value.to_owned());
        assert!(dead.message.attributes.contains(&told), "{name}");
    }
}

#[tokio::test]
async fn all_that_one_receive_takes_can_be_rejected() {
    let moto = moto(&[]).await;
    let half = Message {
        attributes: vec![("a".to_owned(), "x".repeat(125_000))],
        ..message(vec![b'x'; 125_000])
    };
    let sent = moto.queues.send_many("default", vec![half; 80]).await;
    assert!(sent.unwrap().iter().all(Result::is_ok));
    // Longer than all of this takes on a slow machine.
    let lease = Duration::from_secs(300);
    let got = moto.receive("default", 256, 5000, lease).await;
    let bytes: usize = got.iter().map(|given| given.message.size()).sum();
    assert!((16 << 20..20_000_000).contains(&bytes), "{bytes}");
    let reject = Outcome::Reject("no".to_owned());
    let rejected = moto.queues.settle("default", &got[0].receipt, reject).await;
    assert_eq!(rejected, Ok(()));
}

#[tokio::test]
async fn ten_of_the_largest_come_at_once_also_where_json_makes_them_longer() {
    let moto = moto(&[LARGE]).await;
    create(&moto.service.url(), "default", "1048576").await;
    let quotes = vec![message(vec![b'"'; 1_000_000]); 10];
    let sent = moto.queues.send_many("default", quotes).await.unwrap();
    assert!(sent.iter().all(Result::is_ok));
    let lease = Duration::from_secs(300);
    let got = moto.receive("default", 10, 5000, lease).await;
    assert_eq!(got.len(), 10);
}

#[tokio::test]
async fn many_are_sent_and_received_in_batches() {
    let moto = moto(&[("max_message_bytes", "1024")]).await;
    let mut messages: Vec<_> = (0..23).map(|n| message(n.to_string())).collect();
    messages[7] = message(vec![b'x'; 2000]);
    let sent = moto.queues.send_many("default", messages).await.unwrap();
    assert_eq!(sent.len(), 23);
    assert_eq!(sent[7], Err(QueueError::TooLarge(1024)));
    assert_eq!(sent.iter().filter(|sent| sent.is_ok()).count(), 22);
    let got = moto.receive("default", 256, 1000, LEASE).await;
    assert_eq!(got.len(), 22);
    let depth = moto.queues.depth("default").await.unwrap();
    assert_eq!((depth.ready, depth.leased), (0, Some(22)));
}

#[tokio::test]
async fn delays_are_waited_for_and_too_long_ones_refused() {
    let moto = moto(&[]).await;
    let sent = Instant::now();
    let delay = Duration::from_millis(1500);
    moto.queues
        .send("default", message("later"), delay)
        .await
        .unwrap();
    assert!(moto.receive("default", 1, 0, LEASE).await.is_empty());
    assert_eq!(moto.queues.depth("default").await.unwrap().delayed, Some(1));
    let got = moto.one("default").await;
    assert_eq!(got.message.body, "later");
    assert!(sent.elapsed() >= delay);
    let long = Duration::from_secs(901);
    let refused = moto.queues.send("default", message("x"), long).await;
    assert!(matches!(refused, Err(QueueError::Unsupported(why)) if why.starts_with("delay")));
}

#[tokio::test]
async fn fifo_queues_keep_groups_in_order_and_ids_once() {
    let moto = moto(&[("fifo", "true")]).await;
    let of_group = |group: &str, body: &str| Message {
        group: Some(group.to_owned()),
        ..message(body)
    };
    for (group, body) in [("a", "a1"), ("a", "a2"), ("größe", "b1")] {
        moto.send("default", of_group(group, body)).await;
    }
    // The second of the group is not among them, although there is room.
    let got = moto.receive("default", 10, 1000, LEASE).await;
    let [first, second] = got.as_slice() else {
        panic!("{got:?}");
    };
    assert_eq!(first.message, of_group("a", "a1"));
    assert_eq!(second.message, of_group("größe", "b1"));
    // The second of the group has to wait for the first.
    assert!(moto.receive("default", 2, 0, LEASE).await.is_empty());
    moto.queues
        .settle("default", &first.receipt, Outcome::Ack)
        .await
        .unwrap();
    assert_eq!(moto.one("default").await.message.body, "a2");

    let named = Message {
        dedup_id: Some("the one".to_owned()),
        ..message("once")
    };
    for _ in 0..2 {
        moto.send("default", named.clone()).await;
    }
    let got = moto.receive("default", 5, 0, LEASE).await;
    assert_eq!(got.len(), 1);
    assert_eq!(got[0].message, named);
    let delayed = moto.queues.send("default", message("x"), LEASE).await;
    assert!(matches!(delayed, Err(QueueError::Unsupported(why)) if why.starts_with("delay")));
    let reject = Outcome::Reject("no".to_owned());
    moto.queues
        .settle("default", &got[0].receipt, reject)
        .await
        .unwrap();
    assert_eq!(moto.one("default-dead").await.message.body, "once");
}

#[tokio::test]
async fn queues_that_are_not_there_are_created_only_when_the_link_says_so() {
    let moto = moto(&[("queue", "own")]).await;
    let sent = moto
        .queues
        .send("other", message("x"), Duration::ZERO)
        .await;
    assert_eq!(sent, Err(QueueError::NoSuchQueue));
    let want = ReceiveOptions {
        max: 1,
        wait: Duration::ZERO,
        lease: LEASE,
    };
    let got = moto.queues.receive("other", want).await;
    assert_eq!(got, Err(QueueError::NoSuchQueue));
    let creating = queues(&moto.service.url(), &[("create", "true")]).await;
    creating
        .send("other", message("x"), Duration::ZERO)
        .await
        .unwrap();
    assert_eq!(moto.one("other").await.message.body, "x");
    let strict = queues(
        &moto.service.url(),
        &[("create", "false"), ("queue", "new")],
    )
    .await;
    let error = strict.open_own().await.unwrap_err().to_string();
    assert!(
        error.contains("QueueDoesNotExist") || error.contains("NonExistentQueue"),
        "{error}"
    );
}

#[tokio::test]
async fn a_service_that_is_away_is_an_error_at_once() {
    let mut moto = moto(&[("response_timeout_ms", "2000")]).await;
    moto.send("default", message("x")).await;
    let begun = Instant::now();
    moto.service.kill();
    let away = moto
        .queues
        .send("default", message("x"), Duration::ZERO)
        .await;
    let Err(QueueError::Unavailable(why)) = away else {
        panic!("{away:?}");
    };
    assert!(why.contains(&moto.service.port().to_string()), "{why}");
    assert!(begun.elapsed() < Duration::from_secs(8));
    moto.service.start_again().await.unwrap();
    // Its memory is gone, and the queue is made again.
    let sent = moto
        .queues
        .send("default", message("x"), Duration::ZERO)
        .await;
    assert_eq!(sent, Err(QueueError::NoSuchQueue));
    moto.send("default", message("x")).await;
    moto.service.freeze().unwrap();
    let silent = moto.queues.depth("default").await;
    moto.service.thaw().unwrap();
    assert!(matches!(silent, Err(QueueError::Unavailable(why)) if why.contains("did not answer")));
}
