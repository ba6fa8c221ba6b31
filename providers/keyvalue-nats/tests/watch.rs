//! Telling components about keys that change.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use async_nats::jetstream;
use keyvalue_nats::KeyValueNats;
use lattice_core::link::LinkState;
use lattice_keyvalue_suite::{Lattice, PATIENCE, Told, Watching, watches_what_it_requires};

const OWN: &str = "keyvalue_default";

async fn watched(watch: &str) -> (Lattice, Watching) {
    let mut lattice = Lattice::start::<KeyValueNats>(&[]).await;
    let watching = lattice.watch("watcher").await;
    lattice
        .put_source("watcher", "default", &[("watch", watch)])
        .await;
    lattice.report_of(LinkState::Ready).await;
    (lattice, watching)
}

async fn bucket(lattice: &Lattice) -> jetstream::kv::Store {
    let context = jetstream::new(lattice.nats.client().await.unwrap());
    context.get_key_value(OWN).await.unwrap()
}

fn set(key: &str, value: &str) -> Told {
    Told::Set(OWN.into(), key.into(), value.to_owned().into())
}

fn deleted(key: &str) -> Told {
    Told::Delete(OWN.into(), key.into())
}

#[tokio::test]
async fn every_change_is_told_in_order() {
    let (mut lattice, mut watching) = watched("SET@user:1,DEL@user:1,DEL@b").await;
    let kv = lattice.link("counter", "default", &[]).await;
    assert_eq!(kv.set("default", "other", "x").await, Ok(()));
    assert_eq!(kv.set("default", "user:1", "7").await, Ok(()));
    assert_eq!(watching.told().await, set("user:1", "7"));
    assert_eq!(kv.increment("default", "user:1", 1).await, Ok(8));
    assert_eq!(watching.told().await, set("user:1", "8"));
    let many = [("b", "x".into()), ("user:1", "y".into())];
    assert_eq!(kv.set_many("default", &many).await, Ok(()));
    assert_eq!(watching.told().await, set("user:1", "y"));
    assert_eq!(kv.delete("default", "user:1").await, Ok(()));
    assert_eq!(watching.told().await, deleted("user:1"));
    assert_eq!(kv.delete("default", "b").await, Ok(()));
    assert_eq!(watching.told().await, deleted("b"));
    bucket(&lattice).await.purge("b").await.unwrap();
    assert_eq!(watching.told().await, deleted("b"));
}

#[tokio::test]
async fn what_changed_while_the_provider_was_away_is_told() {
    let (mut lattice, mut watching) = watched("SET@a,DEL@b").await;
    let own = bucket(&lattice).await;
    own.put("a", "told".into()).await.unwrap();
    own.put("b", "there".into()).await.unwrap();
    assert_eq!(watching.told().await, set("a", "told"));
    lattice.stop_all().await;
    own.put("a", "one".into()).await.unwrap();
    own.put("a", "two".into()).await.unwrap();
    own.delete("b").await.unwrap();
    lattice.run_another::<KeyValueNats>().await;
    // Of what changed several times the last is left.
    while watching.told().await != set("a", "two") {}
    assert_eq!(watching.told().await, deleted("b"));
}

#[tokio::test]
async fn a_key_whose_time_is_over_is_told_as_deleted() {
    let mut lattice = Lattice::start::<KeyValueNats>(&[]).await;
    let mut watching = lattice.watch("watcher").await;
    let short = [
        ("bucket", "short"),
        ("enable_bucket_auto_create", "true"),
        ("ttl_seconds", "1"),
    ];
    let config = [&short[..], &[("watch", "SET@a,DEL@a")]].concat();
    lattice.put_source("watcher", "default", &config).await;
    lattice.report_of(LinkState::Ready).await;
    let config = [&short[..], &[("require", "watch-expiry")]].concat();
    let kv = lattice.link("counter", "default", &config).await;
    assert_eq!(kv.set("default", "a", "x").await, Ok(()));
    let (bucket, key) = ("short".to_owned(), "a".to_owned());
    let set = Told::Set(bucket.clone(), key.clone(), "x".into());
    assert_eq!(watching.told().await, set);
    assert_eq!(watching.told().await, Told::Delete(bucket, key));
    // What is left of it is nothing to those who ask.
    assert_eq!(kv.get("default", "a").await, Ok(None));
    let keys = kv.list_keys("default", None).await.unwrap().keys;
    assert!(keys.is_empty(), "{keys:?}");
    assert_eq!(kv.increment("default", "a", 1).await, Ok(1));
}

/// Others make buckets without markers, and servers before 2.11 have none.
#[tokio::test]
async fn a_bucket_whose_keys_go_without_a_word_says_so() {
    let mut lattice = Lattice::start::<KeyValueNats>(&[]).await;
    let context = jetstream::new(lattice.nats.client().await.unwrap());
    let theirs = jetstream::kv::Config {
        bucket: "theirs".to_owned(),
        max_age: Duration::from_secs(60),
        ..jetstream::kv::Config::default()
    };
    context.create_key_value(theirs).await.unwrap();
    let config = [("bucket", "theirs"), ("require", "watch-expiry")];
    lattice.put("counter", "default", &config).await;
    let reason = lattice.report_of(LinkState::Failed).await.reason.unwrap();
    assert!(reason.contains("requires `watch-expiry`"), "{reason}");
    let config = [("bucket", "theirs"), ("require", "watch-expiry=none")];
    lattice.put("counter", "default", &config).await;
    lattice.report_of(LinkState::Ready).await;
}

#[tokio::test]
async fn a_component_that_comes_later_is_told_what_became() {
    let mut lattice = Lattice::start::<KeyValueNats>(&[]).await;
    lattice
        .put_source("watcher", "default", &[("watch", "SET@a")])
        .await;
    lattice.report_of(LinkState::Ready).await;
    let kv = lattice.link("counter", "default", &[]).await;
    assert_eq!(kv.set("default", "a", "one").await, Ok(()));
    assert_eq!(kv.set("default", "a", "two").await, Ok(()));
    let mut watching = lattice.watch("watcher").await;
    while watching.told().await != set("a", "two") {}
}

#[tokio::test]
async fn nats_may_restart() {
    let (mut lattice, mut watching) = watched("SET@a").await;
    let kv = lattice.link("counter", "default", &[]).await;
    assert_eq!(kv.set("default", "a", "one").await, Ok(()));
    assert_eq!(watching.told().await, set("a", "one"));
    lattice.nats.restart().await.unwrap();
    lattice.until_healthy().await;
    let back = async {
        while kv.set("default", "a", "two").await.is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, back).await.unwrap();
    while watching.told().await != set("a", "two") {}
}

#[tokio::test]
async fn nats_may_lose_the_bucket() {
    let (mut lattice, mut watching) = watched("SET@a").await;
    let kv = lattice.link("counter", "default", &[]).await;
    for value in ["one", "two"] {
        assert_eq!(kv.set("default", "a", value).await, Ok(()));
        assert_eq!(watching.told().await, set("a", value));
    }
    lattice.nats.restart_wiped().await.unwrap();
    lattice.until_healthy().await;
    let back = async {
        while kv.set("default", "a", "three").await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, back).await.unwrap();
    assert_eq!(watching.told().await, set("a", "three"));
}

#[tokio::test]
async fn several_processes_tell_once() {
    let (mut lattice, mut watching) = watched("SET@a,SET@mark").await;
    lattice.run_another::<KeyValueNats>().await;
    let kv = lattice.link("counter", "default", &[]).await;
    for n in 0..5 {
        let value = n.to_string();
        assert_eq!(kv.set("default", "a", value.clone()).await, Ok(()));
        assert_eq!(watching.told().await, set("a", &value));
    }
    assert_eq!(kv.set("default", "mark", "x").await, Ok(()));
    assert_eq!(watching.told().await, set("mark", "x"));
    assert_eq!(watching.now(), None);
}

#[tokio::test]
async fn a_link_says_what_to_watch() {
    let mut lattice = Lattice::start::<KeyValueNats>(&[]).await;
    lattice
        .put_source("watcher", "default", &[("watch", "user:1")])
        .await;
    let reason = lattice.report_of(LinkState::Failed).await.reason.unwrap();
    assert!(reason.contains("`watch`"), "{reason}");
    let config = [("bucket", "late"), ("watch", "SET@a")];
    lattice.put_source("watcher", "spare", &config).await;
    let reason = lattice.report_of(LinkState::Failed).await.reason.unwrap();
    assert!(reason.contains("`late`"), "{reason}");
}

#[tokio::test]
async fn a_link_that_watches_may_require_what_is_told() {
    let mut lattice = Lattice::start::<KeyValueNats>(&[]).await;
    let config = [("watch", "SET@a")];
    watches_what_it_requires(&mut lattice, &config, ["resumed", "yes", "last"]).await;
}
