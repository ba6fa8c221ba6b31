//! Where a link begins that gets what is new, with the brokers that the client library brings for tests.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../../messaging-nats/tests/support/mod.rs"]
mod support;

use std::time::Duration;

use messaging_kafka::MessagingKafka;
use rdkafka::config::ClientConfig;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{DefaultProducerContext, FutureProducer, FutureRecord};
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use support::{Lattice, PATIENCE, Said};

type Brokers = MockCluster<'static, DefaultProducerContext>;

async fn start() -> (Lattice, Brokers, String) {
    let brokers = MockCluster::new(1).unwrap();
    let hosts = brokers.bootstrap_servers();
    (Lattice::start::<MessagingKafka>().await, brokers, hosts)
}

/// Publishes again and again, until a message arrives: a reader whose beginning is not stored may begin a
/// moment after its link is ready.
async fn first_heard(
    publisher: &support::Component,
    topic: &str,
    heard: &mut support::Heard,
) -> support::Message {
    let publishing = async {
        loop {
            publisher.publish(topic, b"new").await.unwrap();
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::select! {
        message = heard.next() => message,
        () = publishing => unreachable!("it never ends"),
    }
}

#[tokio::test]
async fn a_1_9_link_without_a_group_gets_what_is_new() {
    let (mut lattice, _brokers, hosts) = start().await;
    let producer: FutureProducer = ClientConfig::new()
        .set("bootstrap.servers", &hosts)
        .create()
        .unwrap();
    for topic in ["orders", "my-topic"] {
        let record = FutureRecord::to(topic).key("k").payload("old");
        producer.send(record, PATIENCE).await.unwrap();
    }
    let mut heard = lattice.handler("both", |_| Said::Done).await;
    let config = [("hosts", &*hosts), ("topic", "orders")];
    let both = lattice.target("both", &config).await;
    lattice.ready().await;
    let first = first_heard(&both, "orders", &mut heard).await;
    assert_eq!((&*first.subject, first.text()), ("orders", "new"));
    // Without a topic it is the one of 1.9.
    let mut heard = lattice.handler("usual", |_| Said::Done).await;
    let usual = lattice.target("usual", &[("hosts", &hosts)]).await;
    lattice.ready().await;
    let first = first_heard(&usual, "my-topic", &mut heard).await;
    assert_eq!((&*first.subject, first.text()), ("my-topic", "new"));
}

#[tokio::test]
async fn a_link_that_gets_what_is_new_misses_nothing_across_a_restart() {
    let (mut lattice, brokers, hosts) = start().await;
    brokers.create_topic("orders", 2, 1).unwrap();
    let producer: FutureProducer = ClientConfig::new()
        .set("bootstrap.servers", &hosts)
        .create()
        .unwrap();
    let send = async |partition, body: &str| {
        let record: FutureRecord<'_, [u8], str> = FutureRecord::to("orders");
        let record = record.partition(partition).payload(body);
        producer.send(record, PATIENCE).await.unwrap();
    };
    send(0, "old").await;
    let mut heard = lattice.handler("listener", |_| Said::Done).await;
    let config = [
        ("hosts", &*hosts),
        ("subscriptions", "orders"),
        ("begin", "latest"),
    ];
    lattice.source("listener", &config).await;
    lattice.ready().await;
    // Before it has handled anything.
    lattice.stop_providers().await;
    for partition in [0, 1] {
        send(partition, "new").await;
    }
    lattice.run::<MessagingKafka>().await;
    for _ in 0..2 {
        assert_eq!(heard.next().await.text(), "new");
    }
    assert!(heard.now().is_none());
}

#[tokio::test]
async fn a_link_whose_group_reads_already_gets_what_is_new() {
    let (mut lattice, brokers, hosts) = start().await;
    brokers.create_topic("orders", 1, 1).unwrap();
    let config = [("hosts", &*hosts), ("begin", "earliest")];
    let publisher = lattice.target("publisher", &config).await;
    lattice.ready().await;
    publisher.publish("orders", b"old").await.unwrap();
    // Who is no member may not say where the others begin.
    let refused = RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID;
    brokers.request_errors(RDKafkaApiKey::OffsetCommit, &[refused]);
    let mut heard = lattice.handler("listener", |_| Said::Done).await;
    let config = [
        ("hosts", &*hosts),
        ("subscriptions", "orders"),
        ("begin", "latest"),
    ];
    lattice.source("listener", &config).await;
    lattice.ready().await;
    let first = first_heard(&publisher, "orders", &mut heard).await;
    assert_eq!(first.text(), "new");
}

#[tokio::test]
async fn a_1_9_link_that_names_no_topic_can_be_put_by_a_user_without_a_group() {
    let refused = RDKafkaRespErr::RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED;
    for (request, times) in [
        (RDKafkaApiKey::OffsetFetch, 1),
        (RDKafkaApiKey::FindCoordinator, 100),
    ] {
        let (mut lattice, brokers, hosts) = start().await;
        brokers.create_topic("my-topic", 1, 1).unwrap();
        brokers.request_errors(request, &vec![refused; times]);
        let usual = lattice.target("usual", &[("hosts", &hosts)]).await;
        lattice.ready().await;
        usual.publish("orders", b"new").await.unwrap();
    }
}
