//! Messages by Mosquitto.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../../messaging-nats/tests/support/mod.rs"]
mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use lattice_nats_box::{Middleman, free_port};
use lattice_services::{Kind, Service};
use messaging_mqtt::MessagingMqtt;
use support::{Lattice, Said, until};
use tokio::time::Instant as WallClock;

async fn start() -> (Lattice, Service) {
    let broker = Service::start(Kind::Mosquitto).await.unwrap();
    (Lattice::start::<MessagingMqtt>().await, broker)
}

#[tokio::test]
async fn what_is_published_arrives() {
    let (mut lattice, broker) = start().await;
    let url = broker.url();
    let mut heard = lattice.handler("listener", |_| Said::Done).await;
    let config = [("url", &*url), ("subscriptions", "orders/+,x/#|group")];
    lattice.source("listener", &config).await;
    lattice.ready().await;
    let publisher = lattice.target("publisher", &[("url", &url)]).await;
    lattice.ready().await;
    publisher.publish("orders/new", b"").await.unwrap();
    let message = heard.next().await;
    assert_eq!((&*message.subject, message.body.len()), ("orders/new", 0));
    assert_eq!(message.reply_to, None);
    let whole = vec![7; 1024 * 1024];
    let sent = publisher.publish_with("x/y/z", &whole, Some("answers/1"));
    sent.await.unwrap();
    let message = heard.next().await;
    assert_eq!(message.body, whole);
    assert_eq!(message.reply_to.as_deref(), Some("answers/1"));
    publisher.publish("x", b"dots.stay").await.unwrap();
    assert_eq!(heard.next().await.text(), "dots.stay");
}

#[tokio::test]
async fn a_handler_answers_a_request_through_the_consumer() {
    let (mut lattice, broker) = start().await;
    let url = broker.url();
    let answerer = lattice.target("answerer", &[("url", &url)]).await;
    lattice.ready().await;
    let say = move |message: &support::Message| match message.text() {
        "?" => Said::Answer(answerer.clone(), "pong".into()),
        _ => Said::Done,
    };
    let _heard = lattice.handler("answerer", say).await;
    let config = [("url", &*url), ("subscriptions", "ping")];
    lattice.source("answerer", &config).await;
    lattice.ready().await;
    let asker = lattice.target("asker", &[("url", &url)]).await;
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

#[tokio::test]
async fn what_fails_is_tried_again_and_then_is_a_dead_letter() {
    let (mut lattice, broker) = start().await;
    let url = broker.url();
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    let say = move |message: &support::Message| match message.text() {
        "poison" => Said::Trap("wasm trap: unreachable"),
        _ if counted.fetch_add(1, Ordering::SeqCst) == 0 => Said::Error("not yet"),
        _ => Said::Done,
    };
    let mut heard = lattice.handler("cart", say).await;
    let mut letters = lattice.handler("undertaker", |_| Said::Done).await;
    for (id, subscriptions) in [("cart", "orders"), ("undertaker", "lattice/dead/cart")] {
        let config = [
            ("url", &*url),
            ("subscriptions", subscriptions),
            ("max_deliver", "3"),
            ("backoff", "50"),
        ];
        lattice.source(id, &config).await;
        lattice.ready().await;
    }
    let publisher = lattice.target("publisher", &[("url", &url)]).await;
    lattice.ready().await;
    publisher.publish("orders", b"good").await.unwrap();
    assert_eq!(heard.next().await.text(), "good");
    assert_eq!(heard.next().await.text(), "good");
    publisher.publish("orders", b"poison").await.unwrap();
    for _ in 0..3 {
        assert_eq!(heard.next().await.text(), "poison");
    }
    let letter = letters.next().await;
    assert_eq!(
        (&*letter.subject, letter.text()),
        ("lattice/dead/cart", "poison")
    );
    assert!(heard.now().is_none());
}

#[tokio::test]
async fn what_a_handler_refuses_that_is_not_kept_is_tried_again_too() {
    let (mut lattice, broker) = start().await;
    let url = broker.url();
    let say = |message: &support::Message| match message.text() {
        "slow" => Said::After(Duration::from_secs(60)),
        _ => Said::Error("no"),
    };
    let mut heard = lattice.handler("cart", say).await;
    let mut letters = lattice.handler("undertaker", |_| Said::Done).await;
    let config = [("url", &*url), ("subscriptions", "lattice/dead/cart")];
    lattice.source("undertaker", &config).await;
    lattice.ready().await;
    let config = [
        ("url", &*url),
        ("subscriptions", "orders"),
        ("qos", "0"),
        ("backoff", "20"),
        ("timeout_ms", "300"),
    ];
    lattice.source("cart", &config).await;
    lattice.ready().await;
    let target = [("url", &*url), ("qos", "0")];
    let publisher = lattice.target("publisher", &target).await;
    lattice.ready().await;
    for (body, attempts) in [("bad", 5), ("slow", 1)] {
        publisher.publish("orders", body.as_bytes()).await.unwrap();
        for _ in 0..attempts {
            assert_eq!(heard.next().await.text(), body);
        }
        assert_eq!(letters.next().await.text(), body);
    }
    assert!(heard.now().is_none());
}

#[tokio::test]
async fn a_letter_that_would_be_too_large_goes_without_the_body() {
    let (mut lattice, broker) = start().await;
    let url = broker.url();
    let mut heard = lattice.handler("cart", |_| Said::Error("no")).await;
    let mut letters = lattice.handler("undertaker", |_| Said::Done).await;
    let config = [("url", &*url), ("subscriptions", "lattice/dead/cart")];
    lattice.source("undertaker", &config).await;
    lattice.ready().await;
    let config = [
        ("url", &*url),
        ("subscriptions", "orders"),
        ("max_deliver", "1"),
        ("max_message_bytes", "1000"),
    ];
    lattice.source("cart", &config).await;
    lattice.ready().await;
    let publisher = lattice.target("publisher", &[("url", &url)]).await;
    lattice.ready().await;
    publisher.publish("orders", &[b'x'; 2000]).await.unwrap();
    assert_eq!(letters.next().await.body.len(), 0);
    // It is settled: those behind it are acknowledged too.
    publisher.publish("orders", b"small").await.unwrap();
    assert_eq!(letters.next().await.text(), "small");
    assert_eq!(heard.next().await.body.len(), 2000);
    assert_eq!(heard.next().await.text(), "small");
    assert!(heard.now().is_none());
}

#[tokio::test]
async fn a_letter_of_which_nobody_hears_is_posted_again_where_the_link_names_its_topic() {
    let (mut lattice, broker) = start().await;
    let url = broker.url();
    let mut heard = lattice.handler("cart", |_| Said::Error("no")).await;
    let config = [
        ("url", &*url),
        ("subscriptions", "orders"),
        ("max_deliver", "1"),
        ("dead_letter", "morgue"),
        ("require", "dead-letter"),
    ];
    lattice.source("cart", &config).await;
    lattice.ready().await;
    let publisher = lattice.target("publisher", &[("url", &url)]).await;
    lattice.ready().await;
    publisher.publish("orders", b"bad").await.unwrap();
    assert_eq!(heard.next().await.text(), "bad");
    let reason = lattice.failed().await;
    let expected = "could not post a dead letter to `morgue`: nobody subscribes to it";
    assert!(reason.contains(expected), "{reason}");
    let mut letters = lattice.handler("undertaker", |_| Said::Done).await;
    let config = [("url", &*url), ("subscriptions", "morgue")];
    lattice.source("undertaker", &config).await;
    let letter = letters.next().await;
    assert_eq!((&*letter.subject, letter.text()), ("morgue", "bad"));
    for _ in 0..2 {
        lattice.ready().await;
    }
    assert!(heard.now().is_none());
}

#[tokio::test]
async fn a_link_that_names_no_topic_for_letters_keeps_none() {
    let (mut lattice, broker) = start().await;
    let url = broker.url();
    let mut heard = lattice.handler("cart", |_| Said::Error("no")).await;
    let config = [
        ("url", &*url),
        ("subscriptions", "orders"),
        ("max_deliver", "1"),
    ];
    let requires = [("require", "dead-letter")];
    lattice
        .source("cart", &[&config[..], &requires].concat())
        .await;
    let reason = lattice.failed().await;
    let expected = "the link requires `dead-letter`";
    assert!(reason.starts_with(expected), "{reason}");
    lattice.source("cart", &config).await;
    lattice.ready().await;
    let publisher = lattice.target("publisher", &[("url", &url)]).await;
    lattice.ready().await;
    // Their letters are lost, and hold nobody up.
    for body in ["1", "2"] {
        publisher.publish("orders", body.as_bytes()).await.unwrap();
        assert_eq!(heard.next().await.text(), body);
    }
}

#[tokio::test]
async fn a_letter_that_its_own_link_hears_does_not_go_round() {
    let (mut lattice, broker) = start().await;
    let url = broker.url();
    let say = |message: &support::Message| match message.text() {
        "poison" => Said::Error("no\u{ffff}"),
        _ => Said::Done,
    };
    let mut heard = lattice.handler("cart", say).await;
    let config = [("url", &*url), ("subscriptions", "#"), ("max_deliver", "1")];
    lattice.source("cart", &config).await;
    lattice.ready().await;
    let publisher = lattice.target("publisher", &[("url", &url)]).await;
    lattice.ready().await;
    let mut told = Vec::new();
    for body in ["poison", "1", "2", "3"] {
        publisher.publish("orders", body.as_bytes()).await.unwrap();
        let mut next = heard.next().await;
        while next.text() != body || next.subject != "orders" {
            told.push(next.subject);
            next = heard.next().await;
        }
    }
    // A letter of the letter would be before the last of these.
    told.extend(std::iter::from_fn(|| heard.now()).map(|next| next.subject));
    told.retain(|subject| !subject.starts_with("lattice/sessions/"));
    assert_eq!(told, ["lattice/dead/cart"]);
}

#[tokio::test]
async fn what_a_lost_connection_brought_makes_room_for_what_comes_again() {
    let (mut lattice, broker) = start().await;
    let middleman = Middleman::before(broker.port()).await.unwrap();
    let shaky = middleman.instead_of(&broker.url());
    // It takes longer than the test.
    let say = |_: &_| Said::After(Duration::from_secs(300));
    let mut heard = lattice.handler("slow", say).await;
    let config = [
        ("url", &*shaky),
        ("subscriptions", "orders"),
        ("max_in_flight", "1"),
        ("timeout_ms", "300000"),
    ];
    lattice.source("slow", &config).await;
    lattice.ready().await;
    let publisher = lattice.target("publisher", &[("url", &broker.url())]).await;
    lattice.ready().await;
    publisher.publish("orders", b"1").await.unwrap();
    assert_eq!(heard.next().await.text(), "1");
    for _ in 0..2 {
        middleman.cut();
        assert_eq!(heard.next().await.text(), "1");
    }
    assert!(heard.now().is_none());
}

#[tokio::test]
async fn what_comes_while_the_provider_is_away_is_kept() {
    let (mut lattice, broker) = start().await;
    let url = broker.url();
    let mut heard = lattice.handler("listener", |_| Said::Done).await;
    let config = [("url", &*url), ("subscriptions", "orders")];
    lattice.source("listener", &config).await;
    lattice.ready().await;
    let publisher = lattice.target("publisher", &[("url", &url)]).await;
    lattice.ready().await;
    publisher.publish("orders", b"1").await.unwrap();
    assert_eq!(heard.next().await.text(), "1");
    lattice.stop_providers().await;
    let mut other = Lattice::start::<MessagingMqtt>().await;
    let elsewhere = other.target("publisher", &[("url", &url)]).await;
    other.ready().await;
    elsewhere.publish("orders", b"2").await.unwrap();
    lattice.run::<MessagingMqtt>().await;
    assert_eq!(heard.next().await.text(), "2");
    assert!(heard.now().is_none());
}

#[tokio::test]
async fn nothing_acknowledged_is_lost_when_the_broker_is_killed() {
    let (mut lattice, mut broker) = start().await;
    let url = broker.url();
    let count = AtomicUsize::new(0);
    let say = move |_: &_| match count.fetch_add(1, Ordering::SeqCst) % 7 {
        0 => Said::Error("not yet"),
        1 => Said::After(Duration::from_millis(20)),
        _ => Said::Done,
    };
    let mut heard = lattice.handler("listener", say).await;
    let config = [
        ("url", &*url),
        ("subscriptions", "orders"),
        ("max_deliver", "20"),
        ("backoff", "10"),
    ];
    lattice.source("listener", &config).await;
    lattice.ready().await;
    let publisher = lattice.target("publisher", &[("url", &url)]).await;
    lattice.ready().await;
    let mut acknowledged = Vec::new();
    for number in 0..300_u32 {
        let sent = publisher
            .publish("orders", number.to_string().as_bytes())
            .await;
        if sent.is_ok() {
            acknowledged.push(number);
        }
        if number == 150 {
            // Mosquitto writes its queue to disk once a second.
            tokio::time::sleep(Duration::from_millis(2500)).await;
            broker.kill();
            let error = until(async || publisher.publish("orders", b"x").await.err()).await;
            assert!(
                error.contains("connection") || error.contains("confirm"),
                "{error}"
            );
            broker.start_again().await.unwrap();
            until(async || publisher.publish("orders", b"0").await.ok()).await;
        }
    }
    assert!(acknowledged.len() > 290, "{}", acknowledged.len());
    let mut missing: Vec<_> = acknowledged;
    while !missing.is_empty() {
        let number: u32 = heard.next().await.text().parse().unwrap_or_default();
        missing.retain(|wanted| *wanted != number);
    }
}

#[tokio::test]
async fn a_broker_that_goes_away_is_told_and_comes_back() {
    let (mut lattice, mut broker) = start().await;
    let url = broker.url();
    lattice.target("publisher", &[("url", &url)]).await;
    lattice.ready().await;
    broker.kill();
    let reason = lattice.failed().await;
    assert!(
        reason.contains("no connection to the MQTT broker"),
        "{reason}"
    );
    broker.start_again().await.unwrap();
    lattice.ready().await;
}

#[tokio::test]
async fn one_of_two_copies_has_a_session_and_the_other_takes_over() {
    let (mut lattice, broker) = start().await;
    let url = broker.url();
    let mut heard = lattice.handler("listener", |_| Said::Done).await;
    let config = [("url", &*url), ("subscriptions", "news")];
    lattice.source("listener", &config).await;
    lattice.ready().await;
    lattice.run::<MessagingMqtt>().await;
    let publisher = lattice.target("publisher", &[("url", &url)]).await;
    lattice.ready().await;
    for number in 0..20 {
        let body = number.to_string();
        publisher.publish("news", body.as_bytes()).await.unwrap();
    }
    for number in 0..20 {
        assert_eq!(heard.next().await.text(), number.to_string());
    }
    assert!(heard.now().is_none());
}

#[tokio::test]
async fn what_mqtt_does_not_take_is_refused_by_name() {
    let (mut lattice, broker) = start().await;
    let url = broker.url();
    let config = [("url", &*url), ("max_message_bytes", "1000")];
    let publisher = lattice.target("publisher", &config).await;
    lattice.ready().await;
    let (long, too_many) = ("t".repeat(65_536), format!("a#{}", "0".repeat(131_072)));
    let odd = ["a/+", "a/#/b", "a#xyz", "a\u{0}b", "a\u{ffff}", "a\u{fdd0}"];
    let odd = odd.into_iter().chain([&*long, &too_many]);
    // The connection is that of others too: nobody hangs up on it.
    for topic in odd.chain([""]) {
        let error = publisher.publish(topic, b"x").await.unwrap_err();
        assert!(error.contains("cannot be published to"), "{error}");
        let error = publisher.publish_with("a", b"x", Some(topic)).await.err();
        let error = error.unwrap_or_default();
        let refused = topic.is_empty() || error.contains("cannot be published to");
        assert!(refused, "{error}");
        publisher.publish("a", b"x").await.unwrap();
    }
    let error = publisher.publish("a", &[0; 1001]).await.unwrap_err();
    assert!(
        error.contains("1001 bytes") && error.contains("limit is 1000"),
        "{error}"
    );
    publisher.publish("a", &[0; 1000]).await.unwrap();
}

#[tokio::test]
async fn a_link_that_cannot_work_says_why() {
    let (mut lattice, broker) = start().await;
    let url = broker.url();
    let nowhere = format!("mqtt://127.0.0.1:{}", free_port().unwrap());
    for (config, part) in [
        (
            [("url", &*nowhere), ("subscriptions", "a")],
            "could not connect to the MQTT broker",
        ),
        (
            [("url", &*url), ("subscriptions", "a/#/b")],
            "`subscriptions`",
        ),
        ([("url", &*url), ("tls_ca", "none")], "no `subscriptions`"),
        ([("url", "broker"), ("subscriptions", "a")], "`url`"),
    ] {
        let begun = WallClock::now();
        lattice.source("listener", &config).await;
        let reason = lattice.failed().await;
        assert!(reason.contains(part), "{reason}");
        assert!(begun.elapsed() < Duration::from_secs(5));
    }
}

#[tokio::test]
async fn a_broker_that_is_silent_is_an_error_until_it_speaks_again() {
    let (mut lattice, broker) = start().await;
    let publisher = lattice.target("publisher", &[("url", &broker.url())]).await;
    lattice.ready().await;
    publisher.publish("news", b"before").await.unwrap();
    broker.freeze().unwrap();
    let begun = WallClock::now();
    let (sent, reason) = tokio::join!(publisher.publish("news", b"x"), lattice.failed());
    let silent = begun.elapsed();
    broker.thaw().unwrap();
    let error = sent.unwrap_err();
    assert!(error.contains("confirm"), "{error}");
    assert!(reason.contains("did not answer"), "{reason}");
    assert!(silent < Duration::from_secs(7), "{silent:?}");
    lattice.ready().await;
    publisher.publish("news", b"after").await.unwrap();
}
