//! Telling components about keys that change.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use lattice_core::link::LinkState;
use lattice_keyvalue_suite::{Lattice, Told, Watching, watches_what_it_requires};
use support::{RedisBox, lattice};

const EVENTS: [&str; 2] = ["--notify-keyspace-events", "K$g"];

async fn watched(redis: &RedisBox, watch: &str) -> (Lattice, Watching) {
    let mut lattice = lattice(&[]).await;
    let watching = lattice.watch("watcher").await;
    let config = [("url", redis.url.as_str()), ("watch", watch)];
    lattice.put_source("watcher", "default", &config).await;
    lattice.report_of(LinkState::Ready).await;
    (lattice, watching)
}

async fn redis() -> RedisBox {
    let mut redis = RedisBox::reserve();
    redis.launch(&EVENTS).await;
    redis
}

fn set(key: &str, value: &str) -> Told {
    Told::Set("0".into(), key.into(), value.to_owned().into())
}

fn deleted(key: &str) -> Told {
    Told::Delete("0".into(), key.into())
}

#[tokio::test]
async fn changes_are_told_in_order() {
    let redis = redis().await;
    let (_lattice, mut watching) = watched(&redis, "SET@user:1,DEL@user:1,SET@n").await;
    let _: () = redis.ask(&["SET", "other", "x"]).await;
    let _: () = redis.ask(&["SET", "user:1", "one"]).await;
    assert_eq!(watching.told().await, set("user:1", "one"));
    let _: i64 = redis.ask(&["INCRBY", "n", "7"]).await;
    assert_eq!(watching.told().await, set("n", "7"));
    let _: () = redis.ask(&["MSET", "other", "y", "user:1", "two"]).await;
    assert_eq!(watching.told().await, set("user:1", "two"));
    let _: i64 = redis.ask(&["DEL", "n", "user:1"]).await;
    assert_eq!(watching.told().await, deleted("user:1"));
}

#[tokio::test]
async fn what_the_provider_sets_for_a_component_is_told() {
    let redis = redis().await;
    let (mut lattice, mut watching) = watched(&redis, "SET@a").await;
    let kv = lattice
        .link("counter", "default", &[("url", &redis.url)])
        .await;
    assert_eq!(kv.set("default", "a", "x").await, Ok(()));
    assert_eq!(watching.told().await, set("a", "x"));
}

#[tokio::test]
async fn what_changed_while_the_server_was_away_is_told() {
    let mut redis = redis().await;
    let _: () = redis
        .ask(&["MSET", "a", "old", "b", "old", "c", "old"])
        .await;
    let (_lattice, mut watching) = watched(&redis, "SET@a,SET@b,DEL@c").await;
    let _: () = redis.ask(&["SET", "a", "new"]).await;
    assert_eq!(watching.told().await, set("a", "new"));
    redis.stop();
    // Changed where the provider does not see it.
    let port = redis.port;
    redis.port = support::free_port();
    redis.url = format!("redis://127.0.0.1:{}", redis.port);
    redis.launch(&EVENTS).await;
    let _: () = redis.ask(&["SET", "b", "new"]).await;
    let _: i64 = redis.ask(&["DEL", "c"]).await;
    redis.stop();
    redis.port = port;
    redis.url = format!("redis://127.0.0.1:{port}");
    redis.launch(&EVENTS).await;
    // A change whose telling the outage may have cut off is told again.
    let mut missing = vec![set("b", "new"), deleted("c")];
    while !missing.is_empty() {
        let told = watching.told().await;
        assert!(
            missing.contains(&told) || told == set("a", "new"),
            "{told:?}"
        );
        missing.retain(|change| *change != told);
    }
}

#[tokio::test]
async fn a_component_that_comes_later_is_told_what_became() {
    let redis = redis().await;
    let mut lattice = lattice(&[]).await;
    let config = [("url", redis.url.as_str()), ("watch", "SET@a,SET@b")];
    lattice.put_source("watcher", "default", &config).await;
    lattice.report_of(LinkState::Ready).await;
    let _: () = redis.ask(&["SET", "a", "one"]).await;
    let _: () = redis.ask(&["SET", "a", "two"]).await;
    let mut watching = lattice.watch("watcher").await;
    // Each change found nobody or was told; the last one is told in any case.
    while watching.told().await != set("a", "two") {}
    let _: () = redis.ask(&["SET", "b", "x"]).await;
    while watching.told().await != set("b", "x") {}
}

#[tokio::test]
async fn a_deleted_link_tells_no_more() {
    let redis = redis().await;
    let (mut lattice, mut watching) = watched(&redis, "SET@a").await;
    lattice.unlink().await;
    until_unwatched(&redis).await;
    let _: () = redis.ask(&["SET", "a", "x"]).await;
    let mut again = lattice.watch("other").await;
    let config = [("url", redis.url.as_str()), ("watch", "SET@mark")];
    lattice.put_source("other", "default", &config).await;
    lattice.report_of(LinkState::Ready).await;
    let _: () = redis.ask(&["SET", "mark", "x"]).await;
    assert_eq!(again.told().await, set("mark", "x"));
    assert_eq!(watching.now(), None);
}

async fn until_unwatched(redis: &RedisBox) {
    let gone = async {
        while !redis
            .ask::<Vec<String>>(&["PUBSUB", "CHANNELS"])
            .await
            .is_empty()
        {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(lattice_keyvalue_suite::PATIENCE, gone)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_server_that_does_not_tell_fails_the_link_until_it_does() {
    let redis = RedisBox::start().await;
    let mut lattice = lattice(&[]).await;
    let mut watching = lattice.watch("watcher").await;
    let config = [("url", redis.url.as_str()), ("watch", "SET@a")];
    lattice.put_source("watcher", "default", &config).await;
    let reason = lattice.report_of(LinkState::Failed).await.reason.unwrap();
    assert!(reason.contains("notify-keyspace-events"), "{reason}");
    let _: () = redis
        .ask(&["CONFIG", "SET", "notify-keyspace-events", "KA"])
        .await;
    lattice.report_of(LinkState::Ready).await;
    let _: () = redis.ask(&["SET", "a", "x"]).await;
    assert_eq!(watching.told().await, set("a", "x"));
}

#[tokio::test]
async fn a_server_that_tells_no_more_fails_the_link_until_it_does() {
    let redis = redis().await;
    let (mut lattice, mut watching) = watched(&redis, "SET@a").await;
    let flags = ["CONFIG", "SET", "notify-keyspace-events"];
    let _: () = redis.ask(&[&flags[..], &[""]].concat()).await;
    let reason = lattice.report_of(LinkState::Failed).await.reason.unwrap();
    assert!(reason.contains("notify-keyspace-events"), "{reason}");
    // A subscription that nobody reads any more is not kept.
    until_unwatched(&redis).await;
    let _: () = redis.ask(&[&flags[..], &["KA"]].concat()).await;
    lattice.report_of(LinkState::Ready).await;
    let _: () = redis.ask(&["SET", "a", "x"]).await;
    assert_eq!(watching.told().await, set("a", "x"));
}

#[tokio::test]
async fn changes_are_told_though_the_server_came_back_without_telling() {
    let mut redis = redis().await;
    let (_lattice, mut watching) = watched(&redis, "SET@a").await;
    let _: () = redis.ask(&["SET", "a", "one"]).await;
    assert_eq!(watching.told().await, set("a", "one"));
    redis.stop();
    redis.launch(&[]).await;
    let _: () = redis.ask(&["SET", "a", "two"]).await;
    // A change whose telling the outage may have cut off is told again.
    while watching.told().await != set("a", "two") {}
}

#[tokio::test]
async fn a_link_says_what_to_watch() {
    let redis = redis().await;
    let mut lattice = lattice(&[]).await;
    for watch in ["", "user:1"] {
        let config = [("url", redis.url.as_str()), ("watch", watch)];
        lattice.put_source("watcher", "default", &config).await;
        let reason = lattice.report_of(LinkState::Failed).await.reason.unwrap();
        assert!(reason.contains("`watch`"), "{reason}");
    }
}

#[tokio::test]
async fn what_changed_while_the_provider_was_away_is_told() {
    let redis = redis().await;
    let _: () = redis
        .ask(&["MSET", "a", "old", "b", "old", "c", "old"])
        .await;
    let watch = "SET@a,DEL@b,SET@c";
    let (mut lattice, mut watching) = watched(&redis, watch).await;
    let _: () = redis.ask(&["SET", "c", "told"]).await;
    assert_eq!(watching.told().await, set("c", "told"));
    until_written(&redis, "c", "told").await;
    lattice.stop_all().await;
    let _: () = redis.ask(&["SET", "a", "new"]).await;
    let _: i64 = redis.ask(&["DEL", "b"]).await;
    lattice.run_another::<keyvalue_redis::KeyValueRedis>().await;
    let mut told = [watching.told().await, watching.told().await];
    told.sort();
    assert_eq!(told, [set("a", "new"), deleted("b")]);
    // What was told before is not told again.
    let _: () = redis.ask(&["SET", "a", "mark"]).await;
    assert_eq!(watching.told().await, set("a", "mark"));
}

/// What a component does not want to know tells from what on it does.
#[tokio::test]
async fn a_change_after_one_that_was_not_to_be_told_is_told_after_an_outage() {
    let redis = redis().await;
    let _: () = redis.ask(&["SET", "gone", "same"]).await;
    let (mut lattice, mut watching) = watched(&redis, "DEL@new,SET@gone,SET@mark").await;
    let _: () = redis.ask(&["SET", "new", "x"]).await;
    until_noted(&redis, "new", "present").await;
    let _: i64 = redis.ask(&["DEL", "gone"]).await;
    until_noted(&redis, "gone", "absent").await;
    lattice.stop_all().await;
    let _: i64 = redis.ask(&["DEL", "new"]).await;
    let _: () = redis.ask(&["SET", "gone", "same"]).await;
    lattice.run_another::<keyvalue_redis::KeyValueRedis>().await;
    let mut told = [watching.told().await, watching.told().await];
    told.sort();
    assert_eq!(told, [set("gone", "same"), deleted("new")]);
}

#[tokio::test]
async fn what_was_told_is_remembered_anew_from_each_start() {
    let redis = redis().await;
    let (mut lattice, _watching) = watched(&redis, "SET@a").await;
    lattice.stop_all().await;
    let found: Vec<String> = redis.ask(&["KEYS", MEMORY]).await;
    let memory = found.first().unwrap();
    let _: i64 = redis.ask(&["EXPIRE", memory, "1000"]).await;
    lattice.run_another::<keyvalue_redis::KeyValueRedis>().await;
    let anew = async {
        while redis.ask::<i64>(&["TTL", memory]).await <= 1000 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(lattice_keyvalue_suite::PATIENCE, anew)
        .await
        .unwrap();
}

/// Where it is written down what the component was told.
const MEMORY: &str = "lattice:kv:watch:lattice_watcher_default_*";

/// Waits until it is written down what the component was told.
async fn until_written(redis: &RedisBox, key: &str, value: &'static str) {
    let digest = lattice_provider_sdk::keyvalue::watch::ChangeNotifier::digest(Some(&value.into()));
    until_noted(redis, key, &digest).await;
}

async fn until_noted(redis: &RedisBox, key: &str, digest: &str) {
    let written = async {
        let found: Vec<String> = redis.ask(&["KEYS", MEMORY]).await;
        let memory = found.first().expect("what the component was told");
        while redis
            .ask::<Option<String>>(&["HGET", memory, key])
            .await
            .as_deref()
            != Some(digest)
        {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(lattice_keyvalue_suite::PATIENCE, written)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_bucket_of_another_database_is_watched() {
    let mut redis = redis().await;
    let mut lattice = lattice(&[]).await;
    let mut watching = lattice.watch("watcher").await;
    redis.url += "/3";
    let config = [
        ("url", redis.url.as_str()),
        ("watch", "SET@user:1,DEL@user:1"),
        ("bucket", "cart"),
    ];
    lattice.put_source("watcher", "default", &config).await;
    lattice.report_of(LinkState::Ready).await;
    let kv = lattice
        .link("counter", "default", &[("url", &redis.url)])
        .await;
    assert_eq!(kv.set("default", "user:1", "no").await, Ok(()));
    assert_eq!(kv.increment("cart", "user:1", 7).await, Ok(7));
    let told = |value: &str| Told::Set("cart".into(), "user:1".into(), value.to_owned().into());
    assert_eq!(watching.told().await, told("7"));
    assert_eq!(kv.set_many("cart", &[("user:1", "x".into())]).await, Ok(()));
    assert_eq!(watching.told().await, told("x"));
    assert_eq!(kv.delete("cart", "user:1").await, Ok(()));
    let gone = Told::Delete("cart".into(), "user:1".into());
    assert_eq!(watching.told().await, gone);
}

#[tokio::test]
async fn a_key_whose_time_is_over_is_told() {
    let mut redis = RedisBox::reserve();
    redis.launch(&["--notify-keyspace-events", "KA"]).await;
    let (_lattice, mut watching) = watched(&redis, "DEL@a").await;
    let _: () = redis.ask(&["SET", "a", "x", "PX", "100"]).await;
    assert_eq!(watching.told().await, deleted("a"));
}

#[tokio::test]
async fn a_link_that_watches_may_require_what_is_told() {
    let redis = redis().await;
    let mut lattice = lattice(&[]).await;
    let config = [("url", &*redis.url), ("watch", "SET@a")];
    watches_what_it_requires(&mut lattice, &config, ["resumed", "server", "last"]).await;
}
