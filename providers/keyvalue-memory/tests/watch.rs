//! Telling components about keys that change.

use keyvalue_memory::KeyValueMemory;
use lattice_core::link::LinkState;
use lattice_keyvalue_suite::{Lattice, Told, Watching, watches_what_it_requires};
use std::time::Duration;

async fn watched(watch: &str) -> (Lattice, Watching) {
    let mut lattice = Lattice::start::<KeyValueMemory>(&[]).await;
    let watching = lattice.watch("watcher").await;
    let config = [("bucket", "cart"), ("watch", watch)];
    lattice.put_source("watcher", "default", &config).await;
    lattice.report_of(LinkState::Ready).await;
    (lattice, watching)
}

fn set(key: &str, value: &str) -> Told {
    Told::Set("cart".into(), key.into(), value.to_owned().into())
}

fn deleted(key: &str) -> Told {
    Told::Delete("cart".into(), key.into())
}

#[tokio::test]
async fn every_change_is_told_in_order() {
    let (mut lattice, mut watching) = watched("SET@a,DEL@a,DEL@b").await;
    let cart = [("bucket", "cart")];
    let kv = lattice.link("counter", "default", &cart).await;
    let more = lattice.link("other", "default", &[]).await;
    assert_eq!(more.set("default", "a", "another bucket").await, Ok(()));
    assert_eq!(kv.set("default", "other", "x").await, Ok(()));
    assert_eq!(kv.set("default", "a", "7").await, Ok(()));
    assert_eq!(kv.increment("default", "a", 1).await, Ok(8));
    let many = [("b", "x".into()), ("a", "y".into())];
    assert_eq!(kv.set_many("default", &many).await, Ok(()));
    assert_eq!(kv.delete_many("default", &["a", "b"]).await, Ok(()));
    let ttl = Duration::from_millis(100);
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
async fn a_link_says_what_the_bucket_is_called_where_hosts_take_numbers_only() {
    let mut lattice = Lattice::start::<KeyValueMemory>(&[]).await;
    let mut watching = lattice.watch("watcher").await;
    let cart = ("bucket", "cart");
    let config = [cart, ("watch", "SET@a,DEL@a"), ("watch_bucket", "0")];
    lattice.put_source("watcher", "default", &config).await;
    lattice.report_of(LinkState::Ready).await;
    let kv = lattice.link("counter", "default", &[cart]).await;
    assert_eq!(kv.set("default", "a", "7").await, Ok(()));
    assert_eq!(kv.delete("default", "a").await, Ok(()));
    let value = "7".to_owned().into();
    let told = Told::Set("0".into(), "a".into(), value);
    assert_eq!(watching.told().await, told);
    let gone = Told::Delete("0".into(), "a".into());
    assert_eq!(watching.told().await, gone);
}

#[tokio::test]
async fn a_component_that_comes_later_is_told_what_became() {
    let mut lattice = Lattice::start::<KeyValueMemory>(&[]).await;
    let config = [("bucket", "cart"), ("watch", "SET@a,SET@b")];
    lattice.put_source("watcher", "default", &config).await;
    lattice.report_of(LinkState::Ready).await;
    let kv = lattice
        .link("counter", "default", &[("bucket", "cart")])
        .await;
    assert_eq!(kv.set("default", "a", "one").await, Ok(()));
    assert_eq!(kv.set("default", "a", "two").await, Ok(()));
    let mut watching = lattice.watch("watcher").await;
    while watching.told().await != set("a", "two") {}
    assert_eq!(kv.set("default", "b", "x").await, Ok(()));
    while watching.told().await != set("b", "x") {}
}

#[tokio::test]
async fn a_link_says_what_to_watch() {
    let mut lattice = Lattice::start::<KeyValueMemory>(&[]).await;
    for watch in ["", "user:1"] {
        lattice
            .put_source("watcher", "default", &[("watch", watch)])
            .await;
        let report = lattice.report_of(LinkState::Failed).await;
        let reason = report.reason.unwrap();
        assert!(reason.contains("`watch`"), "{reason}");
    }
}

#[tokio::test]
async fn a_link_that_watches_may_require_what_is_told() {
    let mut lattice = Lattice::start::<KeyValueMemory>(&[]).await;
    let config = [("bucket", "cart"), ("watch", "SET@a")];
    watches_what_it_requires(&mut lattice, &config, ["live", "yes", "each"]).await;
}
