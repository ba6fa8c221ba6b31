//! What the queues of links get, and for how long, by RabbitMQ.
//!
//! One server serves all cases, each of which has subjects and components of its own; a second one is
//! for links that move.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../../messaging-nats/tests/support/mod.rs"]
mod support;

use std::time::Duration;

use lapin::options::{QueueBindOptions, QueueDeclareOptions, QueueDeleteOptions};
use lapin::types::FieldTable;
use lapin::{Channel, Connection, ConnectionProperties};
use lattice_nats_box::Middleman;
use lattice_services::{Kind, Service};
use messaging_rabbitmq::MessagingRabbitMq;
use support::{Component, Lattice, Said, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn queues_get_what_links_say() {
    let start = || Service::start(Kind::RabbitMq);
    let (server, second) = tokio::try_join!(start(), start()).unwrap();
    let (url, other) = (server.url(), second.url());
    tokio::join!(
        a_changed_link_has_the_new_keys_alone_and_misses_nothing(&url),
        a_deleted_link_collects_no_more_and_keeps_what_it_has(&url),
        a_shared_queue_stays_bound_for_the_others(&url),
        a_queue_goes_when_nobody_consumes_it(&url),
        a_queue_of_an_earlier_version_is_used_and_its_bindings_go(&url),
        a_deleted_queue_is_noticed_while_the_component_is_away(&url),
        what_a_lost_connection_brought_is_delivered_once(&server),
        what_another_copy_took_away_is_bound_again(&url),
        a_link_that_moves_is_unbound_where_it_was(&url, &other),
        a_link_that_moves_in_vain_is_unbound_when_it_is_deleted(&url),
        a_link_that_finds_its_server_by_another_name_stays_bound(&server),
    );
}

/// A channel, and the connection that it closes with.
async fn channel(url: &str) -> (Channel, Connection) {
    let connection = Connection::connect(url, ConnectionProperties::default());
    let connection = connection.await.unwrap();
    (connection.create_channel().await.unwrap(), connection)
}

/// The queue that the provider makes for a component.
fn own(component: &str) -> String {
    format!("lattice.default.messages.{component}.default")
}

/// How many messages wait in a queue; `None` when there is none. Asking counts as using it.
async fn count(url: &str, queue: &str) -> Option<u32> {
    let passive = QueueDeclareOptions::durable().passive();
    let (channel, _connection) = channel(url).await;
    let queue = channel.queue_declare(queue.into(), passive, FieldTable::default());
    queue.await.ok().map(|queue| queue.message_count())
}

/// A component to which it is an error that nobody listens.
async fn publisher(lattice: &mut Lattice, url: &str) -> Component {
    let config = [("url", url), ("mandatory", "true")];
    let publisher = lattice.target("publisher", &config).await;
    lattice.ready().await;
    publisher
}

async fn until_nobody_listens(publisher: &Component, subject: &str) {
    until(async || publisher.publish(subject, b"stray").await.err()).await;
}

async fn a_changed_link_has_the_new_keys_alone_and_misses_nothing(url: &str) {
    let mut lattice = Lattice::start::<MessagingRabbitMq>().await;
    let publisher = publisher(&mut lattice, url).await;
    let mut heard = lattice.handler("fickle", |_| Said::Done).await;
    let config = |keys| [("url", url), ("subscriptions", keys)];
    lattice.source("fickle", &config("f.kept.#,f.old.*")).await;
    lattice.ready().await;
    lattice.run::<MessagingRabbitMq>().await;
    publisher.publish("f.old.1", b"old").await.unwrap();
    assert_eq!(heard.next().await.text(), "old");
    let publish = async {
        for number in 0..400 {
            let (subject, body) = (format!("f.kept.{number}"), number.to_string());
            publisher.publish(&subject, body.as_bytes()).await.unwrap();
        }
    };
    let change = async {
        for round in 0..4 {
            let keys = ["f.new.*,f.kept.*", "f.kept.#,f.new.*"][round % 2];
            lattice.source("fickle", &config(keys)).await;
            for _copy in 0..2 {
                lattice.ready().await;
            }
        }
    };
    tokio::join!(publish, change);
    let mut seen = Vec::new();
    for _ in 0..400 {
        seen.push(heard.next().await.text().parse::<u32>().unwrap());
    }
    seen.sort_unstable();
    assert_eq!(seen, (0..400).collect::<Vec<_>>());
    let stray = publisher.publish("f.old.2", b"old").await.unwrap_err();
    assert_eq!(stray, "nobody listens on `f.old.2`");
    publisher.publish("f.new.2", b"new").await.unwrap();
    assert_eq!(heard.next().await.text(), "new");
    assert!(heard.now().is_none());
}

async fn a_deleted_link_collects_no_more_and_keeps_what_it_has(url: &str) {
    let mut lattice = Lattice::start::<MessagingRabbitMq>().await;
    let publisher = publisher(&mut lattice, url).await;
    let config = [("url", url), ("subscriptions", "gone.*")];
    lattice.source("gone", &config).await;
    lattice.ready().await;
    // Nobody serves the component.
    for body in ["1", "2"] {
        publisher.publish("gone.x", body.as_bytes()).await.unwrap();
    }
    lattice.unlink().await;
    until_nobody_listens(&publisher, "gone.x").await;
    let kept = count(url, &own("gone")).await.unwrap();
    assert!(kept >= 2, "{kept}");
    let mut heard = lattice.handler("gone", |_| Said::Done).await;
    lattice.source("gone", &config).await;
    lattice.ready().await;
    let mut missing = vec!["1", "2"];
    while !missing.is_empty() {
        let message = heard.next().await;
        missing.retain(|body| *body != message.text());
    }
}

async fn a_shared_queue_stays_bound_for_the_others(url: &str) {
    let mut lattice = Lattice::start::<MessagingRabbitMq>().await;
    let publisher = publisher(&mut lattice, url).await;
    let mut heard = lattice.handler("sharer", |_| Said::Done).await;
    let config = [("url", url), ("subscriptions", "shared|shares")];
    for id in ["sharer", "leaver"] {
        lattice.source(id, &config).await;
        lattice.ready().await;
    }
    let only = [("url", url), ("subscriptions", "shared|shares,left|shares")];
    lattice.source("leaver", &only).await;
    lattice.ready().await;
    publisher.publish("left", b"mine").await.unwrap();
    lattice.unlink().await;
    until_nobody_listens(&publisher, "left").await;
    publisher.publish("shared", b"ours").await.unwrap();
    until(async || (heard.next().await.text() == "ours").then_some(())).await;
}

async fn a_queue_goes_when_nobody_consumes_it(url: &str) {
    let mut lattice = Lattice::start::<MessagingRabbitMq>().await;
    let config = |seconds| {
        [
            ("url", url),
            ("subscriptions", "brief"),
            ("queue_expiry_s", seconds),
        ]
    };
    lattice.source("brief", &config("1")).await;
    lattice.ready().await;
    // That it shall stay for longer comes too late, and is no reason not to use it.
    lattice.source("brief", &config("0")).await;
    lattice.ready().await;
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(count(url, &own("brief")).await, Some(0));
    lattice.stop_providers().await;
    let is_gone = async || {
        tokio::time::sleep(Duration::from_secs(2)).await;
        count(url, &own("brief")).await.is_none().then_some(())
    };
    until(is_gone).await;
}

async fn a_queue_of_an_earlier_version_is_used_and_its_bindings_go(url: &str) {
    let queue = own("veteran");
    let (channel, _connection) = channel(url).await;
    let (durable, table) = (QueueDeclareOptions::durable(), FieldTable::default);
    let made = channel.queue_declare(queue.as_str().into(), durable, table());
    made.await.unwrap();
    let (from, key, options) = ("amq.topic", "veteran.*", QueueBindOptions::default());
    let bound = channel.queue_bind(
        queue.as_str().into(),
        from.into(),
        key.into(),
        options,
        table(),
    );
    bound.await.unwrap();
    let mut lattice = Lattice::start::<MessagingRabbitMq>().await;
    let publisher = publisher(&mut lattice, url).await;
    publisher.publish("veteran.1", b"before").await.unwrap();
    let mut heard = lattice.handler("veteran", |_| Said::Done).await;
    let config = |keys| [("url", url), ("subscriptions", keys)];
    lattice.source("veteran", &config(key)).await;
    lattice.ready().await;
    publisher.publish("veteran.2", b"after").await.unwrap();
    assert_eq!(heard.next().await.text(), "before");
    assert_eq!(heard.next().await.text(), "after");
    lattice.source("veteran", &config("recruit.*")).await;
    lattice.ready().await;
    let stray = publisher.publish("veteran.3", b"").await.unwrap_err();
    assert_eq!(stray, "nobody listens on `veteran.3`");
}

async fn a_deleted_queue_is_noticed_while_the_component_is_away(url: &str) {
    let mut lattice = Lattice::start::<MessagingRabbitMq>().await;
    let publisher = publisher(&mut lattice, url).await;
    let config = [
        ("url", url),
        ("subscriptions", "away"),
        ("max_in_flight", "1"),
    ];
    lattice.source("away", &config).await;
    lattice.ready().await;
    publisher.publish("away", b"deleted").await.unwrap();
    until(async || (count(url, &own("away")).await == Some(0)).then_some(())).await;
    let (queue, options) = (own("away"), QueueDeleteOptions::default());
    let (channel, _connection) = channel(url).await;
    let deleted = channel.queue_delete(queue.as_str().into(), options);
    deleted.await.unwrap();
    // What the old queue had is gone, and nobody is told of it any more.
    let mut heard = lattice.handler("away", |_| Said::Done).await;
    until(async || publisher.publish("away", b"anew").await.ok()).await;
    assert_eq!(heard.next().await.text(), "anew");
    assert!(heard.now().is_none());
}

async fn what_a_lost_connection_brought_is_delivered_once(server: &Service) {
    let middleman = Middleman::before(server.port()).await.unwrap();
    let shaky = middleman.instead_of(&server.url());
    let mut lattice = Lattice::start::<MessagingRabbitMq>().await;
    let publisher = publisher(&mut lattice, &server.url()).await;
    let config = [("url", &*shaky), ("subscriptions", "shaky")];
    lattice.source("shaky", &config).await;
    lattice.ready().await;
    // Nobody serves the component, so that all of them are held.
    for number in 0..20 {
        let body = number.to_string();
        publisher.publish("shaky", body.as_bytes()).await.unwrap();
    }
    let own = own("shaky");
    let is_taken = async || (count(&server.url(), &own).await == Some(0)).then_some(());
    until(is_taken).await;
    middleman.cut();
    // It is taken again by the next connection.
    tokio::time::sleep(Duration::from_secs(3)).await;
    until(is_taken).await;
    let mut heard = lattice.handler("shaky", |_| Said::Done).await;
    let mut seen = Vec::new();
    for _ in 0..20 {
        seen.push(heard.next().await.text().parse::<u32>().unwrap());
    }
    seen.sort_unstable();
    assert_eq!(seen, (0..20).collect::<Vec<_>>());
    // Who was held by the lost connection had its turns at the same time.
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert!(heard.now().is_none());
}

async fn what_another_copy_took_away_is_bound_again(url: &str) {
    // Copies at hosts of two lattices, so that the link ends for one of them alone.
    let mut first = Lattice::start::<MessagingRabbitMq>().await;
    let mut second = Lattice::start::<MessagingRabbitMq>().await;
    let publisher = publisher(&mut first, url).await;
    let mut heard = first.handler("robbed", |_| Said::Done).await;
    let config = [("url", url), ("subscriptions", "robbed.*")];
    for lattice in [&mut first, &mut second] {
        lattice.source("robbed", &config).await;
        lattice.ready().await;
    }
    second.unlink().await;
    // By then it has let go of what it thinks is nobody's.
    tokio::time::sleep(Duration::from_secs(3)).await;
    until(async || publisher.publish("robbed.1", b"found").await.ok()).await;
    assert_eq!(heard.next().await.text(), "found");
}

async fn a_link_that_moves_is_unbound_where_it_was(url: &str, other: &str) {
    let mut lattice = Lattice::start::<MessagingRabbitMq>().await;
    let publisher = publisher(&mut lattice, url).await;
    let mut heard = lattice.handler("mover", |_| Said::Done).await;
    let config = |url| {
        [
            ("url", url),
            ("subscriptions", "moved"),
            ("queue_expiry_s", "0"),
        ]
    };
    lattice.source("mover", &config(url)).await;
    lattice.ready().await;
    publisher.publish("moved", b"here").await.unwrap();
    assert_eq!(heard.next().await.text(), "here");
    lattice.source("mover", &config(other)).await;
    lattice.ready().await;
    until_nobody_listens(&publisher, "moved").await;
    let there = [("url", other), ("mandatory", "true")];
    let there = lattice.target("there", &there).await;
    lattice.ready().await;
    there.publish("moved", b"there").await.unwrap();
    until(async || (heard.next().await.text() == "there").then_some(())).await;
}

async fn a_link_that_moves_in_vain_is_unbound_when_it_is_deleted(url: &str) {
    let mut lattice = Lattice::start::<MessagingRabbitMq>().await;
    let publisher = publisher(&mut lattice, url).await;
    let nowhere = format!(
        "amqp://127.0.0.1:{}",
        lattice_nats_box::free_port().unwrap()
    );
    for (url, works) in [(url, true), (&*nowhere, false)] {
        let config = [("url", url), ("subscriptions", "vain")];
        lattice.source("vain", &config).await;
        match works {
            true => lattice.ready().await,
            false => drop(lattice.failed().await),
        }
    }
    publisher.publish("vain", b"kept").await.unwrap();
    lattice.unlink().await;
    until_nobody_listens(&publisher, "vain").await;
}

async fn a_link_that_finds_its_server_by_another_name_stays_bound(server: &Service) {
    let middleman = Middleman::before(server.port()).await.unwrap();
    let other = middleman.instead_of(&server.url());
    let mut lattice = Lattice::start::<MessagingRabbitMq>().await;
    let publisher = publisher(&mut lattice, &server.url()).await;
    let mut heard = lattice.handler("alias", |_| Said::Done).await;
    for url in [&*server.url(), &*other] {
        let config = [("url", url), ("subscriptions", "alias")];
        lattice.source("alias", &config).await;
        lattice.ready().await;
    }
    // By then it was looked after twice. What had gone would be bound again, but not at once.
    for number in 0..250 {
        let body = number.to_string();
        publisher.publish("alias", body.as_bytes()).await.unwrap();
        assert_eq!(heard.next().await.text(), body);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
