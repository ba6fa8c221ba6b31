//! Against Azurite.

use std::time::Duration;

use bytes::Bytes;
use http::Method;
use http::header::CONTENT_TYPE;
use lattice_azure::AzureRequest;
use lattice_provider_sdk::queue::{
    DEAD_LETTER_ATTEMPTS, DEAD_LETTER_REASON, DEAD_LETTER_SIZE, Delivery, Message, Outcome,
    QueueError, Queues, ReceiveOptions,
};
use lattice_provider_sdk::{Settings, Sharing};
use lattice_services::{Kind, Service};
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::backend::{AzureQueues, open};
use crate::settings::{AzureSettings, LinkSettings};

const LEASE: Duration = Duration::from_secs(30);

struct Azurite {
    queues: AzureQueues,
    service: Service,
}

fn read(service: &Service, values: &[(&str, &str)]) -> (AzureSettings, LinkSettings) {
    let url = format!("http://127.0.0.1:{}", service.ports()[1]);
    let own = [
        ("endpoint", url.as_str()),
        ("STORAGE_ACCOUNT", "devstoreaccount1"),
    ];
    let texts = own.into_iter().chain(values.iter().copied());
    let settings = Settings::from_texts(texts, []);
    let account = AzureSettings::read(&settings, |_| None).unwrap();
    let link = LinkSettings::read(&settings, &account).unwrap();
    (account, link)
}

async fn queues(service: &Service, values: &[(&str, &str)]) -> AzureQueues {
    let (account, link) = read(service, values);
    let sharing = Sharing::new();
    let make = || async { open(account.clone()) };
    AzureQueues::new(sharing.get(&account, make).await.unwrap(), link)
}

/// Its queues are there a moment after its blobs.
async fn until_there(service: &Service) {
    let port = service.ports()[1];
    let there = async { while TcpStream::connect(("127.0.0.1", port)).await.is_err() {} };
    let there = tokio::time::timeout(LEASE, there).await;
    there.unwrap();
}

async fn azurite(values: &[(&str, &str)]) -> Azurite {
    let service = Service::start(Kind::Azurite).await.unwrap();
    until_there(&service).await;
    let queues = queues(&service, values).await;
    Azurite { queues, service }
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

impl Azurite {
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

    async fn settle(&self, queue: &str, of: &Delivery, how: Outcome) -> Result<(), QueueError> {
        self.queues.settle(queue, &of.receipt, how).await
    }
}

#[tokio::test]
async fn what_is_sent_comes_until_it_is_acknowledged() {
    let azurite = azurite(&[]).await;
    azurite.queues.open_own().await.unwrap();
    assert!(azurite.receive("default", 10, 0, LEASE).await.is_empty());
    let sent = Message {
        content_type: Some("image/png".to_owned()),
        attributes: vec![("a".to_owned(), "ü<&>".to_owned())],
        ..message([0, 1, 255])
    };
    let id = azurite.send("default", sent.clone()).await;
    let first = azurite.one("default").await;
    assert_eq!((first.id.as_str(), first.attempt), (id.as_str(), 1));
    assert_eq!(first.message, sent);
    assert_eq!(first.lease_ms, 30_000);
    assert!(first.enqueued_at_ms > 1_600_000_000_000);
    assert!(azurite.receive("default", 10, 0, LEASE).await.is_empty());
    let retried = azurite
        .settle("default", &first, Outcome::Retry(None))
        .await;
    assert_eq!(retried, Ok(()));
    let second = azurite.one("default").await;
    assert_eq!(second.attempt, 2);
    let late = azurite.settle("default", &first, Outcome::Ack).await;
    assert_eq!(late, Err(QueueError::ReceiptExpired));
    for expected in [Ok(()), Err(QueueError::ReceiptExpired)] {
        let acked = azurite.settle("default", &second, Outcome::Ack).await;
        assert_eq!(acked, expected);
    }
    let depth = azurite.queues.depth("default").await.unwrap();
    assert_eq!((depth.ready, depth.leased, depth.dead), (0, None, Some(0)));
}

#[tokio::test]
async fn leases_end_and_can_be_extended() {
    let azurite = azurite(&[]).await;
    for body in ["a", "b"] {
        azurite.send("default", message(body)).await;
    }
    let second = Duration::from_secs(1);
    let got = azurite.receive("default", 2, 1000, second).await;
    assert_eq!(got.len(), 2);
    for _ in 0..2 {
        let extended = azurite
            .queues
            .extend("default", &got[0].receipt, LEASE)
            .await;
        assert_eq!(extended, Ok(()));
    }
    // Only the one that was not extended comes again.
    let again = azurite.receive("default", 2, 5000, LEASE).await;
    assert_eq!(again.len(), 1);
    assert_eq!(again[0].id, got[1].id);
    let late = azurite.settle("default", &got[1], Outcome::Ack).await;
    assert_eq!(late, Err(QueueError::ReceiptExpired));
    let late = azurite
        .queues
        .extend("default", &got[1].receipt, LEASE)
        .await;
    assert_eq!(late, Err(QueueError::ReceiptExpired));
    for delivery in [&got[0], &again[0]] {
        let acked = azurite.settle("default", delivery, Outcome::Ack).await;
        assert_eq!(acked, Ok(()));
    }
    assert!(azurite.receive("default", 2, 1500, LEASE).await.is_empty());
}

#[tokio::test]
async fn text_is_kept_as_it_is_where_the_link_says_so() {
    let azurite = azurite(&[("encoding", "text")]).await;
    let auto = queues(&azurite.service, &[]).await;
    let want = ReceiveOptions {
        max: 1,
        wait: LEASE,
        lease: LEASE,
    };
    for (body, seen) in [("ping", &[0xa6, 0x29, 0xe0][..]), ("<ü> &\n x", b"")] {
        for _ in 0..2 {
            azurite.send("default", message(body)).await;
        }
        assert_eq!(azurite.one("default").await.message.body, body);
        // What is no base64 is the same to both.
        let seen = if seen.is_empty() {
            body.as_bytes()
        } else {
            seen
        };
        let got = auto.receive("default", want).await.unwrap();
        assert_eq!(got[0].message.body, seen);
    }
    for body in [&b""[..], b" a\r\n", b"\0", b"\xff"] {
        azurite.send("default", message(body)).await;
        assert_eq!(azurite.one("default").await.message.body, body);
    }
}

#[tokio::test]
async fn another_copy_settles_what_one_gave_that_has_ended() {
    let azurite = azurite(&[]).await;
    let other = queues(&azurite.service, &[]).await;
    for body in ["a", "b"] {
        azurite.send("default", message(body)).await;
    }
    let got = azurite.receive("default", 2, 1000, LEASE).await;
    let acked = other.settle("default", &got[0].receipt, Outcome::Ack).await;
    assert_eq!(acked, Ok(()));
    let reject = Outcome::Reject("no".to_owned());
    let rejected = other.settle("default", &got[1].receipt, reject).await;
    assert!(matches!(rejected, Err(QueueError::Other(why)) if why.contains("has ended")));
    assert_eq!(other.depth("default").await.unwrap().ready, 1);
}

#[tokio::test]
async fn rejected_messages_are_kept_with_the_reason() {
    let azurite = azurite(&[("queue", "jobs")]).await;
    azurite.send("jobs", message("bad")).await;
    let got = azurite.one("jobs").await;
    let reject = Outcome::Reject("it is bad".to_owned());
    azurite.settle("jobs", &got, reject).await.unwrap();
    let depth = azurite.queues.depth("jobs").await.unwrap();
    assert_eq!((depth.ready, depth.dead), (0, Some(1)));
    let dead = azurite.one("jobs-dead").await;
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
async fn what_is_too_large_as_a_dead_letter_becomes_one_without_its_body() {
    let azurite = azurite(&[]).await;
    azurite.queues.open_own().await.unwrap();
    // As another program sends it: as base64 it is larger than what Azure takes.
    let body = "a b ".repeat(15_000);
    let azure = open(read(&azurite.service, &[]).0).unwrap();
    let mut asked = AzureRequest::new("send the message", Method::POST, "/default/messages");
    asked.headers = vec![(CONTENT_TYPE, "application/xml".to_owned())];
    let text = format!("<QueueMessage><MessageText>{body}x</MessageText></QueueMessage>");
    asked.body = Bytes::from(text);
    azure.ask(&asked).await.unwrap();
    let got = azurite.one("default").await;
    assert_eq!(got.message.body.len(), 60_001);
    let reject = Outcome::Reject("it is bad".to_owned());
    assert_eq!(azurite.settle("default", &got, reject).await, Ok(()));
    let dead = azurite.one("default-dead").await;
    assert!(dead.message.body.is_empty());
    for (name, value) in [
        (DEAD_LETTER_REASON, "it is bad"),
        (DEAD_LETTER_SIZE, "60001"),
    ] {
        let told = (name.to_owned(), value.to_owned());
        assert!(dead.message.attributes.contains(&told), "{name}");
    }
}

#[tokio::test]
async fn a_dead_letter_queue_is_known() {
    let azurite = azurite(&[("queue", "grave"), ("dead_letter", "grave")]).await;
    assert!(azurite.queues.is_dead_letter_queue("grave"));
    assert!(!azurite.queues.is_dead_letter_queue("jobs"));
}

#[tokio::test]
async fn many_are_received_and_delays_are_waited_for() {
    let azurite = azurite(&[]).await;
    let messages: Vec<_> = (0..70).map(|n| message(n.to_string())).collect();
    let sent = azurite.queues.send_many("default", messages).await.unwrap();
    assert!(sent.iter().all(Result::is_ok));
    assert_eq!(azurite.receive("default", 65, 1000, LEASE).await.len(), 65);
    assert_eq!(azurite.receive("default", 256, 1000, LEASE).await.len(), 5);
    let sent = Instant::now();
    let delay = Duration::from_millis(1500);
    let later = azurite
        .queues
        .send("default", message("later"), delay)
        .await;
    later.unwrap();
    let got = azurite.one("default").await;
    assert_eq!(got.message.body, "later");
    assert!(sent.elapsed() >= delay);
}

#[tokio::test]
async fn the_largest_message_can_be_rejected() {
    let azurite = azurite(&[]).await;
    let large = message(vec![0; 45 << 10]);
    azurite.send("default", large.clone()).await;
    let got = azurite.one("default").await;
    assert_eq!(got.message, large);
    let reject = Outcome::Reject("\"".repeat(2000));
    assert_eq!(azurite.settle("default", &got, reject).await, Ok(()));
    let dead = azurite.one("default-dead").await;
    assert_eq!(dead.message.body, large.body);
}

#[tokio::test]
async fn queues_that_are_not_there_are_created_only_when_the_link_says_so() {
    let azurite = azurite(&[("queue", "own")]).await;
    let sent = azurite
        .queues
        .send("other", message("x"), Duration::ZERO)
        .await;
    assert_eq!(sent, Err(QueueError::NoSuchQueue));
    let want = ReceiveOptions {
        max: 1,
        wait: Duration::ZERO,
        lease: LEASE,
    };
    let got = azurite.queues.receive("other", want).await;
    assert_eq!(got, Err(QueueError::NoSuchQueue));
    assert_eq!(
        azurite.queues.depth("other").await,
        Err(QueueError::NoSuchQueue)
    );
    let creating = queues(&azurite.service, &[("create", "true")]).await;
    let sent = creating.send("other", message("x"), Duration::ZERO).await;
    sent.unwrap();
    assert_eq!(azurite.one("other").await.message.body, "x");
    let strict = queues(&azurite.service, &[("create", "false"), ("queue", "new")]).await;
    let error = strict.open_own().await.unwrap_err().to_string();
    assert!(error.contains("QueueNotFound"), "{error}");
}

#[tokio::test]
async fn a_service_that_is_away_is_an_error_at_once() {
    let mut azurite = azurite(&[("response_timeout_ms", "2000")]).await;
    azurite.send("default", message("x")).await;
    let begun = Instant::now();
    azurite.service.freeze().unwrap();
    let silent = azurite.queues.depth("default").await;
    azurite.service.thaw().unwrap();
    assert!(matches!(silent, Err(QueueError::Unavailable(why)) if why.contains("did not answer")));
    azurite.service.kill();
    let away = azurite
        .queues
        .send("default", message("x"), Duration::ZERO)
        .await;
    let Err(QueueError::Unavailable(why)) = away else {
        panic!("{away:?}");
    };
    assert!(
        why.contains(&azurite.service.ports()[1].to_string()),
        "{why}"
    );
    assert!(begun.elapsed() < Duration::from_secs(8));
    azurite.service.start_again().await.unwrap();
    until_there(&azurite.service).await;
    azurite.send("default", message("x")).await;
}
