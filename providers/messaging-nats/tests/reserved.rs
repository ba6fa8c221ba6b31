//! What a component tries with the connection that its provider has to the lattice.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(
    clippy::disallowed_methods,
    reason = "stands in for a host on the same NATS"
)]

mod support;

use async_nats::jetstream::consumer::pull;
use async_nats::jetstream::{self, stream};
use futures::StreamExt as _;
use messaging_nats::MessagingNats;
use support::{Lattice, Said};

/// What a component would like to say: commands, store, calls, secrets, policy.
const WANTED: [&str; 8] = [
    "wasmbus.ctl.v1.default.link.put",
    "wasmbus.evt.default.host_started",
    "wasmbus.rpc.default.messages.linkdefs.put",
    "$JS.API.STREAM.DELETE.KV_LATTICEDATA_default",
    "$KV.CONFIGDATA_default.http",
    "default.cart.wrpc.0.0.1.shop:cart/admin@1.0.0.purge",
    "wasmcloud.secrets.v1alpha1.nats-kv.add_mapping.MABC",
    "default.kv.inbox.XKEY.1",
];

#[tokio::test]
async fn a_component_says_nothing_in_the_lattices_name() {
    let mut lattice = Lattice::start::<MessagingNats>().await;
    let url = lattice.nats.url.clone();
    let port = lattice.nats.port;
    // The last one is known by its server alone.
    let [bare, name, any, odd] =
        ["127.0.0.1", "localhost", "0.0.0.0", "127.1"].map(|host| format!("{host}:{port}"));
    let own = [
        ("plain", vec![]),
        ("stream", vec![("jetstream", "true")]),
        ("inbox", vec![("custom_inbox_prefix", "_INBOX.mine")]),
        ("address", vec![("cluster_uris", &*url)]),
        ("bare", vec![("cluster_uris", &*bare)]),
        ("name", vec![("cluster_uris", &*name)]),
        ("any", vec![("cluster_uris", &*any)]),
        ("odd", vec![("cluster_uris", &*odd)]),
    ];
    let mut heard = lattice
        .nats
        .client()
        .await
        .unwrap()
        .subscribe(">")
        .await
        .unwrap();
    for (id, config) in own {
        let guest = lattice.target(id, &config).await;
        lattice.ready().await;
        for subject in WANTED {
            for refused in [
                guest.publish(subject, b"{}").await.unwrap_err(),
                guest.request(subject, b"{}", 200).await.unwrap_err(),
                guest
                    .publish_with("a.b", b"", Some(subject))
                    .await
                    .unwrap_err(),
            ] {
                assert!(
                    refused.contains("reserved for the lattice"),
                    "{id}: {refused}"
                );
            }
        }
        if id != "stream" {
            guest.publish("a.b", id.as_bytes()).await.unwrap();
            // Nor has any of it been said before it was refused.
            loop {
                let message = heard.next().await.unwrap();
                if message.payload == id.as_bytes() {
                    break;
                }
                let subject = message.subject.as_str();
                let is_theirs = WANTED.contains(&subject) && message.payload == "{}";
                assert!(!is_theirs, "{id}: {subject}");
            }
        }
    }
    let mut told = lattice
        .nats
        .client()
        .await
        .unwrap()
        .subscribe("wasmbus.ctl.>")
        .await
        .unwrap();
    let guest = lattice
        .target("trusted", &[("lattice_subjects", "allowed")])
        .await;
    lattice.ready().await;
    guest.publish(WANTED[0], b"{}").await.unwrap();
    assert_eq!(told.next().await.unwrap().payload, "{}");
}

#[tokio::test]
async fn a_component_hears_nothing_of_the_lattice() {
    let mut lattice = Lattice::start::<MessagingNats>().await;
    let _heard = lattice.handler("listener", |_| Said::Done).await;
    for (key, value) in [
        ("subscriptions", ">"),
        ("subscriptions", "orders.new,*.>"),
        ("subscriptions", "default.>"),
        ("subscriptions", "_INBOX.>"),
        ("subscriptions", "wasmbus.evt.default.*"),
        ("stream", "KV_CONFIGDATA_default"),
        ("stream_subjects", ">"),
        ("dead_letter", "wasmbus.ctl.v1.default.link.put"),
    ] {
        let mut config = vec![(key, value)];
        if key == "stream_subjects" {
            config.push(("stream", "ALL"));
        }
        if key == "dead_letter" {
            config.push(("subscriptions", "orders.new"));
        }
        lattice.source("listener", &config).await;
        let why = lattice.failed().await;
        assert!(
            why.contains(key) && why.contains("lattice_subjects"),
            "{why}"
        );
        lattice.unlink().await;
    }
    let trusted = [("subscriptions", ">"), ("lattice_subjects", "allowed")];
    lattice.source("listener", &trusted).await;
    lattice.ready().await;
}

#[tokio::test]
async fn a_component_hears_nothing_of_the_lattice_by_another_address() {
    let mut lattice = Lattice::start::<MessagingNats>().await;
    let _heard = lattice.handler("listener", |_| Said::Done).await;
    let odd = format!("127.1:{}", lattice.nats.port);
    let config = [("cluster_uris", &*odd), ("subscriptions", "wasmbus.evt.>")];
    lattice.source("listener", &config).await;
    let why = lattice.failed().await;
    assert!(why.contains("lattice_subjects"), "{why}");
    // What is not the lattice's is free.
    let other = lattice_nats_box::NatsBox::start().await.unwrap();
    let config = [("cluster_uris", &*other.url), ("subscriptions", ">")];
    lattice.source("listener", &config).await;
    lattice.ready().await;
}

/// Streams such as those of wadm, which are there before the link.
#[tokio::test]
async fn a_stream_over_subjects_of_the_lattice_is_not_for_components() {
    let mut lattice = Lattice::start::<MessagingNats>().await;
    let context = jetstream::new(lattice.nats.client().await.unwrap());
    let events = stream::Config {
        name: "events".into(),
        subjects: vec!["wasmbus.evt.*.*".into(), "orders.>".into()],
        ..stream::Config::default()
    };
    let mirror = stream::Config {
        name: "mirror".into(),
        mirror: Some(stream::Source {
            name: "events".into(),
            ..stream::Source::default()
        }),
        ..stream::Config::default()
    };
    let events = context.create_stream(events).await.unwrap();
    context.create_stream(mirror).await.unwrap();
    let theirs = pull::Config {
        durable_name: Some("theirs".into()),
        ..pull::Config::default()
    };
    events.create_consumer(theirs).await.unwrap();
    let consumers = r#"[{"stream":"events","consumer":"theirs"}]"#;
    let mut heard = lattice.handler("listener", |_| Said::Done).await;
    for config in [
        &[("stream", "events")][..],
        &[("stream", "mirror")],
        &[("stream", "events"), ("filter_subjects", "*.evt.*.>")],
        &[("stream", "events"), ("stream_subjects", "orders.>")],
        &[("consumers", consumers)],
    ] {
        lattice.source("listener", config).await;
        let why = lattice.failed().await;
        let is_named = why.contains("`wasmbus.evt.*.*`") && why.contains("lattice_subjects");
        assert!(is_named, "{why}");
        lattice.unlink().await;
    }
    let orders = [("stream", "events"), ("filter_subjects", "orders.>")];
    lattice.source("listener", &orders).await;
    lattice.ready().await;
    context.publish("orders.new", "1".into()).await.unwrap();
    assert_eq!(heard.next().await.subject, "orders.new");
    let trusted = [("stream", "events"), ("lattice_subjects", "allowed")];
    lattice.source("listener", &trusted).await;
    lattice.ready().await;
}

fn taken_from(name: &str) -> stream::Source {
    stream::Source {
        name: name.into(),
        ..stream::Source::default()
    }
}

/// Streams of streams, on whose way subjects may change.
#[tokio::test]
async fn a_stream_whose_messages_were_of_the_lattice_long_ago_is_not_for_components() {
    let mut lattice = Lattice::start::<MessagingNats>().await;
    let context = jetstream::new(lattice.nats.client().await.unwrap());
    let events = stream::Config {
        name: "events".into(),
        subjects: vec!["wasmbus.evt.*.*".into()],
        ..stream::Config::default()
    };
    context.create_stream(events).await.unwrap();
    let mirror_of = |name: &str, of: &str| stream::Config {
        name: name.into(),
        mirror: Some(taken_from(of)),
        ..stream::Config::default()
    };
    for (name, of) in [
        ("second", "events"),
        ("third", "second"),
        ("fourth", "third"),
    ] {
        context.create_stream(mirror_of(name, of)).await.unwrap();
    }
    let renamed = stream::Source {
        subject_transforms: vec![stream::SubjectTransform {
            source: ">".into(),
            destination: "orders.>".into(),
        }],
        ..taken_from("third")
    };
    let orders = stream::Config {
        name: "orders".into(),
        sources: Some(vec![renamed]),
        ..stream::Config::default()
    };
    context.create_stream(orders).await.unwrap();
    let last = mirror_of("last", "orders");
    context.create_stream(last).await.unwrap();
    let _heard = lattice.handler("listener", |_| Said::Done).await;
    for config in [
        &[("stream", "third")][..],
        &[("stream", "fourth")],
        &[("stream", "orders"), ("filter_subjects", "orders.>")],
        &[("stream", "last"), ("filter_subjects", "orders.>")],
    ] {
        lattice.source("listener", config).await;
        let why = lattice.failed().await;
        assert!(why.contains("`wasmbus.evt.*.*`"), "{config:?}: {why}");
        lattice.unlink().await;
    }
    // A way that nobody can follow to its end is none.
    for number in 0..70 {
        let of = match number {
            0 => "shop".to_owned(),
            number => format!("far-{}", number - 1),
        };
        let far = mirror_of(&format!("far-{number}"), &of);
        if number == 0 {
            let shop = stream::Config {
                name: of,
                subjects: vec!["shop.>".into()],
                ..stream::Config::default()
            };
            context.create_stream(shop).await.unwrap();
        }
        context.create_stream(far).await.unwrap();
    }
    lattice.source("listener", &[("stream", "far-69")]).await;
    let why = lattice.failed().await;
    assert!(why.contains("more than 64 others"), "{why}");
    lattice.unlink().await;
    lattice.source("listener", &[("stream", "far-9")]).await;
    lattice.ready().await;
}
