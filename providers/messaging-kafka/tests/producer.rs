//! Producers that can send no more.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../../messaging-nats/tests/support/mod.rs"]
mod support;

use messaging_kafka::MessagingKafka;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use support::{Lattice, until};
use tokio::time::{Duration, Instant};

/// How long a producer that was made in the place of another stays at least.
const STAYS: Duration = Duration::from_secs(5);

#[tokio::test]
async fn a_producer_that_gives_up_like_the_one_before_is_not_replaced_at_once() {
    let brokers: MockCluster<'static, DefaultProducerContext> = MockCluster::new(1).unwrap();
    let hosts = brokers.bootstrap_servers();
    brokers.create_topic("orders", 1, 1).unwrap();
    let mut lattice = Lattice::start::<MessagingKafka>().await;
    let publisher = lattice.target("publisher", &[("hosts", &hosts)]).await;
    lattice.ready().await;
    // Of the first message in flight it is fatal.
    let lost = RDKafkaRespErr::RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER;
    let mut begun = Instant::now();
    for _ in 0..2 {
        begun = Instant::now();
        brokers.request_errors(RDKafkaApiKey::Produce, &[lost]);
        publisher.publish("orders", b"1").await.unwrap_err();
    }
    // Another one could send this.
    let told = publisher.publish("orders", b"2").await;
    // Where that took so long, there may be one.
    if begun.elapsed() < STAYS {
        let why = told.unwrap_err();
        assert!(why.contains("could not publish to `orders`: "), "{why}");
        assert!(!why.contains("Local: Fatal error"), "{why}");
    }
    until(async || publisher.publish("orders", b"3").await.ok()).await;
}
