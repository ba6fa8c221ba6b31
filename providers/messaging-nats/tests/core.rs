//! Messages by core NATS.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(
    clippy::disallowed_methods,
    reason = "stands in for other programs on the same NATS"
)]

mod support;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_nats::{Client, ConnectOptions, Subscriber};
use futures::StreamExt as _;
use lattice_nats_box::{NatsBox, NatsBoxOptions, free_port};
use messaging_nats::MessagingNats;
use support::{Heard, Lattice, Said, until};
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

/// As in 1.x: a link may be there before its config is.
#[tokio::test]
async fn a_link_that_names_nothing_stands_and_brings_nothing() {
    let mut lattice = lattice().await;
    let mut heard = lattice.handler("listener", |_| Said::Done).await;
    lattice.source("listener", &[]).await;
    lattice.ready().await;
    let subscribed = [("subscriptions", "orders.*")];
    lattice.source("listener", &subscribed).await;
    lattice.ready().await;
    let client = lattice.nats.client().await.unwrap();
    client.publish("orders.new", "1".into()).await.unwrap();
    assert_eq!(heard.next().await.subject, "orders.new");
}

#[tokio::test]
async fn a_message_with_headers_reaches_a_handler_that_is_told_of_none() {
    let mut lattice = lattice().await;
    let mut heard = lattice.handler("listener", |_| Said::Done).await;
    lattice
        .source("listener", &[("subscriptions", "orders.*")])
        .await;
    lattice.ready().await;
    let nats = lattice.nats.client().await.unwrap();
    let mut headers = async_nats::HeaderMap::new();
    headers.insert("key", "value");
    for body in ["first", "second"] {
        nats.publish_with_headers("orders.new", headers.clone(), body.into())
            .await
            .unwrap();
        let message = heard.next().await;
        assert_eq!((&*message.subject, message.text()), ("orders.new", body));
    }
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
async fn a_request_of_an_old_caller_may_take_as_long_as_it_says_itself() {
    let mut lattice = Lattice::empty(NatsBoxOptions::default()).await;
    lattice.call_timeout_ms = Some(200);
    lattice.run::<MessagingNats>().await;
    let asker = lattice.target("asker", &[]).await;
    lattice.ready().await;
    let nats = lattice.nats.client().await.unwrap();
    let mut asked = nats.subscribe("slow").await.unwrap();
    lattice_nats_box::taken_in(&nats).await.unwrap();
    let answering = async {
        let request = asked.next().await.unwrap();
        // Longer than calls without a deadline may take.
        tokio::time::sleep(Duration::from_secs(1)).await;
        let answered = nats.publish(request.reply.unwrap(), "pong".into());
        answered.await.unwrap();
    };
    let asking = asker.request_untold("slow", b"?", 20_000);
    let (answer, ()) = tokio::join!(asking, answering);
    assert_eq!(answer.unwrap().text(), "pong");
    // What it says bounds it all the same.
    let error = asker.request_untold("slow", b"?", 500).await.unwrap_err();
    assert_eq!(error, "nobody answered on `slow` within 500ms");
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

/// A component that says of messages what they are, and the letters of those that it does not take.
async fn picky(lattice: &mut Lattice, config: &[(&str, &str)]) -> (Heard, Client, Subscriber) {
    let overloads = AtomicUsize::new(0);
    let say = move |message: &support::Message| match message.text() {
        "bad" => Said::Error("no"),
        "trap" => Said::Trap("wasm trap: unreachable"),
        "slow" => Said::After(Duration::from_secs(60)),
        "busy" if overloads.fetch_add(1, Ordering::SeqCst) < 2 => Said::Overloaded,
        _ => Said::Done,
    };
    let heard = lattice.handler("listener", say).await;
    let own = [("subscriptions", "a"), ("dead_letter", "dead")];
    let config: Vec<_> = own.iter().chain(config).copied().collect();
    lattice.source("listener", &config).await;
    lattice.ready().await;
    let nats = lattice.nats.client().await.unwrap();
    let dead = nats.subscribe("dead").await.unwrap();
    lattice_nats_box::taken_in(&nats).await.unwrap();
    (heard, nats, dead)
}

async fn letter(dead: &mut Subscriber) -> (String, [String; 3]) {
    let letter = tokio::time::timeout(support::PATIENCE, dead.next()).await;
    let letter = letter.unwrap().unwrap();
    let headers = letter.headers.unwrap();
    let header = |name: &str| headers.get(name).unwrap().as_str().to_owned();
    let told = ["lattice-cause", "lattice-subject", "lattice-attempts"].map(header);
    (String::from_utf8(letter.payload.to_vec()).unwrap(), told)
}

#[tokio::test]
async fn what_a_handler_refuses_is_tried_again_and_then_is_a_dead_letter() {
    let mut lattice = lattice().await;
    let (mut heard, nats, mut dead) = picky(&mut lattice, &[("backoff", "200,10")]).await;
    for (body, cause) in [
        ("bad", "the handler returned an error: no"),
        ("trap", "wasm trap: unreachable"),
    ] {
        let begun = WallClock::now();
        nats.publish("a", body.into()).await.unwrap();
        for _ in 0..5 {
            assert_eq!(heard.next().await.text(), body);
        }
        assert!(begun.elapsed() >= Duration::from_millis(150), "it paused");
        let (of, [why, subject, attempts]) = letter(&mut dead).await;
        assert!(why.contains(cause), "{why}");
        assert_eq!((&*of, &*subject, &*attempts), (body, "a", "5"));
    }
    assert!(heard.now().is_none());
    nats.publish("a", "busy".into()).await.unwrap();
    assert_eq!(heard.next().await.text(), "busy");
    assert!(heard.now().is_none());
}

#[tokio::test]
async fn what_may_have_been_done_is_not_tried_again() {
    let mut lattice = lattice().await;
    let config = [("backoff", "10"), ("timeout_ms", "300")];
    let (mut heard, nats, mut dead) = picky(&mut lattice, &config).await;
    nats.publish("a", "slow".into()).await.unwrap();
    assert_eq!(heard.next().await.text(), "slow");
    let (of, [_, _, attempts]) = letter(&mut dead).await;
    assert_eq!((&*of, &*attempts), ("slow", "1"));
    assert!(heard.now().is_none());
}

#[tokio::test]
async fn a_link_may_have_messages_delivered_once_as_1_x_did() {
    let mut lattice = lattice().await;
    let config = [("max_deliver", "1")];
    let (mut heard, nats, mut dead) = picky(&mut lattice, &config).await;
    nats.publish("a", "bad".into()).await.unwrap();
    assert_eq!(heard.next().await.text(), "bad");
    let (of, [_, _, attempts]) = letter(&mut dead).await;
    assert_eq!((&*of, &*attempts), ("bad", "1"));
    assert!(heard.now().is_none());
}

/// Two at a time, of which both would wait for a minute.
#[tokio::test]
async fn messages_that_wait_for_another_attempt_do_not_hold_up_others() {
    let mut lattice = lattice().await;
    let config = [("backoff", "60000"), ("max_in_flight", "2")];
    let (mut heard, nats, mut dead) = picky(&mut lattice, &config).await;
    for body in ["bad", "bad", "bad", "good"] {
        nats.publish("a", body.into()).await.unwrap();
    }
    let mut told = Vec::new();
    for _ in 0..4 {
        told.push(heard.next().await.text().to_owned());
    }
    assert!(told.contains(&"good".to_owned()), "{told:?}");
    // What waits when the link goes is not lost without a word.
    lattice.unlink().await;
    for _ in 0..3 {
        let (of, [why, _, attempts]) = letter(&mut dead).await;
        assert_eq!((&*of, &*attempts), ("bad", "1"));
        assert!(why.contains("no (not tried again: the link went)"), "{why}");
    }
}

/// One at a time, so that most of them have come and not been begun when the link goes.
#[tokio::test]
async fn what_has_come_when_the_link_goes_is_still_delivered() {
    let mut lattice = lattice().await;
    let say = |_: &_| Said::After(Duration::from_millis(30));
    let mut heard = lattice.handler("listener", say).await;
    let config = [("subscriptions", "a"), ("max_in_flight", "1")];
    lattice.source("listener", &config).await;
    lattice.ready().await;
    let nats = lattice.nats.client().await.unwrap();
    for number in 0..20 {
        nats.publish("a", number.to_string().into()).await.unwrap();
    }
    // Behind those: it is told of them before it is told that the link goes.
    lattice_nats_box::taken_in(&nats).await.unwrap();
    assert_eq!(heard.next().await.text(), "0");
    lattice.unlink().await;
    for number in 1..20 {
        assert_eq!(heard.next().await.text(), number.to_string());
    }
}

#[tokio::test]
async fn a_letter_that_its_own_link_hears_does_not_go_round() {
    let mut lattice = lattice().await;
    let say = |message: &support::Message| match message.text() {
        "bad" => Said::Error("no"),
        _ => Said::Done,
    };
    let mut heard = lattice.handler("listener", say).await;
    let config = [
        ("subscriptions", "orders.>"),
        ("dead_letter", "orders.dead"),
        ("max_deliver", "1"),
    ];
    lattice.source("listener", &config).await;
    lattice.ready().await;
    let nats = lattice.nats.client().await.unwrap();
    let mut told = Vec::new();
    for body in ["bad", "1", "2", "3"] {
        nats.publish("orders.new", body.into()).await.unwrap();
        let mut next = heard.next().await;
        while next.text() != body || next.subject != "orders.new" {
            told.push(next.subject);
            next = heard.next().await;
        }
    }
    // A letter of the letter would be before the last of these.
    told.extend(std::iter::from_fn(|| heard.now()).map(|next| next.subject));
    assert_eq!(told, ["orders.dead"]);
}

/// More than a thousand places are not taken by those that wait.
#[tokio::test]
async fn no_more_messages_wait_than_there_are_places() {
    let mut lattice = lattice().await;
    let (_heard, nats, mut dead) = picky(&mut lattice, &[("backoff", "60000")]).await;
    for _ in 0..1025 {
        nats.publish("a", "bad".into()).await.unwrap();
    }
    let (_, [why, _, attempts]) = letter(&mut dead).await;
    assert!(why.contains("too many messages wait already"), "{why}");
    assert_eq!(attempts, "1");
}

#[tokio::test]
async fn what_nats_does_not_take_is_refused_by_name() {
    let mut lattice = lattice().await;
    let publisher = lattice.target("publisher", &[]).await;
    lattice.ready().await;
    let nowhere = publisher.publish_with("a", b"x", Some("a b")).await;
    let error = nowhere.unwrap_err();
    assert!(
        error.contains("`a b`") && error.contains("reply-to"),
        "{error}"
    );
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
        ("subscriptions", ",", "no `subscriptions`"),
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
    lattice
        .target("publisher", &[("require", "delivery=at-least-once")])
        .await;
    let reason = lattice.failed().await;
    assert!(reason.contains("delivery=at-least-once"), "{reason}");
    let config = [
        ("subscriptions", "a"),
        (
            "require",
            "headers, dead-letter=none, delivery=at-least-once",
        ),
    ];
    lattice.source("listener", &config).await;
    let reason = lattice.failed().await;
    let refusal = "the link requires `delivery=at-least-once`, which";
    assert!(reason.starts_with(refusal), "{reason}");
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
async fn a_subscription_that_is_refused_fails_the_link() {
    let users = "authorization { users: [ { user: shop, password: open, permissions: \
                 { subscribe: [\"a\", \"_INBOX.>\"] } } ] }";
    let options = NatsBoxOptions {
        extra_config: users.into(),
        ..NatsBoxOptions::default()
    };
    let other = NatsBox::start_with(options).await.unwrap();
    let mut lattice = lattice().await;
    let mut heard = lattice.handler("listener", |_| Said::Done).await;
    let url = format!("nats://shop:open@127.0.0.1:{}", other.port);
    let cluster = ("cluster_uris", &*url);
    let wanted = ("subscriptions", "a,orders.>");
    lattice.source("listener", &[cluster, wanted]).await;
    let reason = lattice.failed().await;
    assert!(reason.contains("`orders.>`"), "{reason}");
    // What is allowed comes all the same.
    let user = ConnectOptions::with_user_and_password("shop".into(), "open".into());
    let publisher = user.connect(&other.url).await.unwrap();
    publisher.publish("a", "1".into()).await.unwrap();
    assert_eq!(heard.next().await.text(), "1");
    let allowed = ("subscriptions", "a");
    lattice.source("listener", &[cluster, allowed]).await;
    lattice.ready().await;
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
