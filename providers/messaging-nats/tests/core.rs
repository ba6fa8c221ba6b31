//! Messages by core NATS.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(
    clippy::disallowed_methods,
    reason = "stands in for other programs on the same NATS"
)]

mod support;

use std::time::Duration;

use futures::StreamExt as _;
use lattice_nats_box::{NatsBox, NatsBoxOptions, free_port};
use messaging_nats::MessagingNats;
use support::{Lattice, Said, until};
use tokio::time::Instant as WallClock;

async fn lattice() -> Lattice {
    Lattice::start::<MessagingNats>().await
}

#[tokio::test]
async fn what_is_published_arrives() {
    let mut lattice = lattice().await;
    let mut heard = lattice.handler("listener", |_| Said::Done).await;
    lattice
        .source("listener", &[("subscriptions", "orders.*,x.y|group")])
        .await;
    lattice.ready().await;
    let publisher = lattice.target("publisher", &[]).await;
    lattice.ready().await;
    publisher.publish("orders.new", b"").await.unwrap();
    let message = heard.next().await;
    assert_eq!((&*message.subject, message.body.len()), ("orders.new", 0));
    assert_eq!(message.reply_to, None);
    let whole = vec![7; 1024 * 1024];
    publisher
        .publish_with("x.y", &whole, Some("answers"))
        .await
        .unwrap();
    let message = heard.next().await;
    assert_eq!(message.body, whole);
    assert_eq!(message.reply_to.as_deref(), Some("answers"));
}

#[tokio::test]
async fn a_handler_answers_a_request_through_the_consumer() {
    let mut lattice = lattice().await;
    let answerer = lattice.target("answerer", &[]).await;
    lattice.ready().await;
    let say = move |_: &_| Said::Answer(answerer.clone(), "pong".into());
    let _heard = lattice.handler("answerer", say).await;
    lattice
        .source("answerer", &[("subscriptions", "ping")])
        .await;
    lattice.ready().await;
    let asker = lattice.target("asker", &[]).await;
    lattice.ready().await;
    let answer = asker.request("ping", b"?", 5000).await.unwrap();
    assert_eq!(answer.text(), "pong");
    // A program without a component asks the same way.
    let nats = lattice.nats.client().await.unwrap();
    let answer = nats.request("ping", "?".into()).await.unwrap();
    assert_eq!(&answer.payload[..], b"pong");
}

#[tokio::test]
async fn a_request_that_nobody_hears_fails_at_once_and_one_that_nobody_answers_in_time() {
    let mut lattice = lattice().await;
    let asker = lattice.target("asker", &[]).await;
    lattice.ready().await;
    let begun = WallClock::now();
    let error = asker.request("nobody", b"?", 20_000).await.unwrap_err();
    assert_eq!(error, "nobody listens on `nobody`");
    assert!(begun.elapsed() < Duration::from_secs(5));
    let nats = lattice.nats.client().await.unwrap();
    let _silent = nats.subscribe("silent").await.unwrap();
    lattice_nats_box::taken_in(&nats).await.unwrap();
    let error = asker.request("silent", b"?", 200).await.unwrap_err();
    assert_eq!(error, "nobody answered on `silent` within 200ms");
}

#[tokio::test]
async fn copies_share_a_link_and_links_each_get_all() {
    let mut lattice = lattice().await;
    let mut one = lattice.handler("one", |_| Said::Done).await;
    let mut two = lattice.handler("two", |_| Said::Done).await;
    for id in ["one", "two"] {
        lattice.source(id, &[("subscriptions", "news")]).await;
        lattice.ready().await;
    }
    lattice.run::<MessagingNats>().await;
    let nats = lattice.nats.client().await.unwrap();
    for number in 0..50 {
        nats.publish("news", number.to_string().into())
            .await
            .unwrap();
    }
    for heard in [&mut one, &mut two] {
        let mut seen = Vec::new();
        for _ in 0..50 {
            seen.push(heard.next().await.text().parse::<u32>().unwrap());
        }
        seen.sort_unstable();
        assert_eq!(seen, (0..50).collect::<Vec<_>>());
    }
    lattice.unlink().await;
    assert!(one.now().is_none() && two.now().is_none());
}

#[tokio::test]
async fn what_fails_once_is_lost_but_overload_is_waited_for() {
    let mut lattice = lattice().await;
    let count = std::sync::atomic::AtomicUsize::new(0);
    let say = move |message: &support::Message| match message.text() {
        "bad" => Said::Error("no"),
        _ if count.fetch_add(1, std::sync::atomic::Ordering::SeqCst) < 2 => Said::Overloaded,
        _ => Said::Done,
    };
    let mut heard = lattice.handler("listener", say).await;
    let config = [("subscriptions", "a"), ("dead_letter", "dead")];
    lattice.source("listener", &config).await;
    lattice.ready().await;
    let nats = lattice.nats.client().await.unwrap();
    let mut dead = nats.subscribe("dead").await.unwrap();
    lattice_nats_box::taken_in(&nats).await.unwrap();
    nats.publish("a", "bad".into()).await.unwrap();
    assert_eq!(heard.next().await.text(), "bad");
    let letter = dead.next().await.unwrap();
    let headers = letter.headers.unwrap();
    let cause = headers.get("lattice-cause").unwrap().as_str();
    assert_eq!(cause, "the handler returned an error: no");
    assert_eq!(headers.get("lattice-subject").unwrap().as_str(), "a");
    assert_eq!(headers.get("lattice-attempts").unwrap().as_str(), "1");
    nats.publish("a", "good".into()).await.unwrap();
    assert_eq!(heard.next().await.text(), "good");
    assert!(heard.now().is_none());
}

#[tokio::test]
async fn what_nats_does_not_take_is_refused_by_name() {
    let mut lattice = lattice().await;
    let publisher = lattice.target("publisher", &[]).await;
    lattice.ready().await;
    for subject in ["", "a b", "a.*", "a..b", ">"] {
        let error = publisher.publish(subject, b"x").await.unwrap_err();
        assert!(error.contains("NATS subject"), "{error}");
    }
    let whole = vec![0; 1024 * 1024 + 1];
    let error = publisher.publish("a", &whole).await.unwrap_err();
    assert!(
        error.contains("1048577 bytes") && error.contains("limit is 1048576"),
        "{error}"
    );
    let error = publisher.request("a", &whole, 100).await.unwrap_err();
    assert!(error.contains("the NATS server's"), "{error}");
    let stranger = support::Component::new(
        &lattice.peer,
        &lattice_core::ComponentId::new("messages").unwrap(),
        "stranger",
    );
    let error = stranger.publish("a", b"").await.unwrap_err();
    assert!(error.contains("`stranger` has no working link"), "{error}");
}

#[tokio::test]
async fn a_link_that_cannot_work_says_why() {
    let mut lattice = lattice().await;
    let nowhere = format!("nats://127.0.0.1:{}", free_port().unwrap());
    for (key, value, part) in [
        ("cluster_uris", &*nowhere, "could not connect to NATS"),
        ("subscriptions", "a b", "`subscriptions`"),
        ("custom_inbox_prefix", "a.>", "`custom_inbox_prefix`"),
        ("backoff", "later", "`backoff`"),
    ] {
        let mut config = vec![(key, value)];
        if key != "subscriptions" {
            config.push(("subscriptions", "a"));
        }
        let begun = WallClock::now();
        lattice.source("listener", &config).await;
        let reason = lattice.failed().await;
        assert!(reason.contains(part), "{reason}");
        assert!(begun.elapsed() < Duration::from_secs(5));
    }
    lattice.source("listener", &[]).await;
    let reason = lattice.failed().await;
    assert!(reason.contains("no `subscriptions`"), "{reason}");
    lattice
        .target("publisher", &[("require", "delivery=at-least-once")])
        .await;
    let reason = lattice.failed().await;
    assert!(reason.contains("delivery=at-least-once"), "{reason}");
}

#[tokio::test]
async fn a_refused_login_fails_the_link_and_a_good_one_is_ready() {
    let users = "authorization { users: [ { user: shop, password: open, permissions: \
                 { publish: [\"a\", \"_MINE.>\"], subscribe: [\"a\", \"_MINE.>\"] } } ] }";
    let options = NatsBoxOptions {
        extra_config: users.into(),
        ..NatsBoxOptions::default()
    };
    // The box asks whether its server is there without a login, which it takes as being there.
    let Ok(other) = NatsBox::start_with(options).await else {
        panic!("a server with logins");
    };
    let mut lattice = lattice().await;
    lattice
        .target("publisher", &[("cluster_uris", &other.url)])
        .await;
    let reason = lattice.failed().await;
    assert!(reason.contains("authorization violation"), "{reason}");
    assert!(!reason.contains("open"), "{reason}");
    let url = format!("nats://shop:open@127.0.0.1:{}", other.port);
    let config = [("cluster_uris", &*url), ("custom_inbox_prefix", "_MINE")];
    let answerer = lattice.target("answerer", &config).await;
    lattice.ready().await;
    let say = move |_: &_| Said::Answer(answerer.clone(), "pong".into());
    let _heard = lattice.handler("answerer", say).await;
    let config = [config[0], config[1], ("subscriptions", "a")];
    lattice.source("answerer", &config).await;
    lattice.ready().await;
    let asker = lattice.target("asker", &config).await;
    lattice.ready().await;
    let answer = asker.request("a", b"?", 5000).await.unwrap();
    assert_eq!(answer.text(), "pong");
}

#[tokio::test]
async fn a_server_that_goes_away_is_told_and_comes_back() {
    let mut other = NatsBox::start().await.unwrap();
    let mut lattice = lattice().await;
    let mut heard = lattice.handler("listener", |_| Said::Done).await;
    let uri = other.url.clone();
    let cluster = ("cluster_uris", &*uri);
    lattice
        .source("listener", &[cluster, ("subscriptions", "a")])
        .await;
    lattice.ready().await;
    let publisher = lattice.target("publisher", &[cluster]).await;
    lattice.ready().await;
    publisher.publish("a", b"1").await.unwrap();
    assert_eq!(heard.next().await.text(), "1");
    other.stop();
    let begun = WallClock::now();
    let error = until(async || publisher.publish("a", b"2").await.err()).await;
    assert_eq!(error, "there is no connection to NATS at the moment");
    assert!(begun.elapsed() < Duration::from_secs(5));
    let reason = lattice.failed().await;
    assert!(reason.contains("no connection to NATS"), "{reason}");
    other.restart().await.unwrap();
    lattice.ready().await;
    until(async || publisher.publish("a", b"3").await.ok()).await;
    assert_eq!(heard.next().await.text(), "3");
}
