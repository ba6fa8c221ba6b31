//! Two lattices on one NATS server know nothing of each other.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use lattice_integration::{EventLog, HostOptions, Lattice, echo};
use serde_json::{Value, json};

/// A lattice and a second one on its server, with a host each; the log of the first one's events.
///
/// The helper speaks to the second from then on.
async fn two() -> (Lattice, EventLog) {
    let mut lattice = Lattice::start(1).await.unwrap();
    lattice.run(0, "probe", "probe", 1).await.unwrap();
    let config = json!({ "url": "redis://only.here" });
    lattice.config("store", config).await.unwrap();
    lattice
        .link("probe", "kv", "wasi:keyvalue/store", &[], &["store"])
        .await
        .unwrap();
    lattice.name = "west".to_owned();
    let west = EventLog::open(&lattice.client, "west").await.unwrap();
    let east = std::mem::replace(&mut lattice.events, west);
    lattice.add_host(HostOptions::default()).await.unwrap();
    (lattice, east)
}

#[tokio::test]
async fn what_one_lattice_has_the_other_does_not_see() {
    let (lattice, _east) = two().await;
    let hosts = lattice.ctl("host.ping", Value::Null).await.unwrap();
    assert_eq!(hosts["response"]["id"], lattice.host(1));
    let links = lattice.ctl_ok("link.get", Value::Null).await.unwrap();
    assert_eq!(links["response"], json!([]));
    let config = lattice.ctl("config.get.store", Value::Null).await.unwrap();
    assert_eq!(config["response"], Value::Null, "{config}");
    let inventory = lattice.inventory(1).await.unwrap();
    assert_eq!(inventory["components"], json!([]));
    // The other's host does not hear what is meant for it, as it is said elsewhere.
    let foreign = format!("host.stop.{}", lattice.host(0));
    let stop = lattice.ctl(&foreign, json!({ "timeout": 1 })).await;
    assert!(stop.is_err(), "{stop:?}");
}

#[tokio::test]
async fn one_name_in_two_lattices_is_two_components() {
    let (mut lattice, east) = two().await;
    lattice.run(1, "probe", "probe", 1).await.unwrap();
    let heard = |log: &EventLog, host: &str| {
        log.all()
            .iter()
            .filter(|event| event.body["source"] == host)
            .count()
    };
    assert_eq!(heard(&east, lattice.host(1)), 0);
    assert_eq!(heard(&lattice.events, lattice.host(0)), 0);
    // Ending the one leaves the other as it is.
    let peer = lattice.peer().await.unwrap();
    lattice.hosts.pop();
    echo(&peer, "probe").await.unwrap();
    lattice.name = "default".to_owned();
    let links = lattice.ctl_ok("link.get", Value::Null).await.unwrap();
    assert_eq!(links["response"][0]["target"], "kv");
}
