//! Messages by Kafka's protocol, with the brokers that the client library brings for tests.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../../messaging-nats/tests/support/mod.rs"]
mod support;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use lattice_nats_box::free_port;
use messaging_kafka::MessagingKafka;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{Consumer as _, StreamConsumer};
use rdkafka::message::{Headers as _, Message as _, OwnedMessage};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{DefaultProducerContext, FutureProducer, FutureRecord};
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use support::{Lattice, PATIENCE, Said};
use tokio::time::Instant as WallClock;

type Brokers = MockCluster<'static, DefaultProducerContext>;

async fn start() -> (Lattice, Brokers, String) {
    let brokers = MockCluster::new(1).unwrap();
    let hosts = brokers.bootstrap_servers();
    (Lattice::start::<MessagingKafka>().await, brokers, hosts)
}

/// The first message of a topic.
async fn first_of(hosts: &str, topic: &str) -> OwnedMessage {
    let consumer: StreamConsumer = ClientConfig::new()
        .set("bootstrap.servers", hosts)
        .set("group.id", "undertaker")
        .set("auto.offset.reset", "earliest")
        .create()
        .unwrap();
    consumer.subscribe(&[topic]).unwrap();
    let message = tokio::time::timeout(PATIENCE, consumer.recv()).await;
    message.unwrap().unwrap().detach()
}

#[tokio::test]
async fn what_is_published_arrives_with_its_key() {
    let (mut lattice, brokers, hosts) = start().await;
    brokers.create_topic("orders", 4, 1).unwrap();
    let mut heard = lattice.handler("listener", |_| Said::Done).await;
    let config = [
        ("hosts", &*hosts),
        ("subscriptions", "orders"),
        ("keys_in_subject", "true"),
    ];
    lattice.source("listener", &config).await;
    lattice.ready().await;
    let publisher = lattice.target("publisher", &[("hosts", &hosts)]).await;
    lattice.ready().await;
    publisher.publish("orders#one", b"").await.unwrap();
    let message = heard.next().await;
    assert_eq!((&*message.subject, message.body.len()), ("orders#one", 0));
    assert_eq!(message.reply_to.as_deref(), Some("orders.reply"));
    let whole = vec![7; 1024 * 1024];
    let sent = publisher.publish_with("orders", &whole, Some("answers"));
    sent.await.unwrap();
    let message = heard.next().await;
    assert_eq!(message.body, whole);
    assert_eq!(message.reply_to.as_deref(), Some("answers"));
}

#[tokio::test]
async fn a_handler_answers_a_request_through_the_consumer() {
    let (mut lattice, _brokers, hosts) = start().await;
    let answerer = lattice.target("answerer", &[("hosts", &hosts)]).await;
    lattice.ready().await;
    let say = move |message: &support::Message| match message.text() {
        "?" => Said::Answer(answerer.clone(), "pong".into()),
        _ => Said::Done,
    };
    let _heard = lattice.handler("answerer", say).await;
    let config = [("hosts", &*hosts), ("subscriptions", "ping")];
    lattice.source("answerer", &config).await;
    lattice.ready().await;
    let asker = lattice.target("asker", &[("hosts", &hosts)]).await;
    lattice.ready().await;
    let answer = asker.request("ping", b"?", 20_000).await.unwrap();
    assert_eq!(answer.text(), "pong");
    let error = asker.request("ping", b"!", 300).await.unwrap_err();
    assert_eq!(error, "nobody answered on `ping` within 300ms");
}

#[tokio::test]
async fn a_partition_keeps_its_order_whatever_fails() {
    let (mut lattice, brokers, hosts) = start().await;
    brokers.create_topic("orders", 3, 1).unwrap();
    let count = AtomicUsize::new(0);
    let say = move |_: &_| match count.fetch_add(1, Ordering::SeqCst) % 5 {
        0 => Said::Error("not yet"),
        1 => Said::After(Duration::from_millis(5)),
        _ => Said::Done,
    };
    let mut heard = lattice.handler("listener", say).await;
    let config = [
        ("hosts", &*hosts),
        ("subscriptions", "orders"),
        ("backoff", "5"),
        ("max_deliver", "20"),
        ("keys_in_subject", "true"),
    ];
    lattice.source("listener", &config).await;
    lattice.ready().await;
    let publisher = lattice.target("publisher", &[("hosts", &hosts)]).await;
    lattice.ready().await;
    // More of one key than may wait in front of the handler.
    let keys = ["a", "b", "c"];
    for number in 0..100 {
        for key in keys {
            let (subject, body) = (format!("orders#{key}"), number.to_string());
            publisher.publish(&subject, body.as_bytes()).await.unwrap();
        }
    }
    let mut next: HashMap<String, u32> = HashMap::new();
    while next.values().sum::<u32>() < 300 {
        let message = heard.next().await;
        let number: u32 = message.text().parse().unwrap();
        let expected = next.entry(message.subject.clone()).or_default();
        assert!(
            number == *expected || number + 1 == *expected,
            "{message:?}"
        );
        *expected = (*expected).max(number + 1);
    }
}

#[tokio::test]
async fn what_fails_is_tried_again_and_then_is_a_dead_letter() {
    let (mut lattice, _brokers, hosts) = start().await;
    let say = |message: &support::Message| match message.text() {
        "poison" => Said::Trap("wasm trap: unreachable"),
        _ => Said::Done,
    };
    let mut heard = lattice.handler("cart", say).await;
    let config = [
        ("hosts", &*hosts),
        ("topic", "carts"),
        ("max_deliver", "3"),
        ("backoff", "50"),
    ];
    lattice.source("cart", &config).await;
    lattice.ready().await;
    let publisher = lattice.target("publisher", &[("hosts", &hosts)]).await;
    lattice.ready().await;
    publisher.publish("carts#k", b"poison").await.unwrap();
    publisher.publish("carts#k", b"good").await.unwrap();
    for _ in 0..3 {
        assert_eq!(heard.next().await.text(), "poison");
    }
    assert_eq!(heard.next().await.text(), "good");
    let letter = first_of(&hosts, "carts.dead").await;
    let header = |name: &str| {
        let headers = letter.headers().unwrap();
        let found = headers.iter().find(|header| header.key == name);
        String::from_utf8(found.unwrap().value.unwrap().to_vec()).unwrap()
    };
    assert_eq!(letter.payload(), Some(&b"poison"[..]));
    assert_eq!(letter.key(), Some(&b"k"[..]));
    assert!(header("lattice-cause").contains("wasm trap: unreachable"));
    assert_eq!(header("lattice-subject"), "carts");
    assert_eq!(header("lattice-attempts"), "3");
}

#[tokio::test]
async fn a_letter_that_would_be_too_large_goes_without_the_body() {
    let (mut lattice, brokers, hosts) = start().await;
    for topic in ["carts", "carts.dead"] {
        brokers.create_topic(topic, 1, 1).unwrap();
    }
    let _heard = lattice.handler("cart", |_| Said::Error("no")).await;
    let config = [
        ("hosts", &*hosts),
        ("topic", "carts"),
        ("max_deliver", "1"),
        ("max_message_bytes", "1000"),
    ];
    lattice.source("cart", &config).await;
    lattice.ready().await;
    // Somebody whose limit is another one.
    let producer: FutureProducer = ClientConfig::new()
        .set("bootstrap.servers", &hosts)
        .create()
        .unwrap();
    let body = vec![b'x'; 100_000];
    let record = FutureRecord::to("carts").key(&b"k"[..]).payload(&body);
    producer.send(record, PATIENCE).await.unwrap();
    let letter = first_of(&hosts, "carts.dead").await;
    let headers = letter.headers().unwrap();
    let size = headers.iter().find(|header| header.key == "lattice-size");
    assert_eq!(size.unwrap().value, Some(&b"100000"[..]));
    assert!(letter.payload().unwrap_or_default().is_empty());
    assert_eq!(letter.key(), Some(&b"k"[..]));
}

#[tokio::test]
async fn what_was_not_handled_comes_to_the_next_copy() {
    let (mut lattice, brokers, hosts) = start().await;
    brokers.create_topic("orders", 2, 1).unwrap();
    let busy = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&busy);
    let say = move |_: &_| match counted.load(Ordering::SeqCst) {
        0 => Said::Error("not yet"),
        _ => Said::Done,
    };
    let mut heard = lattice.handler("listener", say).await;
    let config = [
        ("hosts", &*hosts),
        ("subscriptions", "orders|group"),
        ("max_deliver", "1000"),
        ("backoff", "50"),
    ];
    lattice.source("listener", &config).await;
    lattice.ready().await;
    let producer: FutureProducer = ClientConfig::new()
        .set("bootstrap.servers", &hosts)
        .create()
        .unwrap();
    for number in 0..20_u8 {
        let (key, body) = ([number], number.to_string());
        let record = FutureRecord::to("orders").key(&key[..]).payload(&body);
        producer.send(record, PATIENCE).await.unwrap();
    }
    heard.next().await;
    lattice.stop_providers().await;
    busy.store(1, Ordering::SeqCst);
    lattice.run::<MessagingKafka>().await;
    let mut missing: Vec<u32> = (0..20).collect();
    while !missing.is_empty() {
        let number: u32 = heard.next().await.text().parse().unwrap();
        missing.retain(|wanted| *wanted != number);
    }
}

#[tokio::test]
async fn a_1_9_link_publishes_and_reads() {
    let (mut lattice, _brokers, hosts) = start().await;
    let mut heard = lattice.handler("both", |_| Said::Done).await;
    let config = [
        ("hosts", &*hosts),
        ("topic", "my-topic"),
        ("consumer_group", "both"),
        ("consumer_partitions", "0,1"),
        ("producer_partitions", "1,0"),
        ("begin", "earliest"),
    ];
    let both = lattice.target("both", &config).await;
    lattice.ready().await;
    for body in ["1", "2"] {
        both.publish("my-topic", body.as_bytes()).await.unwrap();
    }
    // Each of them is in each of the partitions.
    let mut seen = Vec::new();
    while seen.len() < 4 {
        seen.push(heard.next().await.text().to_owned());
    }
    seen.sort_unstable();
    assert_eq!(seen, ["1", "1", "2", "2"]);
}

#[tokio::test]
async fn each_partition_that_a_link_lists_gets_what_is_published() {
    let (mut lattice, brokers, hosts) = start().await;
    brokers.create_topic("orders", 4, 1).unwrap();
    let config = [("hosts", &*hosts), ("producer_partitions", "0,1,3")];
    let publisher = lattice.target("publisher", &config).await;
    lattice.ready().await;
    publisher.publish("orders", b"x").await.unwrap();
    let consumer: StreamConsumer = ClientConfig::new()
        .set("bootstrap.servers", &hosts)
        .set("group.id", "counter")
        .set("auto.offset.reset", "earliest")
        .create()
        .unwrap();
    consumer.subscribe(&["orders"]).unwrap();
    let mut seen = Vec::new();
    while seen.len() < 3 {
        let message = tokio::time::timeout(PATIENCE, consumer.recv()).await;
        seen.push(message.unwrap().unwrap().partition());
    }
    seen.sort_unstable();
    assert_eq!(seen, [0, 1, 3]);
}

#[tokio::test]
async fn a_link_whose_dead_letters_cannot_be_posted_says_so() {
    let (mut lattice, brokers, hosts) = start().await;
    brokers.create_topic("letters", 1, 1).unwrap();
    let denied = RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED;
    brokers.topic_error("letters", denied).unwrap();
    let _heard = lattice.handler("cart", |_| Said::Error("no")).await;
    let config = [
        ("hosts", &*hosts),
        ("topic", "carts"),
        ("max_deliver", "1"),
        ("dead_letter", "letters"),
    ];
    lattice.source("cart", &config).await;
    lattice.ready().await;
    let publisher = lattice.target("publisher", &[("hosts", &hosts)]).await;
    lattice.ready().await;
    publisher.publish("carts", b"poison").await.unwrap();
    let reason = lattice.failed().await;
    let part = "could not post a dead letter to `letters`";
    assert!(reason.contains(part), "{reason}");
    let well = RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR;
    brokers.topic_error("letters", well).unwrap();
    lattice.ready().await;
    let letter = first_of(&hosts, "letters").await;
    assert_eq!(letter.payload(), Some(&b"poison"[..]));
}

#[tokio::test]
async fn what_a_producer_gives_up_over_keeps_nobody_from_publishing() {
    let (mut lattice, brokers, hosts) = start().await;
    brokers.create_topic("orders", 1, 1).unwrap();
    let publisher = lattice.target("publisher", &[("hosts", &hosts)]).await;
    lattice.ready().await;
    // Of the first message in flight it is fatal.
    let lost = RDKafkaRespErr::RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER;
    brokers.request_errors(RDKafkaApiKey::Produce, &[lost]);
    publisher.publish("orders", b"1").await.unwrap_err();
    publisher.publish("orders", b"2").await.unwrap();
    assert_eq!(first_of(&hosts, "orders").await.payload(), Some(&b"2"[..]));
}

#[tokio::test]
async fn a_letter_that_its_own_link_hears_does_not_go_round() {
    let (mut lattice, brokers, hosts) = start().await;
    brokers.create_topic("carts", 1, 1).unwrap();
    let say = |message: &support::Message| match message.text() {
        "poison" => Said::Error("no"),
        _ => Said::Done,
    };
    let mut heard = lattice.handler("cart", say).await;
    let config = [
        ("hosts", &*hosts),
        ("topic", "carts"),
        ("max_deliver", "1"),
        ("dead_letter", "carts"),
    ];
    lattice.source("cart", &config).await;
    lattice.ready().await;
    let publisher = lattice.target("publisher", &[("hosts", &hosts)]).await;
    lattice.ready().await;
    publisher.publish("carts", b"poison").await.unwrap();
    // The message and its letter; one of the letter would be in the partition before the next.
    for _ in 0..2 {
        assert_eq!(heard.next().await.text(), "poison");
    }
    for body in ["1", "2"] {
        publisher.publish("carts", body.as_bytes()).await.unwrap();
        assert_eq!(heard.next().await.text(), body);
    }
}

#[tokio::test]
async fn a_reader_goes_on_where_there_is_no_topic_for_letters() {
    let (mut lattice, brokers, hosts) = start().await;
    brokers.create_topic("carts.dead", 1, 1).unwrap();
    let denied = RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED;
    brokers.topic_error("carts.dead", denied).unwrap();
    let mut heard = lattice.handler("cart", |_| Said::Error("no")).await;
    let config = [("hosts", &*hosts), ("topic", "carts"), ("max_deliver", "1")];
    lattice.source("cart", &config).await;
    lattice.ready().await;
    let publisher = lattice.target("publisher", &[("hosts", &hosts)]).await;
    lattice.ready().await;
    for body in ["poison", "next"] {
        publisher.publish("carts#k", body.as_bytes()).await.unwrap();
        assert_eq!(heard.next().await.text(), body);
    }
}

#[tokio::test]
async fn a_link_that_may_not_read_has_failed_with_what_the_broker_says() {
    let (mut lattice, brokers, hosts) = start().await;
    brokers.create_topic("carts", 1, 1).unwrap();
    let denied = RDKafkaRespErr::RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED;
    brokers.request_errors(RDKafkaApiKey::JoinGroup, &[denied; 200]);
    let _heard = lattice.handler("cart", |_| Said::Done).await;
    let config = [("hosts", &*hosts), ("topic", "carts")];
    lattice.source("cart", &config).await;
    let reason = lattice.failed().await;
    assert!(reason.contains("Group authorization failed"), "{reason}");
    brokers.clear_request_errors(RDKafkaApiKey::JoinGroup);
    lattice.ready().await;
}

#[tokio::test]
async fn what_kafka_does_not_take_is_refused_by_name() {
    let (mut lattice, _brokers, hosts) = start().await;
    let config = [("hosts", &*hosts), ("max_message_bytes", "1000")];
    let publisher = lattice.target("publisher", &config).await;
    lattice.ready().await;
    for subject in ["", "a b", "a/b", "#key"] {
        let error = publisher.publish(subject, b"x").await.unwrap_err();
        assert!(error.contains("a Kafka topic"), "{error}");
    }
    let error = publisher.publish("a", &[0; 1001]).await.unwrap_err();
    assert!(
        error.contains("1001 bytes") && error.contains("limit is 1000"),
        "{error}"
    );
}

#[tokio::test]
async fn a_link_that_cannot_work_says_why_and_one_that_can_again_is_ready() {
    let (mut lattice, brokers, hosts) = start().await;
    let nowhere = format!("127.0.0.1:{}", free_port().unwrap());
    for (config, part) in [
        (
            [("hosts", &*nowhere), ("topic", "a")],
            "the Kafka brokers at",
        ),
        ([("hosts", &*hosts), ("topic", "a/b")], "`topic`"),
        (
            [("hosts", &*hosts), ("begin", "earliest")],
            "no `subscriptions`",
        ),
        ([("hosts", "http://x"), ("topic", "a")], "`hosts`"),
    ] {
        let begun = WallClock::now();
        lattice.source("listener", &config).await;
        let reason = lattice.failed().await;
        assert!(reason.contains(part), "{reason}");
        assert!(
            begun.elapsed() < Duration::from_secs(5),
            "{:?}",
            begun.elapsed()
        );
    }
    let mut lattice = Lattice::start::<MessagingKafka>().await;
    let publisher = lattice.target("publisher", &[("hosts", &hosts)]).await;
    lattice.ready().await;
    brokers.broker_down(1).unwrap();
    let reason = lattice.failed().await;
    assert!(reason.contains("do not answer"), "{reason}");
    brokers.broker_up(1).unwrap();
    lattice.ready().await;
    publisher.publish("a", b"x").await.unwrap();
}
