//! What links say, and what becomes of them when the file is not as they say.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::PathBuf;

use keyvalue_sqlite::KeyValueSqlite;
use lattice_core::link::LinkState;
use lattice_keyvalue_suite::{Lattice, PATIENCE, cases};
use lattice_provider_sdk::keyvalue::KeyValueError;
use rusqlite::Connection;
use tempfile::TempDir;

async fn start() -> Lattice {
    Lattice::start::<KeyValueSqlite>(&[]).await
}

fn file() -> (TempDir, PathBuf, String) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("kv.db");
    let text = path.display().to_string();
    (folder, path, text)
}

#[tokio::test]
async fn what_was_answered_is_in_the_file() {
    let (_folder, path, text) = file();
    let mut lattice = start().await;
    let kv = lattice.link("counter", "spare", &[("Path", &text)]).await;
    assert_eq!(kv.set("spare", "a", "x").await, Ok(()));
    assert_eq!(kv.set("cart", "a", "y").await, Ok(()));
    let other = Connection::open(&path).unwrap();
    let value = |bucket: &str| -> Vec<u8> {
        let text = "SELECT value FROM lattice_keyvalue WHERE key = 'a' AND bucket = ?1";
        other.query_row(text, [bucket], |row| row.get(0)).unwrap()
    };
    assert_eq!((value(""), value("cart")), (b"x".to_vec(), b"y".to_vec()));
    // What others write is read.
    let text = "UPDATE lattice_keyvalue SET value = 'z' WHERE bucket = 'cart'";
    other.execute(text, []).unwrap();
    assert_eq!(kv.get("cart", "a").await, Ok(Some("z".into())));
}

#[tokio::test]
async fn links_to_the_same_file_share_it_and_it_stays() {
    let (_folder, _, path) = file();
    for round in 1..=2 {
        let mut lattice = start().await;
        let one = lattice.link("one", "default", &[("path", &path)]).await;
        let more = [("path", path.as_str()), ("synchronous", "normal")];
        let two = lattice.link("two", "default", &more).await;
        let sum = round * 2;
        assert_eq!(one.increment("default", "n", 1).await, Ok(sum - 1));
        assert_eq!(two.increment("default", "n", 1).await, Ok(sum));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_processes_count_together() {
    let (_folder, _, path) = file();
    let mut lattice = start().await;
    let kv = lattice.link("counter", "default", &[("path", &path)]).await;
    lattice.run_another::<KeyValueSqlite>().await;
    cases::count_at_once(&kv, "n", 64).await;
    assert_eq!(kv.get("default", "n").await, Ok(Some("64".into())));
}

#[tokio::test]
async fn settings_that_cannot_be_are_reported() {
    let mut lattice = start().await;
    lattice.put("counter", "default", &[]).await;
    let reason = lattice.report_of(LinkState::Failed).await.reason.unwrap();
    assert!(reason.contains("`path`"), "{reason}");
    let config = [("path", "/nowhere/at/all/kv.db")];
    lattice.put("counter", "default", &config).await;
    let reason = lattice.report_of(LinkState::Failed).await.reason.unwrap();
    assert!(reason.contains("`/nowhere/at/all/kv.db`"), "{reason}");
}

#[tokio::test]
async fn what_is_no_database_is_reported() {
    let (_folder, path, text) = file();
    std::fs::write(
        &path,
        "this is no database, but long enough to be looked at",
    )
    .unwrap();
    let mut lattice = start().await;
    lattice.put("counter", "default", &[("path", &text)]).await;
    let reason = lattice.report_of(LinkState::Failed).await.reason.unwrap();
    assert!(reason.contains("not a database"), "{reason}");
}

#[tokio::test]
async fn a_link_waits_for_a_file_that_it_does_not_make() {
    let (_folder, path, text) = file();
    let mut lattice = start().await;
    let config = [("path", text.as_str()), ("create", "false")];
    let kv = lattice.put("counter", "default", &config).await;
    let reason = lattice.report_of(LinkState::Failed).await.reason.unwrap();
    assert!(reason.contains(&text), "{reason}");
    assert!(!path.exists());
    Connection::open(&path)
        .unwrap()
        .execute_batch("VACUUM")
        .unwrap();
    lattice.report_of(LinkState::Ready).await;
    assert_eq!(kv.increment("default", "n", 1).await, Ok(1));
}

#[tokio::test]
async fn a_file_that_goes_fails_its_link_until_one_is_back() {
    let (_folder, path, text) = file();
    let mut lattice = start().await;
    Connection::open(&path)
        .unwrap()
        .execute_batch("VACUUM")
        .unwrap();
    let config = [("path", text.as_str()), ("create", "false")];
    let kv = lattice.link("counter", "default", &config).await;
    assert_eq!(kv.set("default", "a", "x").await, Ok(()));
    let aside = path.with_extension("aside");
    std::fs::rename(&path, &aside).unwrap();
    let lost = kv.set("default", "a", "lost").await;
    assert!(lost.is_err(), "nobody will read it");
    let reason = lattice.report_of(LinkState::Failed).await.reason.unwrap();
    assert!(reason.contains(&text), "{reason}");
    assert!(kv.get("default", "a").await.is_err());
    Connection::open(&path)
        .unwrap()
        .execute_batch("VACUUM")
        .unwrap();
    lattice.report_of(LinkState::Ready).await;
    assert_eq!(kv.get("default", "a").await, Ok(None));
    assert_eq!(kv.set("default", "a", "y").await, Ok(()));
}

#[tokio::test]
async fn a_file_that_goes_is_made_again_and_nothing_is_written_to_the_old_one() {
    let (_folder, path, text) = file();
    let mut lattice = start().await;
    let kv = lattice.link("counter", "default", &[("path", &text)]).await;
    assert_eq!(kv.set("default", "a", "x").await, Ok(()));
    std::fs::remove_file(&path).unwrap();
    let written = async { while kv.set("default", "a", "y").await.is_err() {} };
    tokio::time::timeout(PATIENCE, written).await.unwrap();
    let found = Connection::open(&path).unwrap();
    let text = "SELECT value FROM lattice_keyvalue WHERE key = 'a'";
    let value: Vec<u8> = found.query_row(text, [], |row| row.get(0)).unwrap();
    assert_eq!(value, b"y");
}

#[tokio::test]
async fn another_program_that_writes_is_waited_for_up_to_a_limit() {
    let (_folder, path, text) = file();
    let mut lattice = start().await;
    let config = [("path", text.as_str()), ("busy_timeout_ms", "200")];
    let kv = lattice.link("counter", "default", &config).await;
    assert_eq!(kv.set("default", "a", "x").await, Ok(()));
    let other = Connection::open(&path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let Err(KeyValueError::Other(why)) = kv.set("default", "a", "y").await else {
        panic!("it was written");
    };
    assert!(why.contains("locked"), "{why}");
    // Who reads does not wait.
    assert_eq!(kv.get("default", "a").await, Ok(Some("x".into())));
    other.execute_batch("ROLLBACK").unwrap();
    assert_eq!(kv.set("default", "a", "y").await, Ok(()));
}

#[tokio::test]
async fn what_a_link_requires_is_looked_at() {
    let (_folder, _, path) = file();
    let mut lattice = start().await;
    let much = "cas=version, ttl=key, batch=atomic, paging=once, consistency=linearizable";
    let config = [("path", path.as_str()), ("require", much)];
    lattice.link("counter", "default", &config).await;
    let config = [("path", path.as_str()), ("require", "order")];
    lattice.put("counter", "spare", &config).await;
    let reason = lattice.report_of(LinkState::Failed).await.reason.unwrap();
    assert!(reason.contains("`order`"), "{reason}");
}

#[tokio::test]
async fn a_link_may_say_how_long_keys_stay() {
    let (_folder, path, text) = file();
    let mut lattice = start().await;
    let config = [("path", text.as_str()), ("ttl_seconds", "1")];
    let kv = lattice.link("counter", "default", &config).await;
    assert_eq!(kv.set("default", "a", "x").await, Ok(()));
    assert_eq!(kv.increment("default", "n", 1).await, Ok(1));
    let gone = async { while kv.exists("default", "n").await != Ok(false) {} };
    tokio::time::timeout(PATIENCE, gone).await.unwrap();
    assert_eq!(kv.get("default", "a").await, Ok(None));
    // It takes no room for long either.
    let other = Connection::open(&path).unwrap();
    let rows = || -> i64 {
        let text = "SELECT count(*) FROM lattice_keyvalue";
        other.query_row(text, [], |row| row.get(0)).unwrap()
    };
    let swept = async {
        while rows() > 0 {
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(PATIENCE, swept).await.unwrap();
}
