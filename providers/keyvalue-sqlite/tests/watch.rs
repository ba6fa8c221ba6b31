//! Telling components about keys that change.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use keyvalue_sqlite::KeyValueSqlite;
use lattice_core::link::LinkState;
use lattice_keyvalue_suite::{Lattice, PATIENCE, Told, Watching, watches_what_it_requires};
use tempfile::TempDir;

struct Place {
    path: String,
    _folder: TempDir,
}

impl Place {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("values.sqlite3").display().to_string();
        Self {
            path,
            _folder: folder,
        }
    }

    fn config(&self) -> (&'static str, &str) {
        ("path", &self.path)
    }
}

fn set(key: &str, value: &str) -> Told {
    Told::Set("default".into(), key.into(), value.to_owned().into())
}

fn deleted(key: &str) -> Told {
    Told::Delete("default".into(), key.into())
}

async fn watched(place: &Place, watch: &str) -> (Lattice, Watching) {
    let mut lattice = Lattice::start::<KeyValueSqlite>(&[]).await;
    let watching = lattice.watch("watcher").await;
    let config = [place.config(), ("watch", watch)];
    lattice.put_source("watcher", "default", &config).await;
    lattice.report_of(LinkState::Ready).await;
    (lattice, watching)
}

#[tokio::test]
async fn every_change_is_told() {
    let place = Place::start().await;
    let (mut lattice, mut watching) = watched(&place, "SET@a,DEL@a,DEL@b").await;
    let config = [place.config(), ("require", "watch=resumed, watch-expiry")];
    let kv = lattice.link("counter", "default", &config).await;
    assert_eq!(kv.set("other", "a", "another bucket").await, Ok(()));
    assert_eq!(kv.set("default", "other", "x").await, Ok(()));
    assert_eq!(kv.set("default", "a", "7").await, Ok(()));
    assert_eq!(watching.told().await, set("a", "7"));
    // The same value again is a change as well.
    assert_eq!(kv.set("default", "a", "7").await, Ok(()));
    assert_eq!(watching.told().await, set("a", "7"));
    assert_eq!(kv.increment("default", "a", 1).await, Ok(8));
    assert_eq!(watching.told().await, set("a", "8"));
    let many = [("b", "x".into()), ("a", "y".into())];
    assert_eq!(kv.set_many("default", &many).await, Ok(()));
    assert_eq!(watching.told().await, set("a", "y"));
    assert_eq!(kv.delete("default", "a").await, Ok(()));
    assert_eq!(watching.told().await, deleted("a"));
    assert_eq!(kv.delete("default", "b").await, Ok(()));
    assert_eq!(watching.told().await, deleted("b"));
    let ttl = Duration::from_secs(1);
    assert_eq!(kv.set_for("default", "a", "short", ttl).await, Ok(()));
    assert_eq!(watching.told().await, set("a", "short"));
    assert_eq!(watching.told().await, deleted("a"));
    assert_eq!(watching.now(), None);
    // What is remembered of the watcher is no key of a bucket.
    let keys = kv.list_keys("default", None).await.unwrap().keys;
    assert_eq!(keys, ["other"]);
}

#[tokio::test]
async fn what_became_of_keys_while_the_provider_was_away_is_told() {
    let place = Place::start().await;
    let (mut lattice, mut watching) = watched(&place, "SET@a,DEL@b,SET@c").await;
    let kv = lattice.link("counter", "default", &[place.config()]).await;
    // All of one look is over before what the next one sees is told.
    for (key, is_told) in [("b", false), ("a", true), ("c", true)] {
        assert_eq!(kv.set("default", key, "told").await, Ok(()));
        if is_told {
            assert_eq!(watching.told().await, set(key, "told"));
        }
    }
    lattice.stop_all().await;
    // Another provider on the same place, as another lattice has.
    let mut other = Lattice::start::<KeyValueSqlite>(&[]).await;
    let kv = other.link("counter", "default", &[place.config()]).await;
    assert_eq!(kv.set("default", "a", "one").await, Ok(()));
    assert_eq!(kv.set("default", "a", "two").await, Ok(()));
    assert_eq!(kv.delete("default", "b").await, Ok(()));
    lattice.run_another::<KeyValueSqlite>().await;
    let mut missing = vec![deleted("b"), set("a", "two")];
    while !missing.is_empty() {
        let told = watching.told().await;
        missing.retain(|wanted| *wanted != told);
        // What was told last may not have been written down before the provider went.
        let news = [deleted("b"), set("a", "two"), set("c", "told")];
        assert!(news.contains(&told), "{told:?}");
    }
}

#[tokio::test]
async fn what_was_told_is_remembered_anew_from_each_start() {
    let place = Place::start().await;
    let (mut lattice, _watching) = watched(&place, "SET@a").await;
    lattice.stop_all().await;
    let file = rusqlite::Connection::open(&place.path).unwrap();
    file.busy_timeout(PATIENCE).unwrap();
    let ends = || -> i64 {
        let text = "SELECT ends FROM lattice_keyvalue_told";
        file.query_row(text, [], |row| row.get(0)).unwrap()
    };
    let before = ends();
    let sooner = "UPDATE lattice_keyvalue_told SET ends = ends - 60000";
    file.execute(sooner, []).unwrap();
    lattice.run_another::<KeyValueSqlite>().await;
    let anew = async {
        while ends() < before {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, anew).await.unwrap();
}

#[tokio::test]
async fn a_component_that_comes_later_is_told_what_became() {
    let place = Place::start().await;
    let mut lattice = Lattice::start::<KeyValueSqlite>(&[]).await;
    let config = [place.config(), ("watch", "SET@a")];
    lattice.put_source("watcher", "default", &config).await;
    lattice.report_of(LinkState::Ready).await;
    let kv = lattice.link("counter", "default", &[place.config()]).await;
    assert_eq!(kv.set("default", "a", "one").await, Ok(()));
    assert_eq!(kv.set("default", "a", "two").await, Ok(()));
    let mut watching = lattice.watch("watcher").await;
    let told = async { while watching.told().await != set("a", "two") {} };
    tokio::time::timeout(PATIENCE, told).await.unwrap();
}

#[tokio::test]
async fn a_link_says_what_to_watch() {
    let place = Place::start().await;
    let mut lattice = Lattice::start::<KeyValueSqlite>(&[]).await;
    let config = [place.config(), ("watch", "user:1")];
    lattice.put_source("watcher", "default", &config).await;
    let reason = lattice.report_of(LinkState::Failed).await.reason.unwrap();
    assert!(reason.contains("`watch`"), "{reason}");
}

#[tokio::test]
async fn a_link_that_watches_may_require_what_is_told() {
    let place = Place::start().await;
    let mut lattice = Lattice::start::<KeyValueSqlite>(&[]).await;
    let config = [place.config(), ("watch", "SET@a")];
    watches_what_it_requires(&mut lattice, &config, ["resumed", "yes", "last"]).await;
}
