//! Telling components about keys that change.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use keyvalue_etcd::KeyValueEtcd;
use lattice_core::link::LinkState;
use lattice_etcd::{Delete, Etcd, EtcdOptions, Put, Range};
use lattice_keyvalue_suite::{Lattice, PATIENCE, Told, Watching, watches_what_it_requires};
use lattice_services::{Kind, Service};

async fn watched(server: &Service, watch: &str) -> (Lattice, Watching) {
    let mut lattice = Lattice::start::<KeyValueEtcd>(&[]).await;
    let watching = lattice.watch("watcher").await;
    let config = [("url", &*server.url()), ("watch", watch)];
    lattice.put_source("watcher", "default", &config).await;
    lattice.report_of(LinkState::Ready).await;
    (lattice, watching)
}

fn set(key: &str, value: &str) -> Told {
    Told::Set("default".into(), key.into(), value.to_owned().into())
}

fn deleted(key: &str) -> Told {
    Told::Delete("default".into(), key.into())
}

#[tokio::test]
async fn every_change_is_told_in_order() {
    let server = Service::start(Kind::Etcd).await.unwrap();
    let (mut lattice, mut watching) = watched(&server, "SET@a,DEL@a,DEL@b").await;
    let url = server.url();
    let kv = lattice.link("counter", "default", &[("url", &url)]).await;
    assert_eq!(kv.set("other", "a", "another bucket").await, Ok(()));
    assert_eq!(kv.set("default", "other", "x").await, Ok(()));
    assert_eq!(kv.set("default", "a", "7").await, Ok(()));
    assert_eq!(kv.increment("default", "a", 1).await, Ok(8));
    let many = [("b", "x".into()), ("a", "y".into())];
    assert_eq!(kv.set_many("default", &many).await, Ok(()));
    assert_eq!(kv.delete("default", "a").await, Ok(()));
    assert_eq!(kv.delete("default", "b").await, Ok(()));
    let ttl = Duration::from_secs(1);
    assert_eq!(kv.set_for("default", "a", "short", ttl).await, Ok(()));
    let expected = [
        set("a", "7"),
        set("a", "8"),
        set("a", "y"),
        deleted("a"),
        deleted("b"),
        set("a", "short"),
        deleted("a"),
    ];
    for told in expected {
        assert_eq!(watching.told().await, told);
    }
}

#[tokio::test]
async fn what_changed_while_the_provider_was_away_is_told() {
    let server = Service::start(Kind::Etcd).await.unwrap();
    let etcd = Etcd::new(EtcdOptions::at([server.url()])).unwrap();
    let stored = |key: &str| format!("lattice/keyvalue/default/{key}");
    let (mut lattice, mut watching) = watched(&server, "SET@a,DEL@a").await;
    etcd.put(Put::new(stored("a"), "told")).await.unwrap();
    assert_eq!(watching.told().await, set("a", "told"));
    let told = etcd.range(Range::key(stored("a"))).await.unwrap();
    let told = told.first().unwrap().mod_revision;
    until_remembered(&etcd, told).await;
    lattice.stop_all().await;
    for value in ["one", "two"] {
        etcd.put(Put::new(stored("a"), value)).await.unwrap();
    }
    etcd.delete(Delete::key(stored("a"))).await.unwrap();
    lattice.run_another::<KeyValueEtcd>().await;
    for told in [set("a", "one"), set("a", "two"), deleted("a")] {
        assert_eq!(watching.told().await, told);
    }
}

#[tokio::test]
async fn a_watcher_hears_again_after_etcd_was_set_back() {
    let server = Service::start(Kind::Etcd).await.unwrap();
    let etcd = Etcd::new(EtcdOptions::at([server.url()])).unwrap();
    let (mut lattice, mut watching) = watched(&server, "SET@a").await;
    lattice.stop_all().await;
    // As if the component had been told of what etcd does not know any more.
    let memory = etcd.range(Range::prefix(MEMORY)).await.unwrap();
    let memory = memory.first().unwrap().key;
    etcd.put(Put::new(memory, "1000000")).await.unwrap();
    let stored = "lattice/keyvalue/default/a";
    etcd.put(Put::new(stored, "one")).await.unwrap();
    lattice.run_another::<KeyValueEtcd>().await;
    assert_eq!(watching.told().await, set("a", "one"));
    etcd.put(Put::new(stored, "two")).await.unwrap();
    assert_eq!(watching.told().await, set("a", "two"));
}

/// What the key begins with that says how far the component was told.
const MEMORY: &str = "lattice/keyvalue/watch/lattice_watcher_default_";

/// Waits until it is written down how far the component was told.
async fn until_remembered(etcd: &Etcd, revision: i64) {
    let remembered = async {
        loop {
            let found = etcd
                .range(Range::prefix(MEMORY))
                .await
                .unwrap()
                .first()
                .unwrap();
            if found.value == revision.to_string() {
                return;
            }
        }
    };
    tokio::time::timeout(PATIENCE, remembered).await.unwrap();
}

#[tokio::test]
async fn what_changed_while_etcd_was_away_is_told() {
    let mut server = Service::start(Kind::Etcd).await.unwrap();
    let (mut lattice, mut watching) = watched(&server, "SET@a").await;
    let url = server.url();
    let kv = lattice.link("counter", "default", &[("url", &url)]).await;
    assert_eq!(kv.set("default", "a", "one").await, Ok(()));
    assert_eq!(watching.told().await, set("a", "one"));
    server.kill();
    server.start_again().await.unwrap();
    let back = async { while kv.set("default", "a", "two").await.is_err() {} };
    tokio::time::timeout(PATIENCE, back).await.unwrap();
    while watching.told().await != set("a", "two") {}
}

#[tokio::test]
async fn a_component_that_comes_later_is_told_everything() {
    let server = Service::start(Kind::Etcd).await.unwrap();
    let mut lattice = Lattice::start::<KeyValueEtcd>(&[]).await;
    let url = server.url();
    let config = [("url", url.as_str()), ("watch", "SET@a")];
    lattice.put_source("watcher", "default", &config).await;
    lattice.report_of(LinkState::Ready).await;
    let kv = lattice.link("counter", "default", &[("url", &url)]).await;
    assert_eq!(kv.set("default", "a", "one").await, Ok(()));
    assert_eq!(kv.set("default", "a", "two").await, Ok(()));
    let mut watching = lattice.watch("watcher").await;
    assert_eq!(watching.told().await, set("a", "one"));
    assert_eq!(watching.told().await, set("a", "two"));
}

#[tokio::test]
async fn a_link_that_watches_may_require_what_is_told() {
    let server = Service::start(Kind::Etcd).await.unwrap();
    let mut lattice = Lattice::start::<KeyValueEtcd>(&[]).await;
    let config = [("url", &*server.url()), ("watch", "SET@a")];
    watches_what_it_requires(&mut lattice, &config, ["resumed", "yes", "each"]).await;
}
