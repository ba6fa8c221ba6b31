//! Brokers that are reached over TLS, and want a login.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod front;
#[path = "../../messaging-nats/tests/support/mod.rs"]
mod support;

use std::time::Duration;

use front::{Authority, Front, Mechanism, Wants};
use messaging_kafka::MessagingKafka;
use rdkafka::mocking::MockCluster;
use support::{Lattice, Said};
use tokio::time::Instant as WallClock;

/// How soon a link has to say why it cannot be served: within five seconds, and twice that where the
/// machine is busy.
const SOON: Duration = Duration::from_secs(10);

/// Publishes through a link with this config, and reads it back through another.
async fn works(lattice: &mut Lattice, config: &[(&str, &str)]) {
    let mut heard = lattice.handler("listener", |_| Said::Done).await;
    let more = [("subscriptions", "orders")];
    lattice.source("listener", &[config, &more].concat()).await;
    lattice.ready().await;
    let publisher = lattice.target("publisher", config).await;
    lattice.ready().await;
    publisher.publish("orders", b"in private").await.unwrap();
    assert_eq!(heard.next().await.text(), "in private");
}

/// Why a link with this config fails, which it has to say soon.
async fn refused(lattice: &mut Lattice, config: &[(&str, &str)]) -> String {
    let begun = WallClock::now();
    lattice.target("publisher", config).await;
    let reason = lattice.failed().await;
    assert!(begun.elapsed() < SOON, "{:?}: {reason}", begun.elapsed());
    reason
}

#[tokio::test]
async fn brokers_are_trusted_by_their_authority() {
    let brokers = MockCluster::new(1).unwrap();
    brokers.create_topic("orders", 1, 1).unwrap();
    let authority = Authority::new().await;
    let place = brokers.bootstrap_servers();
    let front = Front::before(&place, &authority, Wants::default()).await;
    let hosts = ("hosts", &*front.hosts);
    let mut lattice = Lattice::start::<MessagingKafka>().await;

    let other = Authority::new().await.text("ca.pem");
    let wrong = refused(&mut lattice, &[hosts, ("tls_ca", &other)]).await;
    assert!(wrong.contains("certificate verify failed"), "{wrong}");
    let nobody = refused(&mut lattice, &[hosts, ("tls", "true")]).await;
    assert!(nobody.contains("certificate verify failed"), "{nobody}");
    let text = refused(&mut lattice, &[hosts, ("tls_ca", "mine")]).await;
    assert!(text.contains("`tls_ca` is no PEM text"), "{text}");

    let file = authority.path("ca.pem").display().to_string();
    works(&mut lattice, &[hosts, ("tls_ca_file", &file)]).await;
}

#[tokio::test]
async fn brokers_know_us_by_our_certificate() {
    let brokers = MockCluster::new(1).unwrap();
    brokers.create_topic("orders", 1, 1).unwrap();
    let authority = Authority::new().await;
    let wants = Wants {
        certificate: true,
        ..Wants::default()
    };
    let front = Front::before(&brokers.bootstrap_servers(), &authority, wants).await;
    let [ca, own, key] = ["ca.pem", "client.pem", "client.key"].map(|name| authority.text(name));
    let trust = [("hosts", &*front.hosts), ("tls_ca", &ca)];
    let mut lattice = Lattice::start::<MessagingKafka>().await;

    let none = refused(&mut lattice, &trust).await;
    assert!(none.contains("do not answer"), "{none}");
    let certificate = [("tls_cert", &*own), ("tls_key", &*key)];
    works(&mut lattice, &[trust, certificate].concat()).await;
}

#[tokio::test]
async fn who_logs_in_is_known_by_name_and_password() {
    let brokers = MockCluster::new(1).unwrap();
    brokers.create_topic("orders", 1, 1).unwrap();
    let authority = Authority::new().await;
    let wants = Wants {
        login: Some(("shop", "open sesame")),
        ..Wants::default()
    };
    let front = Front::before(&brokers.bootstrap_servers(), &authority, wants).await;
    let ca = authority.text("ca.pem");
    let config = |password, mechanism| {
        [
            ("hosts", &*front.hosts),
            ("tls_ca", &*ca),
            ("username", "shop"),
            ("password", password),
            ("sasl_mechanism", mechanism),
        ]
    };
    let mut lattice = Lattice::start::<MessagingKafka>().await;

    let wrong = refused(&mut lattice, &config("please", "PLAIN")).await;
    assert!(wrong.contains("who are you, really"), "{wrong}");
    assert!(!wrong.contains("please"), "{wrong}");
    let other = refused(&mut lattice, &config("open sesame", "SCRAM-SHA-256")).await;
    assert!(other.contains("SCRAM-SHA-256"), "{other}");
    let unknown = refused(&mut lattice, &config("open sesame", "GSSAPI")).await;
    assert!(unknown.contains("`sasl_mechanism`"), "{unknown}");

    works(&mut lattice, &config("open sesame", "PLAIN")).await;
}

#[tokio::test]
async fn a_login_may_show_that_the_password_is_known_without_telling_it() {
    let brokers = MockCluster::new(1).unwrap();
    brokers.create_topic("orders", 1, 1).unwrap();
    let authority = Authority::new().await;
    let wants = Wants {
        login: Some(("shop", "open sesame")),
        mechanism: Mechanism::ScramSha256,
        ..Wants::default()
    };
    let front = Front::before(&brokers.bootstrap_servers(), &authority, wants).await;
    let ca = authority.text("ca.pem");
    let config = |password| {
        [
            ("hosts", &*front.hosts),
            ("tls_ca", &*ca),
            ("username", "shop"),
            ("password", password),
            ("sasl_mechanism", "scram-sha-256"),
        ]
    };
    let mut lattice = Lattice::start::<MessagingKafka>().await;

    let wrong = refused(&mut lattice, &config("please")).await;
    assert!(wrong.contains("who are you, really"), "{wrong}");
    works(&mut lattice, &config("open sesame")).await;
}
