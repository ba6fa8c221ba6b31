//! What links say, and what becomes of them when Redis is not as they say.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::time::Duration;

use lattice_core::link::LinkState;
use lattice_keyvalue_suite::{Component, PATIENCE, cases};
use lattice_provider_sdk::keyvalue::{KeyValueError, Outcome};
use support::{RedisBox, lattice};
use tokio::time::Instant;

/// Reads `a` until it is `x`.
async fn until_back(kv: &Component) {
    let back = async { while kv.get("default", "a").await != Ok(Some("x".into())) {} };
    tokio::time::timeout(PATIENCE, back).await.unwrap();
}

#[tokio::test]
async fn keys_of_the_default_bucket_are_shared_with_other_programs() {
    let redis = RedisBox::start().await;
    let mut lattice = lattice(&[]).await;
    let kv = lattice
        .link("counter", "spare", &[("url", &redis.url)])
        .await;
    let _: () = redis.ask(&["SET", "user:1", "here"]).await;
    for name in ["", "default", "spare"] {
        assert_eq!(
            kv.get(name, "user:1").await,
            Ok(Some("here".into())),
            "{name}"
        );
    }
    assert_eq!(kv.get("cart", "user:1").await, Ok(None));
    assert_eq!(kv.set("cart", "a", "x").await, Ok(()));
    let stored: String = redis.ask(&["GET", "lattice:kv:4:cart:a"]).await;
    assert_eq!(stored, "x");
}

#[tokio::test]
async fn a_link_may_have_all_buckets_mean_the_keys_of_the_database() {
    let redis = RedisBox::start().await;
    let mut lattice = lattice(&[]).await;
    let config = [("url", redis.url.as_str()), ("buckets", "shared")];
    let kv = lattice.link("counter", "default", &config).await;
    // As a component of 1.x left it.
    let _: () = redis.ask(&["SET", "n", "7"]).await;
    assert_eq!(kv.increment("cart", "n", 1).await, Ok(8));
    assert_eq!(kv.set("other", "a", "x").await, Ok(()));
    assert_eq!(kv.get("default", "a").await, Ok(Some("x".into())));
    let stored: String = redis.ask(&["GET", "a"]).await;
    assert_eq!(stored, "x");
    let config = [("url", redis.url.as_str()), ("buckets", "mine")];
    lattice.put("other", "default", &config).await;
    let reason = lattice.report_of(LinkState::Failed).await.reason.unwrap();
    assert!(reason.contains("`buckets` is `mine`"), "{reason}");
}

#[tokio::test]
async fn what_is_no_string_is_an_error() {
    let redis = RedisBox::start().await;
    let mut lattice = lattice(&[]).await;
    let kv = lattice
        .link("counter", "default", &[("url", &redis.url)])
        .await;
    let _: i64 = redis.ask(&["LPUSH", "list", "x"]).await;
    let Err(KeyValueError::Other(why)) = kv.get("default", "list").await else {
        panic!("a list is no value");
    };
    assert!(why.contains("WRONGTYPE"), "{why}");
}

#[tokio::test]
async fn a_link_waits_for_its_server() {
    let mut redis = RedisBox::reserve();
    let mut lattice = lattice(&[]).await;
    let kv = lattice
        .put("counter", "default", &[("URL", &redis.url)])
        .await;
    let reason = lattice.report_of(LinkState::Failed).await.reason.unwrap();
    assert!(reason.contains(&redis.port.to_string()), "{reason}");
    assert!(reason.contains("refused"), "{reason}");
    let Err(KeyValueError::Other(why)) = kv.get("default", "a").await else {
        panic!("nobody can have answered");
    };
    assert!(why.contains("no working link"), "{why}");
    redis.launch(&[]).await;
    lattice.report_of(LinkState::Ready).await;
    assert_eq!(kv.increment("default", "n", 1).await, Ok(1));
}

#[tokio::test]
async fn a_text_that_is_no_address_is_reported_without_showing_it() {
    let mut lattice = lattice(&[]).await;
    lattice
        .put("counter", "default", &[("url", "secret word")])
        .await;
    let reason = lattice.report_of(LinkState::Failed).await.reason.unwrap();
    assert!(reason.contains("`URL`"), "{reason}");
    assert!(!reason.contains("secret"), "{reason}");
}

#[tokio::test]
async fn a_refused_login_fails_the_link_until_it_is_let_in() {
    let mut redis = RedisBox::reserve();
    redis.launch(&["--requirepass", "sesame"]).await;
    let mut lattice = lattice(&[]).await;
    let port = redis.port;
    let wrong = format!("redis://:wrong@127.0.0.1:{port}");
    let kv = lattice.put("counter", "default", &[("url", &wrong)]).await;
    let reason = lattice.report_of(LinkState::Failed).await.reason.unwrap();
    assert!(reason.contains("authentication"), "{reason}");
    assert!(!reason.contains("wrong@"), "{reason}");
    redis.stop();
    redis.launch(&["--requirepass", "wrong"]).await;
    lattice.report_of(LinkState::Ready).await;
    assert_eq!(kv.increment("default", "n", 1).await, Ok(1));
    // Without a login the server answers no command.
    lattice
        .put("counter", "spare", &[("url", &redis.url)])
        .await;
    let reason = lattice.report_of(LinkState::Failed).await.reason.unwrap();
    assert!(reason.contains("NOAUTH"), "{reason}");
}

#[tokio::test]
async fn a_server_that_is_away_is_an_error_until_it_is_back() {
    let mut redis = RedisBox::start().await;
    let mut lattice = lattice(&[]).await;
    let kv = lattice
        .link("counter", "default", &[("url", &redis.url)])
        .await;
    assert_eq!(kv.set("default", "a", "x").await, Ok(()));
    redis.stop();
    for _ in 0..3 {
        let asked = Instant::now();
        let Err(KeyValueError::Other(why)) = kv.get("default", "a").await else {
            panic!("nobody can have answered");
        };
        assert!(why.contains(&redis.port.to_string()), "{why}");
        assert!(asked.elapsed() < Duration::from_secs(4), "{why}");
    }
    redis.launch(&[]).await;
    until_back(&kv).await;
    cases::count_at_once(&kv, "n", 64).await;
}

#[tokio::test]
async fn a_login_that_is_refused_for_a_while_is_tried_again() {
    let mut redis = RedisBox::reserve();
    redis.launch(&["--requirepass", "sesame"]).await;
    let mut lattice = lattice(&[]).await;
    let url = format!("redis://:sesame@127.0.0.1:{}", redis.port);
    let kv = lattice.link("counter", "default", &[("url", &url)]).await;
    assert_eq!(kv.set("default", "a", "x").await, Ok(()));
    redis.stop();
    redis.launch(&["--requirepass", "other"]).await;
    let denied =
        async { while kv.get("default", "a").await != Err(KeyValueError::AccessDenied) {} };
    tokio::time::timeout(PATIENCE, denied).await.unwrap();
    redis.stop();
    redis.launch(&["--requirepass", "sesame"]).await;
    until_back(&kv).await;
}

#[tokio::test]
async fn a_server_that_is_silent_is_an_error() {
    let redis = RedisBox::start().await;
    let mut lattice = lattice(&[]).await;
    let config = [
        ("url", redis.url.as_str()),
        ("BACKEND_RESPONSE_TIMEOUT_MS", "200"),
    ];
    let kv = lattice.link("counter", "default", &config).await;
    assert_eq!(kv.set("default", "a", "x").await, Ok(()));
    let _: () = redis.ask(&["CLIENT", "PAUSE", "1500", "ALL"]).await;
    let asked = Instant::now();
    assert!(matches!(
        kv.get("default", "a").await,
        Err(KeyValueError::Other(_))
    ));
    assert!(asked.elapsed() < Duration::from_millis(1400));
    until_back(&kv).await;
}

#[tokio::test]
async fn what_a_login_may_not_do_is_denied() {
    let redis = RedisBox::start().await;
    let rules = [
        "ACL", "SETUSER", "reader", "on", ">sesame", "~*", "+get", "+ping",
    ];
    let _: () = redis.ask(&rules).await;
    let mut lattice = lattice(&[]).await;
    let url = format!("redis://reader:sesame@127.0.0.1:{}", redis.port);
    let kv = lattice.link("counter", "default", &[("url", &url)]).await;
    assert_eq!(kv.get("default", "a").await, Ok(None));
    assert_eq!(
        kv.set("default", "a", "x").await,
        Err(KeyValueError::AccessDenied)
    );
    assert_eq!(
        kv.increment("default", "a", 1).await,
        Err(KeyValueError::AccessDenied)
    );
}

#[tokio::test]
async fn links_follow_the_providers_config() {
    let (one, two) = (RedisBox::start().await, RedisBox::start().await);
    let mut lattice = lattice(&[("url", &one.url)]).await;
    let kv = lattice.link("counter", "default", &[]).await;
    assert_eq!(kv.set("default", "a", "one").await, Ok(()));
    lattice.put_config(&[("URL", &two.url)]).await;
    lattice.report_of(LinkState::Ready).await;
    assert_eq!(kv.get("default", "a").await, Ok(None));
    assert_eq!(kv.set("default", "a", "two").await, Ok(()));
    let stored: String = one.ask(&["GET", "a"]).await;
    assert_eq!(stored, "one");
}

#[tokio::test]
async fn equal_links_share_a_connection() {
    let redis = RedisBox::start().await;
    let mut lattice = lattice(&[]).await;
    let url = [("url", redis.url.as_str())];
    for name in ["one", "two"] {
        let kv = lattice.link("counter", name, &url).await;
        assert!(kv.increment("default", "n", 1).await.is_ok());
    }
    // Clients that only said hello have gone or go; those that set values stay.
    let clients: String = redis.ask(&["CLIENT", "LIST"]).await;
    let counting = clients.lines().filter(|line| line.contains("cmd=evalsha"));
    assert_eq!(counting.count(), 1, "{clients}");
}

#[tokio::test]
async fn numbers_end_at_the_largest_signed_one() {
    let redis = RedisBox::start().await;
    let mut lattice = lattice(&[]).await;
    let kv = lattice
        .link("counter", "default", &[("url", &redis.url)])
        .await;
    let too_much = kv.increment("default", "n", u64::MAX).await;
    assert!(matches!(too_much, Err(KeyValueError::Other(_))));
    assert_eq!(kv.get("default", "n").await, Ok(None));
    assert_eq!(kv.set("default", "n", "-5").await, Ok(()));
    assert_eq!(kv.increment("default", "n", 6).await, Ok(1));
}

#[tokio::test]
async fn a_server_that_nobody_vouches_for_is_not_trusted() {
    let (_redis, url) = RedisBox::start_tls().await;
    let mut lattice = lattice(&[]).await;
    lattice.put("counter", "default", &[("url", &url)]).await;
    let reason = lattice.report_of(LinkState::Failed).await.reason.unwrap();
    assert!(reason.contains("certificate"), "{reason}");
}

#[tokio::test]
async fn what_a_link_requires_is_looked_at() {
    let redis = RedisBox::start().await;
    let mut lattice = lattice(&[("url", &redis.url)]).await;
    let much = "cas=value, ttl=key, batch=atomic, max-value-bytes>=1000000";
    lattice
        .link("counter", "default", &[("require", much)])
        .await;
    let require = [("require", "cas=version, paging=once")];
    lattice.put("counter", "spare", &require).await;
    let reason = lattice.report_of(LinkState::Failed).await.reason.unwrap();
    assert!(reason.contains("`cas=version`, `paging=once`"), "{reason}");
    assert!(reason.contains("`cas=value`"), "{reason}");
}

#[tokio::test]
async fn a_link_may_say_how_long_keys_stay() {
    let redis = RedisBox::start().await;
    let mut lattice = lattice(&[]).await;
    let config = [("url", redis.url.as_str()), ("ttl_seconds", "60")];
    let kv = lattice.link("counter", "default", &config).await;
    assert_eq!(kv.set("default", "set", "x").await, Ok(()));
    assert_eq!(kv.increment("default", "counted", 1).await, Ok(1));
    let entries = [("one", "1".into()), ("two", "2".into())];
    assert_eq!(kv.set_many("default", &entries).await, Ok(()));
    let absent = kv.read("default", "swapped").await.unwrap();
    let swapped = kv.swap("default", "swapped", &absent.version, "x").await;
    assert_eq!(swapped, Ok(Outcome::Swapped));
    for key in ["set", "counted", "one", "two", "swapped"] {
        let left: i64 = redis.ask(&["PTTL", key]).await;
        assert!((50_000..=60_000).contains(&left), "{key}: {left}");
    }
}

#[tokio::test]
async fn a_link_whose_server_goes_is_failed_until_it_is_back() {
    let mut redis = RedisBox::start().await;
    let mut lattice = lattice(&[]).await;
    lattice
        .link("counter", "default", &[("url", &redis.url)])
        .await;
    redis.stop();
    let reason = lattice.report_of(LinkState::Failed).await.reason.unwrap();
    assert!(reason.contains(&redis.port.to_string()), "{reason}");
    redis.launch(&[]).await;
    lattice.report_of(LinkState::Ready).await;
}

#[tokio::test]
async fn a_swap_sees_what_other_programs_write() {
    let redis = RedisBox::start().await;
    let mut lattice = lattice(&[]).await;
    let kv = lattice
        .link("counter", "default", &[("url", &redis.url)])
        .await;
    let _: () = redis.ask(&["SET", "a", "one"]).await;
    let read = kv.read("default", "a").await.unwrap();
    let _: () = redis.ask(&["SET", "a", "two"]).await;
    let swapped = kv.swap("default", "a", &read.version, "three").await;
    let Ok(Outcome::Stale(now)) = swapped else {
        panic!("{swapped:?}");
    };
    assert_eq!(now.value, Some("two".into()));
    // What was changed back is as it was: Redis keeps no versions.
    let _: () = redis.ask(&["SET", "a", "one"]).await;
    let swapped = kv.swap("default", "a", &read.version, "three").await;
    assert_eq!(swapped, Ok(Outcome::Swapped));
}

#[tokio::test]
async fn an_increment_that_fails_leaves_the_time_of_its_key() {
    let redis = RedisBox::start().await;
    let mut lattice = lattice(&[]).await;
    let config = [("url", &*redis.url), ("ttl_seconds", "100")];
    let kv = lattice.link("counter", "default", &config).await;
    for (value, sign) in [("seven", "no number"), ("-7", "below zero")] {
        let _: () = redis.ask(&["SET", "n", value]).await;
        let refused = kv.increment("default", "n", 1).await;
        assert!(matches!(refused, Err(KeyValueError::Other(_))), "{sign}");
        let left: i64 = redis.ask(&["PTTL", "n"]).await;
        assert_eq!(left, -1, "{sign}");
        let kept: String = redis.ask(&["GET", "n"]).await;
        assert_eq!(kept, value);
    }
    assert_eq!(kv.increment("default", "m", 1).await, Ok(1));
    let left: i64 = redis.ask(&["PTTL", "m"]).await;
    assert!((1..=100_000).contains(&left), "{left}");
}

#[tokio::test]
async fn a_server_that_has_forgotten_the_scripts_is_told_them_again() {
    let redis = RedisBox::start().await;
    let mut lattice = lattice(&[]).await;
    let kv = lattice
        .link("counter", "default", &[("url", &redis.url)])
        .await;
    for sum in [1, 2] {
        let _: () = redis.ask(&["SCRIPT", "FLUSH"]).await;
        assert_eq!(kv.increment("default", "n", 1).await, Ok(sum));
    }
    let _: () = redis.ask(&["SCRIPT", "FLUSH"]).await;
    let entry = Some(("n".to_owned(), "2".into()));
    assert_eq!(kv.get_many("default", &["n"]).await, Ok(vec![entry]));
}

#[tokio::test]
async fn numbers_that_others_would_round_are_exact() {
    let redis = RedisBox::start().await;
    let mut lattice = lattice(&[]).await;
    let kv = lattice
        .link("counter", "default", &[("url", &redis.url)])
        .await;
    let large = (1 << 53) + 1;
    assert_eq!(kv.increment("default", "n", large).await, Ok(large));
    assert_eq!(kv.increment("default", "n", 2).await, Ok(large + 2));
    let refused = kv.increment("default", "n", u64::MAX).await;
    assert!(matches!(refused, Err(KeyValueError::Other(_))));
}

#[tokio::test]
async fn many_keys_are_read_in_parts_and_come_in_their_order() {
    let redis = RedisBox::start().await;
    let mut lattice = lattice(&[]).await;
    let kv = lattice
        .link("counter", "default", &[("url", &redis.url)])
        .await;
    let keys: Vec<String> = (0..2500).map(|n| format!("key-{n}")).collect();
    let entries: Vec<_> = keys
        .iter()
        .map(|k| (k.as_str(), k.clone().into()))
        .collect();
    assert_eq!(kv.set_many("default", &entries).await, Ok(()));
    let _: i64 = redis.ask(&["DEL", "key-7", "key-1700"]).await;
    let _: i64 = redis.ask(&["LPUSH", "key-7", "no string"]).await;
    let asked: Vec<&str> = keys.iter().map(String::as_str).collect();
    let gone = ["key-7", "key-1700"];
    let expected = keys.iter().map(|key| {
        let is_there = !gone.contains(&&**key);
        is_there.then(|| (key.clone(), key.clone().into()))
    });
    assert_eq!(kv.get_many("default", &asked).await, Ok(expected.collect()));
}

/// The connections that values were set over.
async fn writers(redis: &RedisBox) -> Vec<String> {
    let clients: String = redis.ask(&["CLIENT", "LIST"]).await;
    let setting = clients.lines().filter(|line| line.contains("cmd=set "));
    let ids = setting.filter_map(|line| line.split(' ').next());
    ids.map(str::to_owned).collect()
}

#[tokio::test]
async fn a_server_that_takes_no_writes_any_more_is_connected_to_anew() {
    let redis = RedisBox::start().await;
    let mut lattice = lattice(&[]).await;
    let kv = lattice
        .link("counter", "default", &[("url", &redis.url)])
        .await;
    // A sign of life may come between, so that another command was the last one.
    let first = async {
        loop {
            assert_eq!(kv.set("default", "a", "x").await, Ok(()));
            let now = writers(&redis).await;
            if let [only] = &now[..] {
                return only.clone();
            }
        }
    };
    let first = tokio::time::timeout(PATIENCE, first).await.unwrap();
    // A replica of nobody.
    let _: () = redis.ask(&["REPLICAOF", "127.0.0.1", "1"]).await;
    let anew = async {
        loop {
            let refused = kv.set("default", "a", "y").await;
            assert!(matches!(refused, Err(KeyValueError::Other(_))));
            let now = writers(&redis).await;
            if !now.is_empty() && !now.contains(&first) {
                return;
            }
        }
    };
    tokio::time::timeout(PATIENCE, anew).await.unwrap();
    let _: () = redis.ask(&["REPLICAOF", "NO", "ONE"]).await;
    assert_eq!(kv.set("default", "a", "y").await, Ok(()));
}

#[tokio::test]
async fn a_key_may_be_meant_to_stay_for_longer_than_the_server_can_count() {
    let redis = RedisBox::start().await;
    let mut lattice = lattice(&[]).await;
    let kv = lattice
        .link("counter", "default", &[("url", &redis.url)])
        .await;
    let ttl = Duration::from_millis(u64::MAX);
    assert_eq!(kv.set_for("default", "a", "x", ttl).await, Ok(()));
    assert_eq!(kv.get("default", "a").await, Ok(Some("x".into())));
}
