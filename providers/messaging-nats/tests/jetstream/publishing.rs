//! Links that publish to streams.

use lattice_nats_box::{NatsBox, NatsBoxOptions};

use super::*;

#[tokio::test]
async fn a_link_that_says_so_publishes_to_streams() {
    let (mut lattice, _context, mut stream) = lattice().await;
    let config = [("jetstream", "true"), ("require", "delivery=at-least-once")];
    let publisher = lattice.target("publisher", &config).await;
    lattice.ready().await;
    publisher.publish("orders.new", b"1").await.unwrap();
    assert_eq!(stream.info().await.unwrap().state.messages, 1);
    let error = publisher.publish("elsewhere", b"1").await.unwrap_err();
    assert!(error.contains("no stream takes `elsewhere`"), "{error}");
    // Those who ask are answered by core NATS.
    publisher.publish("_INBOX.x.y", b"1").await.unwrap();
}

/// The stream has the message, and whoever is to be answered hears nothing but the answer.
#[tokio::test]
async fn a_stream_keeps_where_the_answer_to_a_message_goes() {
    let (mut lattice, context, mut stream) = lattice().await;
    let target = [("jetstream", "true")];
    let publisher = lattice.target("publisher", &target).await;
    lattice.ready().await;
    let nats = lattice.nats.client().await.unwrap();
    let inbox = nats.new_inbox();
    let mut answers = nats.subscribe(inbox.clone()).await.unwrap();
    lattice_nats_box::taken_in(&nats).await.unwrap();
    let sent = publisher.publish_with("orders.new", b"1", Some(&inbox));
    sent.await.unwrap();
    assert_eq!(stream.info().await.unwrap().state.messages, 1);
    let error = publisher.publish_with("elsewhere", b"1", Some(&inbox));
    let error = error.await.unwrap_err();
    assert!(error.contains("no stream takes `elsewhere`"), "{error}");
    let answerer = lattice.target("cart", &target).await;
    lattice.ready().await;
    let say = move |message: &support::Message| match message.text() {
        "fail" => Said::Error("no"),
        _ => Said::Answer(answerer.clone(), "pong".into()),
    };
    let mut heard = lattice.handler("cart", say).await;
    let config = [
        ("stream", "ORDERS"),
        ("max_deliver", "1"),
        ("dead_letter", "dead.orders"),
    ];
    lattice.source("cart", &config).await;
    lattice.ready().await;
    assert_eq!(heard.next().await.reply_to.as_deref(), Some(&*inbox));
    let first = tokio::time::timeout(support::PATIENCE, answers.next()).await;
    assert_eq!(first.unwrap().unwrap().payload, "pong");
    // The letter of such a message says where the answer was to go, and is not answered itself.
    let sent = publisher.publish_with("orders.bad", b"fail", Some(&inbox));
    sent.await.unwrap();
    let letter = first_of(&context, "dead_orders").await;
    let headers = letter.headers.as_ref().unwrap();
    let told = headers.get("lattice-reply-to").unwrap().as_str();
    assert_eq!((told, headers.get("lattice-reply")), (&*inbox, None));
}

/// A core subscriber gets what is published to a stream with the place for the acknowledgement.
#[tokio::test]
async fn who_hears_a_message_of_a_stream_by_core_nats_answers_its_publisher_only() {
    let (mut lattice, _context, _stream) = lattice().await;
    let publisher = lattice.target("publisher", &[("jetstream", "true")]).await;
    lattice.ready().await;
    let mut heard = lattice.handler("listener", |_| Said::Done).await;
    let config = [("subscriptions", "orders.>")];
    lattice.source("listener", &config).await;
    lattice.ready().await;
    publisher.publish("orders.new", b"1").await.unwrap();
    assert_eq!(heard.next().await.reply_to, None);
    let sent = publisher.publish_with("orders.new", b"2", Some("answers"));
    sent.await.unwrap();
    assert_eq!(heard.next().await.reply_to.as_deref(), Some("answers"));
}

#[tokio::test]
async fn a_link_that_publishes_to_streams_fails_when_jetstream_goes() {
    let (mut lattice, _context, _stream) = lattice().await;
    let mut with = NatsBox::start().await.unwrap();
    let without = NatsBoxOptions {
        extra_config: "accounts { SHOP: { users: [ {user: shop, password: open} ] } }".into(),
        ..NatsBoxOptions::default()
    };
    let mut without = NatsBox::start_with(without).await.unwrap();
    without.stop();
    let ports = [with.port, without.port];
    let urls = ports.map(|port| format!("nats://shop:open@127.0.0.1:{port}"));
    let config = [("cluster_uris", &*urls.join(",")), ("jetstream", "true")];
    let publisher = lattice.target("publisher", &config).await;
    lattice.ready().await;
    without.restart().await.unwrap();
    with.stop();
    while !lattice.failed().await.contains("JetStream does not answer") {}
    assert!(publisher.publish("orders.new", b"1").await.is_err());
    without.stop();
    with.restart().await.unwrap();
    lattice.ready().await;
}

/// Nobody listens where NATS leads the subject, as when the servers of a stream choose a leader.
#[tokio::test]
async fn a_stream_for_which_nobody_answers_is_not_said_to_be_missing() {
    let options = NatsBoxOptions {
        extra_config: "mappings { \"orders.new\": \"nowhere\" }\n".into(),
        ..NatsBoxOptions::default()
    };
    let other = NatsBox::start_with(options).await.unwrap();
    let context = jetstream::new(other.client().await.unwrap());
    let config = stream::Config {
        name: "ORDERS".into(),
        subjects: vec!["orders.>".into()],
        ..stream::Config::default()
    };
    context.create_stream(config).await.unwrap();
    let mut lattice = Lattice::start::<MessagingNats>().await;
    let config = [("cluster_uris", &*other.url), ("jetstream", "true")];
    let publisher = lattice.target("publisher", &config).await;
    lattice.ready().await;
    let error = publisher.publish("orders.new", b"1").await.unwrap_err();
    assert!(
        error.contains("nobody takes `orders.new` at the moment"),
        "{error}"
    );
    context.delete_stream("ORDERS").await.unwrap();
    let error = publisher.publish("orders.new", b"1").await.unwrap_err();
    assert!(error.contains("no stream takes `orders.new`"), "{error}");
}
