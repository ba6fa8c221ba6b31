//! What links say, and what becomes of them when the server is not as they say.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use keyvalue_postgres::KeyValuePostgres;
use lattice_core::link::LinkState;
use lattice_keyvalue_suite::{Lattice, PATIENCE, cases, links};
use lattice_postgres::tokio_postgres::{Client, NoTls};
use lattice_provider_sdk::keyvalue::KeyValueError;
use lattice_services::{Kind, Service};
use tokio::time::Instant;

async fn start() -> (Service, Lattice) {
    let server = Service::start(Kind::Postgres).await.unwrap();
    (server, Lattice::start::<KeyValuePostgres>(&[]).await)
}

/// Asks the server past the provider.
async fn client(server: &Service) -> Client {
    let url = server.url();
    let connected = lattice_postgres::tokio_postgres::connect(&url, NoTls);
    let (client, connection) = connected.await.unwrap();
    tokio::spawn(connection);
    client
}

#[tokio::test]
async fn keys_are_rows_that_other_programs_see() {
    let (server, mut lattice) = start().await;
    let config = [("url", &*server.url()), ("table", "carts")];
    let kv = lattice.link("counter", "spare", &config).await;
    assert_eq!(kv.set("spare", "user:1", "x").await, Ok(()));
    assert_eq!(kv.set("cart", "a", "y").await, Ok(()));
    let client = client(&server).await;
    let text = "SELECT bucket, key, convert_from(value, 'UTF8') FROM carts ORDER BY place";
    let rows = client.query(text, &[]).await.unwrap();
    let row = |n: usize| (rows[n].get(0), rows[n].get(1), rows[n].get(2));
    assert_eq!(row(0), ("", "user:1", "x"));
    assert_eq!(row(1), ("cart", "a", "y"));
    let text = "INSERT INTO carts (bucket, key, value) VALUES ('cart', 'b', 'z')";
    client.execute(text, &[]).await.unwrap();
    assert_eq!(kv.get("cart", "b").await, Ok(Some("z".into())));
    let read = kv.read("cart", "b").await.unwrap();
    assert_eq!(read.value, Some("z".into()));
    let number = "0000000000000000000000041";
    assert_eq!(kv.set("cart", "n", number).await, Ok(()));
    assert_eq!(kv.increment("cart", "n", 1).await, Ok(42));
    assert_eq!(kv.get("cart", "n").await, Ok(Some("42".into())));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_processes_count_together() {
    let (server, mut lattice) = start().await;
    let url = server.url();
    let kv = lattice.link("counter", "default", &[("url", &url)]).await;
    lattice.run_another::<KeyValuePostgres>().await;
    cases::count_at_once(&kv, "n", 64).await;
    assert_eq!(kv.get("default", "n").await, Ok(Some("64".into())));
}

#[tokio::test]
async fn a_link_waits_for_a_table_that_it_does_not_make() {
    let (server, mut lattice) = start().await;
    let url = server.url();
    let config = [("url", url.as_str()), ("create", "false")];
    let kv = lattice.put("counter", "default", &config).await;
    let reason = lattice.report_of(LinkState::Failed).await.reason.unwrap();
    assert!(reason.contains("lattice_keyvalue"), "{reason}");
    assert!(reason.contains("`create`"), "{reason}");
    lattice.link("other", "default", &[("url", &url)]).await;
    lattice.report_of(LinkState::Ready).await;
    assert_eq!(kv.increment("default", "n", 1).await, Ok(1));
}

#[tokio::test]
async fn a_table_that_goes_is_made_again() {
    let (server, mut lattice) = start().await;
    let url = server.url();
    let kv = lattice.link("counter", "default", &[("url", &url)]).await;
    assert_eq!(kv.set("default", "a", "x").await, Ok(()));
    let client = client(&server).await;
    let drop = "DROP TABLE lattice_keyvalue";
    client.batch_execute(drop).await.unwrap();
    let Err(KeyValueError::Other(why)) = kv.get("default", "a").await else {
        panic!("there is no table");
    };
    assert!(why.contains("lattice_keyvalue"), "{why}");
    let back = async { while kv.get("default", "a").await != Ok(None) {} };
    tokio::time::timeout(PATIENCE, back).await.unwrap();
}

#[tokio::test]
async fn what_a_login_may_not_do_is_denied() {
    let (server, mut lattice) = start().await;
    let url = server.url();
    let kv = lattice.link("counter", "default", &[("url", &url)]).await;
    let client = client(&server).await;
    // The owner of a table may take rights away from itself.
    let rule = "REVOKE INSERT, UPDATE ON lattice_keyvalue FROM CURRENT_USER";
    client.batch_execute(rule).await.unwrap();
    assert_eq!(kv.get("default", "a").await, Ok(None));
    let denied = Err(KeyValueError::AccessDenied);
    assert_eq!(kv.set("default", "a", "x").await, denied);
}

#[tokio::test]
async fn a_refused_login_fails_the_link_until_it_is_let_in() {
    let (server, mut lattice) = start().await;
    let url = server.url();
    let client = client(&server).await;
    let opens = "ALTER ROLE CURRENT_USER PASSWORD";
    client
        .batch_execute(&format!("{opens} 'sesame'"))
        .await
        .unwrap();
    let kv = lattice.put("counter", "default", &[("url", &url)]).await;
    let reason = lattice.report_of(LinkState::Failed).await.reason.unwrap();
    assert!(
        reason.contains("password authentication failed"),
        "{reason}"
    );
    client
        .batch_execute(&format!("{opens} 'lattice'"))
        .await
        .unwrap();
    lattice.report_of(LinkState::Ready).await;
    assert_eq!(kv.increment("default", "n", 1).await, Ok(1));
}

#[tokio::test]
async fn settings_that_cannot_be_are_reported_without_the_login() {
    let (_server, mut lattice) = start().await;
    let nowhere = "postgres://me:sesame@127.0.0.1:1/none";
    for (config, named) in [
        ([("url", nowhere), ("table", "a b")], "`table`"),
        ([("url", nowhere), ("create", "true")], "127.0.0.1:1"),
        ([("url", "sesame"), ("create", "true")], "`url`"),
    ] {
        lattice.put("counter", "default", &config).await;
        let reason = lattice.report_of(LinkState::Failed).await.reason.unwrap();
        assert!(reason.contains(named), "{reason}");
        assert!(!reason.contains("sesame"), "{reason}");
        lattice.unlink().await;
    }
}

#[tokio::test]
async fn a_server_that_is_away_is_an_error_until_it_is_back() {
    let (mut server, mut lattice) = start().await;
    links::a_server_that_is_away_is_an_error_until_it_is_back(&mut server, &mut lattice).await;
}

#[tokio::test]
async fn what_takes_too_long_is_an_error() {
    let (server, mut lattice) = start().await;
    let url = server.url();
    let config = [("url", url.as_str()), ("statement_timeout_ms", "300")];
    let kv = lattice.link("counter", "default", &config).await;
    assert_eq!(kv.set("default", "a", "x").await, Ok(()));
    let client = client(&server).await;
    let lock = "BEGIN; LOCK TABLE lattice_keyvalue IN ACCESS EXCLUSIVE MODE";
    client.batch_execute(lock).await.unwrap();
    let asked = Instant::now();
    let Err(KeyValueError::Other(why)) = kv.get("default", "a").await else {
        panic!("the table is locked");
    };
    assert!(asked.elapsed() < Duration::from_secs(5), "{why}");
    client.batch_execute("ROLLBACK").await.unwrap();
    links::until_back(&kv).await;
}

#[tokio::test]
async fn keys_that_no_index_takes_are_refused() {
    let (server, mut lattice) = start().await;
    let url = server.url();
    let kv = lattice.link("counter", "default", &[("url", &url)]).await;
    let key = "k".repeat(keyvalue_postgres::key::LONGEST);
    assert_eq!(kv.set("default", &key, "x").await, Ok(()));
    assert_eq!(kv.get("default", &key).await, Ok(Some("x".into())));
    let longer = key + "k";
    let Err(KeyValueError::Other(why)) = kv.set("default", &longer, "x").await else {
        panic!("it was taken");
    };
    assert!(why.contains("2601"), "{why}");
}

#[tokio::test]
async fn what_a_link_requires_is_looked_at() {
    let (server, mut lattice) = start().await;
    let url = server.url();
    let much = "cas=version, ttl=key, batch=atomic, paging=once, consistency=linearizable";
    let config = [("url", url.as_str()), ("require", much)];
    lattice.link("counter", "default", &config).await;
    let config = [("url", url.as_str()), ("require", "order")];
    lattice.put("counter", "spare", &config).await;
    let reason = lattice.report_of(LinkState::Failed).await.reason.unwrap();
    assert!(reason.contains("`order`"), "{reason}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn batches_at_the_same_time_do_not_wait_for_each_other_for_ever() {
    let (server, mut lattice) = start().await;
    let url = server.url();
    let kv = lattice.link("counter", "default", &[("url", &url)]).await;
    let names: Vec<String> = (0..50).map(|n| format!("k{n}")).collect();
    let batches = (0..24).map(|n: usize| {
        let (kv, mut names) = (kv.clone(), names.clone());
        async move {
            // Each in an order of its own.
            names.rotate_left(n * 7 % 50);
            let entries: Vec<_> = names.iter().map(|k| (k.as_str(), "x".into())).collect();
            let keys: Vec<_> = names.iter().map(String::as_str).collect();
            match n % 3 {
                0 => kv.delete_many("default", &keys).await,
                _ => kv.set_many("default", &entries).await,
            }
        }
    });
    let done = futures::future::join_all(batches).await;
    assert!(done.iter().all(Result::is_ok), "{done:?}");
}

#[tokio::test]
async fn a_link_may_say_how_long_keys_stay() {
    let (server, mut lattice) = start().await;
    let url = server.url();
    let config = [("url", url.as_str()), ("ttl_seconds", "1")];
    let kv = lattice.link("counter", "default", &config).await;
    assert_eq!(kv.set("default", "a", "x").await, Ok(()));
    assert_eq!(kv.increment("default", "n", 1).await, Ok(1));
    let gone = async { while kv.exists("default", "n").await != Ok(false) {} };
    tokio::time::timeout(PATIENCE, gone).await.unwrap();
    assert_eq!(kv.get("default", "a").await, Ok(None));
    // It takes no room for long either.
    let client = client(&server).await;
    let swept = async {
        let text = "SELECT count(*) FROM lattice_keyvalue";
        while client.query_one(text, &[]).await.unwrap().get::<_, i64>(0) > 0 {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(PATIENCE, swept).await.unwrap();
}

#[tokio::test]
async fn a_key_may_be_meant_to_stay_for_longer_than_the_server_can_count() {
    let (server, mut lattice) = start().await;
    let url = server.url();
    let kv = lattice.link("counter", "default", &[("url", &url)]).await;
    let ttl = Duration::from_millis(u64::MAX);
    assert_eq!(kv.set_for("default", "a", "x", ttl).await, Ok(()));
    assert_eq!(kv.get("default", "a").await, Ok(Some("x".into())));
}
