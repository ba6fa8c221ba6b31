//! What links say, and what becomes of them when etcd is not as they say.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::HashSet;
use std::time::Duration;

use keyvalue_etcd::KeyValueEtcd;
use lattice_core::link::LinkState;
use lattice_etcd::{Etcd, EtcdOptions, Put, Range};
use lattice_keyvalue_suite::{Lattice, PATIENCE, cases, links};
use lattice_services::{Kind, Service};
use tokio::time::Instant;

async fn start() -> (Service, Lattice) {
    let server = Service::start(Kind::Etcd).await.unwrap();
    (server, Lattice::start::<KeyValueEtcd>(&[]).await)
}

/// Asks etcd past the provider.
fn client(server: &Service) -> Etcd {
    Etcd::new(EtcdOptions::at([server.url()])).unwrap()
}

#[tokio::test]
async fn keys_are_behind_the_prefix() {
    let (server, mut lattice) = start().await;
    let config = [("endpoints", &*server.url()), ("prefix", "app/")];
    let kv = lattice.link("counter", "spare", &config).await;
    assert_eq!(kv.set("spare", "user:1", "x").await, Ok(()));
    assert_eq!(kv.set("cart", "a", "y").await, Ok(()));
    let etcd = client(&server);
    let found = etcd.range(Range::prefix("")).await.unwrap().pairs;
    let found: Vec<_> = found
        .iter()
        .map(|pair| (&pair.key[..], &pair.value[..]))
        .collect();
    let expected: [(&[u8], &[u8]); 2] = [(b"app/4:cart/a", b"y"), (b"app/default/user:1", b"x")];
    assert_eq!(found, expected);
    etcd.put(Put::new("app/default/b", "z")).await.unwrap();
    assert_eq!(kv.get("default", "b").await, Ok(Some("z".into())));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_processes_count_together() {
    let (server, mut lattice) = start().await;
    let url = server.url();
    let kv = lattice.link("counter", "default", &[("url", &url)]).await;
    lattice.run_another::<KeyValueEtcd>().await;
    cases::count_at_once(&kv, "n", 64).await;
    assert_eq!(kv.get("default", "n").await, Ok(Some("64".into())));
}

#[tokio::test]
async fn batches_are_cut_to_what_etcd_takes() {
    let (server, mut lattice) = start().await;
    let url = server.url();
    let kv = lattice.link("counter", "default", &[("url", &url)]).await;
    let names: Vec<String> = (0..300).map(|n| format!("k{n}")).collect();
    let large = vec![7; 20_000];
    let entries: Vec<_> = names
        .iter()
        .map(|k| (k.as_str(), large.clone().into()))
        .collect();
    assert_eq!(kv.set_many("default", &entries).await, Ok(()));
    let keys: Vec<_> = names.iter().map(String::as_str).collect();
    let got = kv.get_many("default", &keys).await.unwrap();
    assert!(got.iter().flatten().all(|(_, value)| *value == large));
    assert_eq!(got.iter().flatten().count(), 300);
    assert_eq!(kv.delete_many("default", &keys).await, Ok(()));
    assert!(kv.list_keys("default", None).await.unwrap().keys.is_empty());
}

#[tokio::test]
async fn settings_that_cannot_be_are_reported() {
    let (_server, mut lattice) = start().await;
    for (config, named) in [
        (("url", "ftp://x"), "`url`"),
        (("url", "http://127.0.0.1:1"), "127.0.0.1:1"),
        (("max_value_bytes", "0"), "`max_value_bytes`"),
    ] {
        lattice.put("counter", "default", &[config]).await;
        let reason = lattice.report_of(LinkState::Failed).await.reason.unwrap();
        assert!(reason.contains(named), "{reason}");
        lattice.unlink().await;
    }
}

#[tokio::test]
async fn a_refused_login_fails_the_link_and_a_good_one_is_ready() {
    let (server, mut lattice) = start().await;
    lattice_services::etcd::require_login(&server, "sesame")
        .await
        .unwrap();
    let url = server.url();
    let login = |password| {
        [
            ("url", url.as_str()),
            ("user", "root"),
            ("password", password),
        ]
    };
    lattice.put("counter", "default", &login("wr0ng")).await;
    let reason = lattice.report_of(LinkState::Failed).await.reason.unwrap();
    assert!(reason.contains("invalid user ID or password"), "{reason}");
    assert!(!reason.contains("wr0ng"), "{reason}");
    // Without a login etcd answers nobody.
    lattice.put("counter", "spare", &[("url", &url)]).await;
    let reason = lattice.report_of(LinkState::Failed).await.reason.unwrap();
    assert!(reason.contains("user name is empty"), "{reason}");
    let kv = lattice.link("counter", "right", &login("sesame")).await;
    assert_eq!(kv.increment("default", "n", 1).await, Ok(1));
}

#[tokio::test]
async fn a_server_that_is_away_is_an_error_until_it_is_back() {
    let (mut server, mut lattice) = start().await;
    links::a_server_that_is_away_is_an_error_until_it_is_back(&mut server, &mut lattice).await;
}

#[tokio::test]
async fn a_server_that_is_silent_is_an_error() {
    let (server, mut lattice) = start().await;
    let url = server.url();
    let config = [("url", url.as_str()), ("answer_timeout_ms", "300")];
    let kv = lattice.link("counter", "default", &config).await;
    assert_eq!(kv.set("default", "a", "x").await, Ok(()));
    server.freeze().unwrap();
    links::fails_soon(&kv).await;
    server.thaw().unwrap();
    links::until_back(&kv).await;
}

#[tokio::test]
async fn what_a_link_requires_is_looked_at() {
    let (server, mut lattice) = start().await;
    let url = server.url();
    let much = "cas=version, ttl=key, watch=resumed, paging=once, max-value-bytes>=1000000";
    let config = [("url", url.as_str()), ("require", much)];
    lattice.link("counter", "default", &config).await;
    let config = [("url", url.as_str()), ("require", "batch=atomic")];
    lattice.put("counter", "spare", &config).await;
    let reason = lattice.report_of(LinkState::Failed).await.reason.unwrap();
    assert!(reason.contains("`batch=atomic`"), "{reason}");
}

#[tokio::test]
async fn a_link_may_say_how_long_keys_stay() {
    let (server, mut lattice) = start().await;
    let url = server.url();
    let config = [("url", url.as_str()), ("ttl_seconds", "2")];
    let kv = lattice.link("counter", "default", &config).await;
    assert_eq!(kv.set("default", "a", "x").await, Ok(()));
    assert_eq!(kv.increment("default", "n", 1).await, Ok(1));
    assert_eq!(kv.set_many("default", &[("b", "y".into())]).await, Ok(()));
    for key in ["a", "n", "b"] {
        let gone = async { while kv.exists("default", key).await != Ok(false) {} };
        tokio::time::timeout(PATIENCE, gone).await.unwrap();
    }
}

#[tokio::test]
async fn keys_that_are_written_together_share_a_lease() {
    let (server, mut lattice) = start().await;
    let url = server.url();
    let config = [("url", url.as_str()), ("ttl_seconds", "600")];
    let kv = lattice.link("counter", "default", &config).await;
    let begun = Instant::now();
    for n in 0..30 {
        let key = format!("k{n}");
        assert_eq!(kv.set("default", &key, "x").await, Ok(()));
        assert_eq!(kv.increment("default", &format!("n{n}"), 1).await, Ok(1));
        let many = format!("m{n}");
        let entries = [(many.as_str(), "y".into())];
        assert_eq!(kv.set_many("default", &entries).await, Ok(()));
    }
    let most = usize::try_from(begun.elapsed().as_secs()).unwrap() + 2;
    let etcd = client(&server);
    let found = etcd.range(Range::prefix("lattice/")).await.unwrap().pairs;
    assert_eq!(found.len(), 90);
    let leases: HashSet<i64> = found.iter().map(|pair| pair.lease).collect();
    assert!(!leases.contains(&0) && leases.len() <= most, "{leases:?}");
    for lease in leases {
        let left = etcd.time_to_live(lease).await.unwrap().unwrap();
        assert_eq!(left.granted, Duration::from_secs(601));
    }
}

#[tokio::test]
async fn a_lease_that_somebody_ended_is_not_used_again() {
    let (server, mut lattice) = start().await;
    let url = server.url();
    let config = [("url", url.as_str()), ("ttl_seconds", "600")];
    let kv = lattice.link("counter", "default", &config).await;
    let etcd = client(&server);
    for n in 0..4 {
        let key = format!("k{n}");
        assert_eq!(kv.set("default", &key, "x").await, Ok(()));
        let stored = Range::key(format!("lattice/keyvalue/default/{key}"));
        let pair = etcd.range(stored).await.unwrap().first().unwrap();
        assert!(etcd.revoke(pair.lease).await.unwrap());
    }
    assert_eq!(kv.increment("default", "n", 1).await, Ok(1));
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
