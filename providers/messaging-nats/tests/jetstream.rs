//! Messages by JetStream.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(
    clippy::disallowed_methods,
    reason = "stands in for who asks on the same NATS"
)]

mod support;

#[path = "jetstream/publishing.rs"]
mod publishing;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_nats::jetstream::consumer::pull;
use async_nats::jetstream::stream::{RetentionPolicy, Stream};
use async_nats::jetstream::{self, Context, Message, stream};
use futures::StreamExt as _;
use messaging_nats::MessagingNats;
use support::{Lattice, Said, until};
use tokio::time::Instant as WallClock;

/// A lattice with a stream, whose messages go when they are acknowledged.
async fn lattice() -> (Lattice, Context, Stream) {
    let lattice = Lattice::start::<MessagingNats>().await;
    let context = jetstream::new(lattice.nats.client().await.unwrap());
    let config = stream::Config {
        name: "ORDERS".into(),
        subjects: vec!["orders.>".into()],
        retention: RetentionPolicy::WorkQueue,
        ..stream::Config::default()
    };
    let stream = context.create_stream(config).await.unwrap();
    (lattice, context, stream)
}

async fn publish(context: &Context, subject: &str, body: &str) {
    let ack = context.publish(subject.to_owned(), body.to_owned().into());
    ack.await.unwrap().await.unwrap();
}

async fn until_empty(stream: &Stream) {
    until(async || {
        let info = stream.get_info().await.unwrap();
        (info.state.messages == 0).then_some(())
    })
    .await;
}

async fn first_of(context: &Context, stream: &str) -> Message {
    let stream = until(async || context.get_stream(stream).await.ok()).await;
    let consumer = stream.create_consumer(pull::Config::default()).await;
    let consumer = consumer.unwrap();
    let mut messages = consumer.messages().await.unwrap();
    messages.next().await.unwrap().unwrap()
}

#[tokio::test]
async fn a_message_is_acknowledged_after_the_handler_has_returned() {
    let (mut lattice, context, mut stream) = lattice().await;
    let say = |_: &_| Said::After(Duration::from_millis(300));
    let mut heard = lattice.handler("cart", say).await;
    lattice.source("cart", &[("stream", "ORDERS")]).await;
    lattice.ready().await;
    publish(&context, "orders.new", "1").await;
    let message = heard.next().await;
    assert_eq!((&*message.subject, message.text()), ("orders.new", "1"));
    assert_eq!(message.reply_to, None);
    assert_eq!(stream.info().await.unwrap().state.messages, 1);
    until_empty(&stream).await;
    assert!(heard.now().is_none());
}

#[tokio::test]
async fn what_fails_comes_again_and_then_is_a_dead_letter() {
    let (mut lattice, context, stream) = lattice().await;
    let say = |message: &support::Message| match message.text() {
        "trap" => Said::Trap("wasm trap: unreachable"),
        _ => Said::Error("out of stock"),
    };
    let mut heard = lattice.handler("cart", say).await;
    let config = [
        ("stream", "ORDERS"),
        ("durable", "carts"),
        ("max_deliver", "3"),
        ("backoff", "100,300"),
    ];
    lattice.source("cart", &config).await;
    lattice.ready().await;
    let begun = WallClock::now();
    publish(&context, "orders.bad", "trap").await;
    for _ in 0..3 {
        assert_eq!(heard.next().await.text(), "trap");
    }
    assert!(begun.elapsed() >= Duration::from_millis(320), "it paused");
    until_empty(&stream).await;
    let letter = first_of(&context, "lattice_dead_ORDERS_carts").await;
    let headers = letter.headers.clone().unwrap();
    let header = |name: &str| headers.get(name).unwrap().as_str().to_owned();
    assert!(header("lattice-cause").contains("wasm trap: unreachable"));
    assert_eq!(header("lattice-subject"), "orders.bad");
    assert_eq!(header("lattice-attempts"), "3");
    assert_eq!(header("lattice-component"), "cart");
    assert_eq!(&letter.payload[..], b"trap");
    assert!(heard.now().is_none());
}

/// Takes the name of a stream, so that none can be made for letters.
async fn occupy(context: &jetstream::Context, name: &str) {
    let config = stream::Config {
        name: name.into(),
        subjects: vec!["something.else".into()],
        ..stream::Config::default()
    };
    context.create_stream(config).await.unwrap();
}

#[tokio::test]
async fn a_link_whose_dead_letters_cannot_be_posted_says_so() {
    let (mut lattice, context, stream) = lattice().await;
    occupy(&context, "dead_orders").await;
    let _heard = lattice.handler("cart", |_| Said::Error("no")).await;
    let config = [
        ("stream", "ORDERS"),
        ("max_deliver", "1"),
        ("dead_letter", "dead.orders"),
    ];
    lattice.source("cart", &config).await;
    lattice.ready().await;
    publish(&context, "orders.bad", "1").await;
    let reason = lattice.failed().await;
    let part = "could not post a dead letter to `dead.orders`: could not make the stream";
    assert!(reason.contains(part), "{reason}");
    let dead = stream::Config {
        name: "DEAD".into(),
        subjects: vec!["dead.>".into()],
        ..stream::Config::default()
    };
    context.create_stream(dead).await.unwrap();
    lattice.ready().await;
    until_empty(&stream).await;
    assert_eq!(&first_of(&context, "DEAD").await.payload[..], b"1");
}

#[tokio::test]
async fn a_consumer_goes_on_where_no_stream_can_be_made_for_letters() {
    let (mut lattice, context, stream) = lattice().await;
    occupy(&context, "lattice_dead_ORDERS_carts").await;
    let _heard = lattice.handler("cart", |_| Said::Error("no")).await;
    let config = [
        ("stream", "ORDERS"),
        ("durable", "carts"),
        ("max_deliver", "1"),
    ];
    lattice.source("cart", &config).await;
    lattice.ready().await;
    publish(&context, "orders.bad", "1").await;
    until_empty(&stream).await;
}

/// On a letter they would be refused, or taken for the same letter again.
#[tokio::test]
async fn what_the_server_was_told_of_a_message_is_not_said_of_its_letter() {
    let (mut lattice, context, stream) = lattice().await;
    let say = |_: &_| Said::Error("out of stock");
    let _heard = lattice.handler("cart", say).await;
    let config = [
        ("stream", "ORDERS"),
        ("durable", "carts"),
        ("max_deliver", "1"),
        ("dead_letter", "dead.orders"),
    ];
    lattice.source("cart", &config).await;
    lattice.ready().await;
    let dead = stream::Config {
        name: "DEAD".into(),
        subjects: vec!["dead.>".into()],
        ..stream::Config::default()
    };
    let dead = context.create_stream(dead).await.unwrap();
    for (number, name, value) in [
        ("0", "Nats-Expected-Stream", "ORDERS"),
        ("1", "Nats-Expected-Last-Sequence", "1"),
        ("2", "Nats-Msg-Id", "same"),
    ] {
        let mut headers = async_nats::HeaderMap::new();
        headers.insert(name, value);
        headers.insert("Kind", "test");
        let sent = context.publish_with_headers(format!("orders.{number}"), headers, number.into());
        sent.await.unwrap().await.unwrap();
        until_empty(&stream).await;
        let letter = dead.get_last_raw_message_by_subject("dead.orders").await;
        let letter = letter.unwrap();
        let header = |name: &str| letter.headers.get(name).map(|value| value.as_str());
        assert_eq!(
            header("lattice-subject"),
            Some(&*format!("orders.{number}"))
        );
        assert_eq!(header(name), None);
        assert_eq!(header(&format!("lattice-original-{name}")), Some(value));
        assert_eq!(header("Kind"), Some("test"));
    }
}

#[tokio::test]
async fn a_component_that_is_not_there_is_waited_for_without_counting() {
    let (mut lattice, context, stream) = lattice().await;
    let config = [
        ("stream", "ORDERS"),
        ("durable", "carts"),
        ("max_deliver", "1"),
    ];
    lattice.source("cart", &config).await;
    lattice.ready().await;
    publish(&context, "orders.new", "1").await;
    // Several attempts reach nobody.
    tokio::time::sleep(Duration::from_millis(700)).await;
    let refusals = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&refusals);
    let say = move |_: &_| match counted.fetch_add(1, Ordering::SeqCst) {
        0..3 => Said::Overloaded,
        _ => Said::Done,
    };
    let mut heard = lattice.handler("cart", say).await;
    assert_eq!(heard.next().await.text(), "1");
    until_empty(&stream).await;
    assert_eq!(refusals.load(Ordering::SeqCst), 4);
    assert!(
        context
            .get_stream("lattice_dead_ORDERS_carts")
            .await
            .is_err()
    );
}

#[tokio::test]
async fn one_at_a_time_keeps_the_order_whatever_fails() {
    let (mut lattice, context, stream) = lattice().await;
    let count = AtomicUsize::new(0);
    let say = move |_: &_| match count.fetch_add(1, Ordering::SeqCst) % 3 {
        0 => Said::Error("not yet"),
        _ => Said::Done,
    };
    let mut heard = lattice.handler("cart", say).await;
    let config = [
        ("stream", "ORDERS"),
        ("max_in_flight", "1"),
        ("backoff", "10"),
    ];
    lattice.source("cart", &config).await;
    lattice.ready().await;
    for number in 0..20 {
        publish(&context, "orders.new", &number.to_string()).await;
    }
    until_empty(&stream).await;
    let mut seen = Vec::new();
    while let Some(message) = heard.now() {
        seen.push(message.text().parse::<u32>().unwrap());
    }
    assert!(seen.is_sorted(), "{seen:?}");
    seen.dedup();
    assert_eq!(seen, (0..20).collect::<Vec<_>>());
}

#[tokio::test]
async fn consumers_that_are_there_are_used_as_they_are() {
    let (mut lattice, context, stream) = lattice().await;
    let config = pull::Config {
        durable_name: Some("theirs".into()),
        max_deliver: 2,
        ..pull::Config::default()
    };
    stream.create_consumer(config).await.unwrap();
    let mut heard = lattice.handler("cart", |_| Said::Error("no")).await;
    let consumers = r#"[{"stream":"ORDERS","consumer":"theirs","max_messages":10}]"#;
    let config = [
        ("consumers", consumers),
        ("backoff", "10"),
        ("dead_letter", "dead.orders"),
    ];
    lattice.source("cart", &config).await;
    lattice.ready().await;
    publish(&context, "orders.new", "1").await;
    let letter = first_of(&context, "dead_orders").await;
    let attempts = letter.headers.as_ref().unwrap();
    let attempts = attempts.get("lattice-attempts").unwrap().as_str();
    assert_eq!(attempts, "2");
    assert_eq!(heard.next().await.text(), "1");
    assert_eq!(heard.next().await.text(), "1");
    assert!(heard.now().is_none());
}

#[tokio::test]
async fn the_time_that_their_consumer_gives_is_enough_for_a_handler_that_takes_longer() {
    let (mut lattice, context, stream) = lattice().await;
    let config = pull::Config {
        durable_name: Some("hasty".into()),
        ack_wait: Duration::from_millis(600),
        ..pull::Config::default()
    };
    stream.create_consumer(config).await.unwrap();
    let say = |_: &_| Said::After(Duration::from_secs(2));
    let mut heard = lattice.handler("cart", say).await;
    let consumers = r#"[{"stream":"ORDERS","consumer":"hasty"}]"#;
    lattice.source("cart", &[("consumers", consumers)]).await;
    lattice.ready().await;
    publish(&context, "orders.new", "1").await;
    assert_eq!(heard.next().await.text(), "1");
    until_empty(&stream).await;
    assert!(heard.now().is_none(), "it came again meanwhile");
}

#[tokio::test]
async fn a_message_that_does_not_come_again_is_a_letter_when_its_link_goes() {
    let (mut lattice, context, stream) = lattice().await;
    let config = pull::Config {
        durable_name: Some("once".into()),
        max_deliver: 1,
        ..pull::Config::default()
    };
    stream.create_consumer(config).await.unwrap();
    let attempts = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&attempts);
    let say = move |_: &_| {
        counted.fetch_add(1, Ordering::SeqCst);
        Said::Overloaded
    };
    let _heard = lattice.handler("cart", say).await;
    let consumers = r#"[{"stream":"ORDERS","consumer":"once"}]"#;
    let config = [("consumers", consumers), ("dead_letter", "dead.once")];
    lattice.source("cart", &config).await;
    lattice.ready().await;
    publish(&context, "orders.new", "1").await;
    until(async || (attempts.load(Ordering::SeqCst) > 0).then_some(())).await;
    lattice.unlink().await;
    let letter = first_of(&context, "dead_once").await;
    assert_eq!(&letter.payload[..], b"1");
    let headers = letter.headers.as_ref().unwrap();
    let cause = headers.get("lattice-cause").unwrap().as_str();
    assert!(cause.contains("the link went"), "{cause}");
    until_empty(&stream).await;
}

#[tokio::test]
async fn a_letter_that_would_be_too_large_goes_without_the_body() {
    let (mut lattice, context, stream) = lattice().await;
    let _heard = lattice.handler("cart", |_| Said::Error("no")).await;
    let config = [
        ("stream", "ORDERS"),
        ("max_deliver", "1"),
        ("dead_letter", "dead.large"),
    ];
    lattice.source("cart", &config).await;
    lattice.ready().await;
    let limit = lattice.nats.client().await.unwrap().max_payload();
    publish(&context, "orders.large", &"x".repeat(limit)).await;
    let letter = first_of(&context, "dead_large").await;
    let headers = letter.headers.as_ref().unwrap();
    let header = |name: &str| headers.get(name).unwrap().as_str();
    assert_eq!(header("lattice-size"), limit.to_string());
    assert!(header("lattice-cause").contains("no"));
    assert!(letter.payload.is_empty());
    until_empty(&stream).await;
}

#[tokio::test]
async fn a_stream_or_consumer_that_is_not_there_fails_the_link() {
    let (mut lattice, context, stream) = lattice().await;
    lattice.source("cart", &[("stream", "NOTHING")]).await;
    let reason = lattice.failed().await;
    assert!(
        reason.contains("stream `NOTHING`") && reason.contains("not found"),
        "{reason}"
    );
    let consumers = r#"[{"stream":"ORDERS","consumer":"nobody"}]"#;
    lattice.source("cart", &[("consumers", consumers)]).await;
    let reason = lattice.failed().await;
    assert!(reason.contains("consumer `nobody`"), "{reason}");
    // One that goes away later is told too, and is made again when its stream is back.
    let mut heard = lattice.handler("cart", |_| Said::Done).await;
    lattice.source("cart", &[("stream", "ORDERS")]).await;
    lattice.ready().await;
    let config = stream.cached_info().config.clone();
    context.delete_stream("ORDERS").await.unwrap();
    let reason = lattice.failed().await;
    assert!(
        reason.contains("ORDERS") || reason.contains("consumer"),
        "{reason}"
    );
    context.create_stream(config).await.unwrap();
    publish(&context, "orders.new", "again").await;
    assert_eq!(heard.next().await.text(), "again");
}

#[tokio::test]
async fn a_link_that_requires_no_message_lost_has_them_all_in_streams() {
    let (mut lattice, _context, _stream) = lattice().await;
    let stored = [
        ("stream", "ORDERS"),
        ("require", "delivery=at-least-once, dead-letter"),
    ];
    lattice.source("worker", &stored).await;
    lattice.ready().await;
    // What others publish to a subject of core NATS is kept nowhere.
    let mixed = [&stored[..], &[("subscriptions", "elsewhere")]].concat();
    lattice.source("worker", &mixed).await;
    let reason = lattice.failed().await;
    let refusal = "the link requires `delivery=at-least-once`, `dead-letter`, which";
    assert!(reason.starts_with(refusal), "{reason}");
}
