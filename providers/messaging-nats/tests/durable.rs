//! Durables that outlast their link and its provider.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use async_nats::jetstream::consumer::{PullConsumer, pull};
use async_nats::jetstream::stream::{RetentionPolicy, Stream};
use async_nats::jetstream::{self, stream};
use messaging_nats::MessagingNats;
use support::{Lattice, Said, until};

async fn lattice(retention: RetentionPolicy) -> (Lattice, jetstream::Context, Stream) {
    let lattice = Lattice::start::<MessagingNats>().await;
    let context = jetstream::new(lattice.nats.client().await.unwrap());
    let config = stream::Config {
        name: "ORDERS".into(),
        subjects: vec!["orders.>".into()],
        retention,
        ..stream::Config::default()
    };
    let stream = context.create_stream(config).await.unwrap();
    (lattice, context, stream)
}

async fn publish(context: &jetstream::Context, subject: &'static str) {
    let ack = context.publish(subject, subject.into()).await.unwrap();
    ack.await.unwrap();
}

const DURABLE: [(&str, &str); 2] = [("stream", "ORDERS"), ("durable", "carts")];

#[tokio::test]
async fn a_durable_follows_what_the_link_says() {
    let (mut lattice, context, stream) = lattice(RetentionPolicy::Limits).await;
    let mut heard = lattice.handler("cart", |_| Said::Done).await;
    let some = [&DURABLE[..], &[("filter_subjects", "orders.a,orders.d")]].concat();
    lattice.source("cart", &some).await;
    lattice.ready().await;
    publish(&context, "orders.a").await;
    assert_eq!(heard.next().await.subject, "orders.a");
    let other = [("filter_subjects", "orders.b"), ("ack_wait_ms", "7000")];
    lattice
        .source("cart", &[&DURABLE[..], &other].concat())
        .await;
    lattice.ready().await;
    publish(&context, "orders.b").await;
    assert_eq!(heard.next().await.subject, "orders.b");
    let consumer: PullConsumer = stream.get_consumer("carts").await.unwrap();
    let config = &consumer.cached_info().config;
    assert_eq!(config.ack_wait, Duration::from_secs(7));
    assert_eq!(config.max_deliver, -1, "the provider counts");
    // Without a filter it is all of them, and what was brought does not come again.
    lattice.source("cart", &DURABLE).await;
    lattice.ready().await;
    publish(&context, "orders.c").await;
    assert_eq!(heard.next().await.subject, "orders.c");
    assert!(heard.now().is_none());
}

#[tokio::test]
async fn what_a_durable_keeps_is_refused_by_name_until_it_goes() {
    let (mut lattice, _context, stream) = lattice(RetentionPolicy::Limits).await;
    lattice.source("cart", &DURABLE).await;
    lattice.ready().await;
    let new = [&DURABLE[..], &[("deliver", "new")]].concat();
    lattice.source("cart", &new).await;
    let reason = lattice.failed().await;
    for part in [
        "`carts`",
        "`ORDERS`",
        "`deliver` than `new`",
        "another `durable`",
    ] {
        assert!(reason.contains(part), "{reason}");
    }
    // As the reason says; nobody puts the link again.
    stream.delete_consumer("carts").await.unwrap();
    lattice.ready().await;
}

#[tokio::test]
async fn a_change_that_the_server_refuses_fails_the_link() {
    let (mut lattice, _context, stream) = lattice(RetentionPolicy::WorkQueue).await;
    let theirs = pull::Config {
        durable_name: Some("theirs".into()),
        filter_subject: "orders.b".into(),
        ..pull::Config::default()
    };
    stream.create_consumer(theirs).await.unwrap();
    let own = [&DURABLE[..], &[("filter_subjects", "orders.a")]].concat();
    lattice.source("cart", &own).await;
    lattice.ready().await;
    let taken = [&DURABLE[..], &[("filter_subjects", "orders.b")]].concat();
    lattice.source("cart", &taken).await;
    let reason = lattice.failed().await;
    for part in ["change `filter_subjects`", "`carts`", "not unique"] {
        assert!(reason.contains(part), "{reason}");
    }
}

#[tokio::test]
async fn a_message_that_never_reached_the_component_has_not_failed() {
    let (mut lattice, context, stream) = lattice(RetentionPolicy::WorkQueue).await;
    let refusals = Arc::new(AtomicUsize::new(0));
    let (counted, failed) = (Arc::clone(&refusals), AtomicUsize::new(0));
    let open = Arc::new(AtomicBool::new(false));
    let is_open = Arc::clone(&open);
    let say = move |_: &_| {
        counted.fetch_add(1, Ordering::SeqCst);
        match is_open.load(Ordering::SeqCst) {
            false => Said::Overloaded,
            true if failed.fetch_add(1, Ordering::SeqCst) == 0 => Said::Error("not yet"),
            true => Said::Done,
        }
    };
    let mut heard = lattice.handler("cart", say).await;
    let config = [
        ("stream", "ORDERS"),
        ("durable", "carts"),
        ("max_deliver", "2"),
        ("backoff", "10"),
    ];
    publish(&context, "orders.new").await;
    lattice.source("cart", &config).await;
    lattice.ready().await;
    for _ in 0..3 {
        refusals.store(0, Ordering::SeqCst);
        until(async || (refusals.load(Ordering::SeqCst) > 0).then_some(())).await;
        lattice.stop_providers().await;
        lattice.run::<MessagingNats>().await;
    }
    open.store(true, Ordering::SeqCst);
    for _ in 0..2 {
        assert_eq!(heard.next().await.text(), "orders.new");
    }
    until(async || {
        let info = stream.get_info().await.unwrap();
        (info.state.messages == 0).then_some(())
    })
    .await;
    let letters = context.get_stream("lattice_dead_ORDERS_carts").await;
    assert!(letters.is_err(), "it became a letter");
}

#[tokio::test]
async fn copies_of_the_provider_give_a_bad_message_up_together() {
    let (mut lattice, context, stream) = lattice(RetentionPolicy::WorkQueue).await;
    let attempts = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&attempts);
    let say = move |_: &_| {
        counted.fetch_add(1, Ordering::SeqCst);
        Said::Error("never")
    };
    let _heard = lattice.handler("cart", say).await;
    let config = [
        ("stream", "ORDERS"),
        ("durable", "carts"),
        ("max_deliver", "3"),
        ("backoff", "10"),
    ];
    lattice.source("cart", &config).await;
    lattice.ready().await;
    for _ in 0..9 {
        lattice.run::<MessagingNats>().await;
    }
    publish(&context, "orders.bad").await;
    until(async || {
        let info = stream.get_info().await.unwrap();
        (info.state.messages == 0).then_some(())
    })
    .await;
    let attempts = attempts.load(Ordering::SeqCst);
    assert!((3..=9).contains(&attempts), "{attempts}");
    let letters = context.get_stream("lattice_dead_ORDERS_carts").await;
    assert_eq!(letters.unwrap().get_info().await.unwrap().state.messages, 1);
}
