//! Messages by RabbitMQ.
//!
//! One server serves all cases, each of which has subjects and components of its own, but for that
//! which kills it.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../../messaging-nats/tests/support/mod.rs"]
mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::future::join_all;
use lapin::types::{AMQPValue, FieldTable};
use lattice_nats_box::free_port;
use lattice_services::{Kind, Service};
use messaging_rabbitmq::MessagingRabbitMq;
use support::{Lattice, Said, until};
use tokio::time::Instant as WallClock;

async fn lattice() -> Lattice {
    Lattice::start::<MessagingRabbitMq>().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_by_rabbitmq() {
    let mut server = Service::start(Kind::RabbitMq).await.unwrap();
    let url = server.url();
    tokio::join!(
        what_is_published_arrives(&url),
        a_handler_answers_a_request_through_the_consumer(&url),
        what_fails_is_tried_again_and_then_is_a_dead_letter(&url),
        no_letter_is_lost_before_there_is_a_queue_for_them(&url),
        a_letter_has_neither_the_time_nor_the_copies_of_its_message(&url),
        a_letter_that_its_own_link_hears_does_not_go_round(&url),
        who_asks_nobody_is_told_so_whoever_else_asks(&url),
        copies_and_groups_share_and_links_each_get_all(&url),
        what_comes_while_the_provider_is_away_is_kept(&url),
        what_amqp_does_not_take_is_refused_by_name(&url),
        a_link_that_cannot_work_says_why(&url),
    );
    a_server_that_is_silent_is_an_error_until_it_speaks_again(&server).await;
    nothing_acknowledged_is_lost_when_the_server_is_killed(&mut server).await;
}

async fn what_is_published_arrives(url: &str) {
    let mut lattice = lattice().await;
    let mut heard = lattice.handler("first", |_| Said::Done).await;
    let config = [("url", url), ("subscriptions", "first.*,x.#")];
    lattice.source("first", &config).await;
    lattice.ready().await;
    let publisher = lattice.target("publisher", &[("url", url)]).await;
    lattice.ready().await;
    publisher.publish("first.new", b"").await.unwrap();
    let message = heard.next().await;
    assert_eq!((&*message.subject, message.body.len()), ("first.new", 0));
    assert_eq!(message.reply_to, None);
    let whole = vec![7; 1024 * 1024];
    let sent = publisher.publish_with("x.y.z", &whole, Some("answers.1"));
    sent.await.unwrap();
    let message = heard.next().await;
    assert_eq!(message.body, whole);
    assert_eq!(message.reply_to.as_deref(), Some("answers.1"));
}

async fn a_handler_answers_a_request_through_the_consumer(url: &str) {
    let mut lattice = lattice().await;
    let answerer = lattice.target("answerer", &[("url", url)]).await;
    lattice.ready().await;
    let say = move |message: &support::Message| match message.text() {
        "?" => Said::Answer(answerer.clone(), "pong".into()),
        _ => Said::Done,
    };
    let _heard = lattice.handler("answerer", say).await;
    let config = [("url", url), ("subscriptions", "ping")];
    lattice.source("answerer", &config).await;
    lattice.ready().await;
    let asker = lattice.target("asker", &[("url", url)]).await;
    lattice.ready().await;
    let answer = asker.request("ping", b"?", 5000).await.unwrap();
    assert_eq!(answer.text(), "pong");
    let error = asker.request("ping", b"!", 300).await.unwrap_err();
    assert_eq!(error, "nobody answered on `ping` within 300ms");
    let begun = WallClock::now();
    let error = asker.request("nobody", b"?", 20_000).await.unwrap_err();
    assert_eq!(error, "nobody listens on `nobody`");
    assert!(begun.elapsed() < Duration::from_secs(5));
}

async fn what_fails_is_tried_again_and_then_is_a_dead_letter(url: &str) {
    let mut lattice = lattice().await;
    let count = Arc::new(AtomicUsize::new(0));
    let say = move |message: &support::Message| match message.text() {
        "poison" => Said::Trap("wasm trap: unreachable"),
        _ if count.fetch_add(1, Ordering::SeqCst) == 0 => Said::Error("not yet"),
        _ => Said::Done,
    };
    let mut heard = lattice.handler("cart", say).await;
    let config = [
        ("url", url),
        ("subscriptions", "carts"),
        ("queue", "carts"),
        ("max_deliver", "3"),
        ("backoff", "50"),
    ];
    lattice.source("cart", &config).await;
    lattice.ready().await;
    let publisher = lattice.target("publisher", &[("url", url)]).await;
    lattice.ready().await;
    publisher.publish("carts", b"good").await.unwrap();
    assert_eq!(heard.next().await.text(), "good");
    assert_eq!(heard.next().await.text(), "good");
    publisher.publish("carts", b"poison").await.unwrap();
    for _ in 0..3 {
        assert_eq!(heard.next().await.text(), "poison");
    }
    let letter = until(async || letter(url, "carts.dead").await).await;
    let headers = letter.properties.headers().clone().unwrap();
    let header = |name: &str| match headers.inner().get(name) {
        Some(lapin::types::AMQPValue::LongString(text)) => text.to_string(),
        other => panic!("{other:?}"),
    };
    assert_eq!(letter.data, b"poison");
    assert!(header("lattice-cause").contains("wasm trap: unreachable"));
    assert_eq!(header("lattice-subject"), "carts");
    assert_eq!(header("lattice-attempts"), "3");
    assert!(heard.now().is_none());
}

async fn no_letter_is_lost_before_there_is_a_queue_for_them(url: &str) {
    let mut lattice = lattice().await;
    let _heard = lattice.handler("morgue", |_| Said::Error("no")).await;
    let config = [
        ("url", url),
        ("subscriptions", "morgue"),
        ("queue", "morgue"),
        ("max_deliver", "1"),
    ];
    lattice.source("morgue", &config).await;
    lattice.ready().await;
    let publisher = lattice.target("publisher", &[("url", url)]).await;
    lattice.ready().await;
    // Letters are posted while others are published.
    let sent = (0..40).map(|_| publisher.publish("morgue", b"x"));
    for sent in join_all(sent).await {
        sent.unwrap();
    }
    let connection = connect(url).await.unwrap();
    until(async || {
        let channel = connection.create_channel().await.ok()?;
        let options = lapin::options::QueueDeclareOptions {
            passive: true,
            ..lapin::options::QueueDeclareOptions::default()
        };
        let queue = channel.queue_declare("morgue.dead".into(), options, FieldTable::default());
        (queue.await.ok()?.message_count() == 40).then_some(())
    })
    .await;
}

async fn a_letter_has_neither_the_time_nor_the_copies_of_its_message(url: &str) {
    let mut lattice = lattice().await;
    let mut heard = lattice.handler("mortal", |_| Said::Error("no")).await;
    let config = [
        ("url", url),
        ("subscriptions", "mortals"),
        ("queue", "mortals"),
        ("max_deliver", "1"),
    ];
    lattice.source("mortal", &config).await;
    lattice.ready().await;
    let connection = connect(url).await.unwrap();
    let channel = connection.create_channel().await.unwrap();
    // Nearly a whole frame, into which a letter does not fit with that.
    for size in [10, 130_900] {
        let mut headers = FieldTable::default();
        let copies = vec![AMQPValue::LongString("mortals.copies".into())];
        headers.insert("CC".into(), AMQPValue::FieldArray(copies.into()));
        headers.insert("k".into(), AMQPValue::LongString(vec![b'x'; size].into()));
        let properties = lapin::BasicProperties::default()
            .with_expiration("600000".into())
            .with_headers(headers);
        let (exchange, key) = ("amq.topic".into(), "mortals".into());
        let options = lapin::options::BasicPublishOptions::default();
        let sent = channel.basic_publish(exchange, key, options, b"x", properties);
        sent.await.unwrap().await.unwrap();
        assert_eq!(heard.next().await.text(), "x");
        let letter = until(async || letter(url, "mortals.dead").await).await;
        assert_eq!(letter.properties.expiration(), &None);
        let headers = letter.properties.headers().clone().unwrap();
        assert!(headers.contains_key("lattice-cause") && !headers.contains_key("CC"));
        let is_small = size == 10;
        assert_eq!(headers.contains_key("lattice-original-CC"), is_small);
        assert_eq!(headers.contains_key("lattice-size"), !is_small);
        assert_eq!(letter.data.is_empty(), !is_small);
    }
    assert!(heard.now().is_none());
}

async fn a_letter_that_its_own_link_hears_does_not_go_round(url: &str) {
    let mut lattice = lattice().await;
    let say = |message: &support::Message| match message.text() {
        "poison" => Said::Error("no"),
        _ => Said::Done,
    };
    let mut heard = lattice.handler("round", say).await;
    let config = [
        ("url", url),
        ("subscriptions", "rounds"),
        ("queue", "round"),
        ("dead_letter", "round"),
        ("max_deliver", "1"),
    ];
    lattice.source("round", &config).await;
    lattice.ready().await;
    let publisher = lattice.target("publisher", &[("url", url)]).await;
    lattice.ready().await;
    let mut told = Vec::new();
    for body in ["poison", "1", "2", "3"] {
        publisher.publish("rounds", body.as_bytes()).await.unwrap();
        let mut next = heard.next().await;
        while next.text() != body || next.subject != "rounds" {
            told.push(next.subject);
            next = heard.next().await;
        }
    }
    // A letter of the letter would be before the last of these.
    told.extend(std::iter::from_fn(|| heard.now()).map(|next| next.subject));
    assert_eq!(told, ["round"]);
}

async fn who_asks_nobody_is_told_so_whoever_else_asks(url: &str) {
    let mut lattice = lattice().await;
    let answerer = lattice.target("oracle", &[("url", url)]).await;
    lattice.ready().await;
    let say = move |_: &_| Said::Answer(answerer.clone(), "pong".into());
    let _heard = lattice.handler("oracle", say).await;
    let config = [("url", url), ("subscriptions", "oracle")];
    lattice.source("oracle", &config).await;
    lattice.ready().await;
    let asker = lattice.target("asker", &[("url", url)]).await;
    lattice.ready().await;
    let asker = &asker;
    let ask = |number: usize| async move {
        let subject = match number % 2 {
            0 => "oracle".to_owned(),
            _ => format!("nobody.{number}"),
        };
        let answer = asker.request(&subject, b"?", 20_000).await;
        match number % 2 {
            0 => assert_eq!(answer.unwrap().text(), "pong"),
            _ => assert_eq!(
                answer.unwrap_err(),
                format!("nobody listens on `{subject}`")
            ),
        }
    };
    join_all((0..60).map(ask)).await;
}

async fn connect(url: &str) -> lapin::Result<lapin::Connection> {
    lapin::Connection::connect(url, lapin::ConnectionProperties::default()).await
}

/// The first message of a queue, if there is one.
async fn letter(url: &str, queue: &str) -> Option<lapin::message::BasicGetMessage> {
    let connection = connect(url).await.ok()?;
    let channel = connection.create_channel().await.ok()?;
    let options = lapin::options::BasicGetOptions { no_ack: true };
    channel.basic_get(queue.into(), options).await.ok()?
}

async fn copies_and_groups_share_and_links_each_get_all(url: &str) {
    let mut lattice = lattice().await;
    let mut one = lattice.handler("one", |_| Said::Done).await;
    let mut two = lattice.handler("two", |_| Said::Done).await;
    let mut three = lattice.handler("three", |_| Said::Done).await;
    for (id, subscriptions) in [
        ("one", "news"),
        ("two", "news|shared"),
        ("three", "news|shared"),
    ] {
        let config = [("url", url), ("subscriptions", subscriptions)];
        lattice.source(id, &config).await;
        lattice.ready().await;
    }
    lattice.run::<MessagingRabbitMq>().await;
    let publisher = lattice.target("publisher", &[("url", url)]).await;
    lattice.ready().await;
    for number in 0..40 {
        let body = number.to_string();
        publisher.publish("news", body.as_bytes()).await.unwrap();
    }
    let mut seen = Vec::new();
    for _ in 0..40 {
        seen.push(one.next().await.text().parse::<u32>().unwrap());
    }
    seen.sort_unstable();
    assert_eq!(seen, (0..40).collect::<Vec<_>>());
    let mut shared = Vec::new();
    until(async || {
        for heard in [&mut two, &mut three] {
            shared.extend(heard.now().map(|m| m.text().parse::<u32>().unwrap()));
        }
        (shared.len() >= 40).then_some(())
    })
    .await;
    shared.sort_unstable();
    assert_eq!(shared, (0..40).collect::<Vec<_>>());
}

async fn what_comes_while_the_provider_is_away_is_kept(url: &str) {
    let mut lattice = lattice().await;
    let mut heard = lattice.handler("absent", |_| Said::Done).await;
    let config = [
        ("url", url),
        ("subscriptions", "absent"),
        ("queue_type", "quorum"),
    ];
    lattice.source("absent", &config).await;
    lattice.ready().await;
    lattice.stop_providers().await;
    let mut other = self::lattice().await;
    let elsewhere = other.target("publisher", &[("url", url)]).await;
    other.ready().await;
    elsewhere.publish("absent", b"kept").await.unwrap();
    lattice.run::<MessagingRabbitMq>().await;
    assert_eq!(heard.next().await.text(), "kept");
    assert!(heard.now().is_none());
}

async fn what_amqp_does_not_take_is_refused_by_name(url: &str) {
    let mut lattice = lattice().await;
    let config = [
        ("url", url),
        ("max_message_bytes", "1000"),
        ("mandatory", "true"),
    ];
    let publisher = lattice.target("publisher", &config).await;
    lattice.ready().await;
    let long = "x".repeat(256);
    for subject in ["", &*long, "reply:zz:q"] {
        let error = publisher.publish(subject, b"x").await.unwrap_err();
        assert!(error.contains("cannot be published to"), "{error}");
    }
    let error = publisher.publish("a", &[0; 1001]).await.unwrap_err();
    assert!(
        error.contains("1001 bytes") && error.contains("limit is 1000"),
        "{error}"
    );
    let error = publisher.publish("nobody", b"x").await.unwrap_err();
    assert_eq!(error, "nobody listens on `nobody`");
}

async fn a_link_that_cannot_work_says_why(url: &str) {
    let mut lattice = lattice().await;
    let nowhere = format!("amqp://127.0.0.1:{}", free_port().unwrap());
    let wrong = url.replace("guest:guest", "guest:wrong");
    for (config, part) in [
        (
            [("url", &*nowhere), ("subscriptions", "a")],
            "could not connect to RabbitMQ",
        ),
        ([("url", &*wrong), ("subscriptions", "a")], "ACCESS_REFUSED"),
        ([("url", url), ("subscriptions", "a|")], "`subscriptions`"),
        (
            [("url", url), ("exchange", "amq.fanout")],
            "no `subscriptions`",
        ),
        ([("url", "rabbit"), ("subscriptions", "a")], "`url`"),
    ] {
        let begun = WallClock::now();
        lattice.source("listener", &config).await;
        let reason = lattice.failed().await;
        assert!(reason.contains(part), "{reason}");
        assert!(!reason.contains("wrong"), "{reason}");
        assert!(
            begun.elapsed() < Duration::from_secs(5),
            "{:?}",
            begun.elapsed()
        );
    }
    // An exchange of another kind is the server's to refuse.
    let config = [("url", url), ("exchange", "amq.fanout")];
    lattice.target("publisher", &config).await;
    let reason = lattice.failed().await;
    assert!(
        reason.contains("PRECONDITION_FAILED") || reason.contains("ACCESS_REFUSED"),
        "{reason}"
    );
}

async fn a_server_that_is_silent_is_an_error_until_it_speaks_again(server: &Service) {
    let mut lattice = lattice().await;
    let url = server.url();
    let publisher = lattice.target("publisher", &[("url", &url)]).await;
    lattice.ready().await;
    publisher.publish("silence", b"before").await.unwrap();
    server.freeze().unwrap();
    let begun = WallClock::now();
    let (sent, reason) = tokio::join!(publisher.publish("silence", b"x"), lattice.failed());
    let silent = begun.elapsed();
    server.thaw().unwrap();
    let error = sent.unwrap_err();
    assert!(error.contains("confirm"), "{error}");
    assert!(reason.contains("did not answer"), "{reason}");
    assert!(silent < Duration::from_secs(7), "{silent:?}");
    lattice.ready().await;
    publisher.publish("silence", b"after").await.unwrap();
}

async fn nothing_acknowledged_is_lost_when_the_server_is_killed(server: &mut Service) {
    let url = server.url();
    let mut lattice = lattice().await;
    let count = AtomicUsize::new(0);
    let say = move |_: &_| match count.fetch_add(1, Ordering::SeqCst) % 7 {
        0 => Said::Error("not yet"),
        1 => Said::After(Duration::from_millis(20)),
        _ => Said::Done,
    };
    let mut heard = lattice.handler("survivor", say).await;
    let config = [
        ("url", &*url),
        ("subscriptions", "survivors"),
        ("max_deliver", "20"),
        ("backoff", "10"),
    ];
    lattice.source("survivor", &config).await;
    lattice.ready().await;
    let publisher = lattice.target("publisher", &[("url", &url)]).await;
    lattice.ready().await;
    let mut acknowledged = Vec::new();
    for number in 0..300_u32 {
        let body = number.to_string();
        if publisher
            .publish("survivors", body.as_bytes())
            .await
            .is_ok()
        {
            acknowledged.push(number);
        }
        if number == 150 {
            server.kill();
            let refused = async || publisher.publish("survivors", b"9999").await.err();
            let error = until(refused).await;
            assert!(
                error.contains("connection") || error.contains("confirm"),
                "{error}"
            );
            let reason = lattice.failed().await;
            assert!(reason.contains("RabbitMQ"), "{reason}");
            server.start_again().await.unwrap();
            lattice.ready().await;
            until(async || publisher.publish("survivors", b"9999").await.ok()).await;
        }
    }
    assert!(acknowledged.len() > 290, "{}", acknowledged.len());
    while !acknowledged.is_empty() {
        let number: u32 = heard.next().await.text().parse().unwrap();
        acknowledged.retain(|wanted| *wanted != number);
    }
}
