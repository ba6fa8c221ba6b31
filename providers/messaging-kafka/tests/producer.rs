//! Producers that can send no more.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../../messaging-nats/tests/support/mod.rs"]
mod support;

use messaging_kafka::MessagingKafka;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use support::{Lattice, until};

#[tokio::test]
async fn a_producer_that_gives_up_says_why_until_another_one_sends() {
    let brokers: MockCluster<'static, DefaultProducerContext> = MockCluster::new(1).unwrap();
    let hosts = brokers.bootstrap_servers();
    brokers.create_topic("orders", 1, 1).unwrap();
    let mut lattice = Lattice::start::<MessagingKafka>().await;
    let publisher = lattice.target("publisher", &[("hosts", &hosts)]).await;
    lattice.ready().await;
    // Of the first message in flight it is fatal.
    let lost = RDKafkaRespErr::RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER;
    for _ in 0..2 {
        brokers.request_errors(RDKafkaApiKey::Produce, &[lost]);
        publisher.publish("orders", b"1").await.unwrap_err();
    }
    until(async || match publisher.publish("orders", b"2").await {
        Ok(()) => Some(()),
        Err(why) => {
            assert!(why.contains("could not publish to `orders`: "), "{why}");
            assert!(!why.contains("Local: Fatal error"), "{why}");
            None
        }
    })
    .await;
}
