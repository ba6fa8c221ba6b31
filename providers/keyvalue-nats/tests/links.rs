//! What links say, and what becomes of them when NATS is not as they say.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::time::Duration;

use async_nats::jetstream;
use futures::StreamExt as _;
use keyvalue_nats::KeyValueNats;
use lattice_core::link::LinkState;
use lattice_keyvalue_suite::{Lattice, PATIENCE, cases};
use lattice_nats::NewBucket;
use lattice_nats_box::{NatsBox, NatsBoxOptions};
use lattice_provider_sdk::keyvalue::{KeyValueError, Outcome};
use tokio::time::Instant;

async fn start() -> Lattice {
    Lattice::start::<KeyValueNats>(&[]).await
}

async fn jetstream(nats: &NatsBox) -> jetstream::Context {
    jetstream::new(nats.client().await.unwrap())
}

async fn create(context: &jetstream::Context, bucket: &str) -> jetstream::kv::Store {
    let new = NewBucket {
        name: bucket.into(),
        ..NewBucket::default()
    };
    lattice_nats::create_bucket(context, new).await.unwrap()
}

#[tokio::test]
async fn a_link_without_config_works() {
    let mut lattice = start().await;
    let kv = lattice.link("counter", "spare", &[]).await;
    assert_eq!(kv.set("default", "a", "x").await, Ok(()));
    for name in ["", "default", "spare", "keyvalue_default"] {
        assert_eq!(kv.get(name, "a").await, Ok(Some("x".into())), "{name}");
    }
    let none = Err(KeyValueError::NoSuchStore);
    for name in ["other", "no bucket", "a.b", "ä"] {
        assert_eq!(kv.get(name, "a").await, none, "{name}");
    }
}

#[tokio::test]
async fn data_of_other_programs_is_shared() {
    let mut lattice = start().await;
    let context = jetstream(&lattice.nats).await;
    let (own, other) = (
        create(&context, "own").await,
        create(&context, "other").await,
    );
    own.put("user.1", "here".into()).await.unwrap();
    other.put("user=2", "there".into()).await.unwrap();
    let kv = lattice
        .link("counter", "default", &[("Bucket", "own")])
        .await;
    assert_eq!(kv.get("default", "user.1").await, Ok(Some("here".into())));
    assert_eq!(kv.get("other", "user=2").await, Ok(Some("there".into())));
    assert_eq!(kv.set("default", "n:1", "7").await, Ok(()));
    assert_eq!(own.get("n=x3A1").await.unwrap().unwrap(), "7");
}

#[tokio::test]
async fn the_name_of_another_link_is_what_that_link_configures() {
    let mut lattice = start().await;
    let mut other = NatsBox::start().await.unwrap();
    let url = other.url.clone();
    let create = ("enable_bucket_auto_create", "true");
    let here = [("bucket", "here"), create];
    let kv = lattice.link("counter", "default", &here).await;
    let there = [("bucket", "there"), ("cluster_uri", &*url), create];
    let theirs = lattice.link("counter", "cache", &there).await;
    assert_eq!(kv.set("cache", "a", "x").await, Ok(()));
    assert_eq!(kv.increment("cache", "n", 2).await, Ok(2));
    assert_eq!(theirs.get("default", "a").await, Ok(Some("x".into())));
    assert_eq!(kv.get("default", "a").await, Ok(None));
    // The links of others are not meant, and a bucket that none names is not made.
    let stranger = lattice.link("stranger", "default", &here).await;
    let none = Err(KeyValueError::NoSuchStore);
    assert_eq!(stranger.get("cache", "a").await, none);
    assert_eq!(kv.get("elsewhere", "a").await, none);
    other.stop();
}

#[tokio::test]
async fn a_link_with_rules_is_not_got_round_through_another() {
    let mut lattice = start().await;
    let create = ("enable_bucket_auto_create", "true");
    let others = ("create_other_buckets", "true");
    let config = [("bucket", "shop-orders"), create];
    let orders = lattice.link_with_rules("cart", "orders", &config).await;
    assert_eq!(orders.set("default", "a", "x").await, Ok(()));
    let kv = lattice.link("cart", "default", &[create, others]).await;
    let denied = || KeyValueError::AccessDenied;
    // By its name, and by that of its bucket.
    for bucket in ["orders", "shop-orders"] {
        assert_eq!(kv.get(bucket, "a").await, Err(denied()));
        assert_eq!(kv.set(bucket, "a", "y").await, Err(denied()));
        assert_eq!(kv.increment(bucket, "n", 1).await, Err(denied()));
        assert_eq!(kv.read(bucket, "a").await.unwrap_err(), denied());
        let swapped = kv.swap(bucket, "a", "1", "y").await;
        assert_eq!(swapped.unwrap_err(), denied());
    }
    assert_eq!(kv.set("elsewhere", "a", "y").await, Ok(()));
    let stranger = lattice.link("stranger", "default", &[create]).await;
    let theirs = stranger.get("shop-orders", "a").await;
    assert_eq!(theirs, Ok(Some("x".into())));
    assert_eq!(orders.get("orders", "a").await, Ok(Some("x".into())));
}

#[tokio::test]
async fn what_is_deleted_leaves_no_past() {
    let mut lattice = start().await;
    let context = jetstream(&lattice.nats).await;
    let new = jetstream::kv::Config {
        bucket: "own".into(),
        history: 5,
        ..Default::default()
    };
    let own = context.create_key_value(new).await.unwrap();
    let kv = lattice
        .link("counter", "default", &[("bucket", "own")])
        .await;
    for value in ["1", "2"] {
        assert_eq!(kv.set("default", "a", value).await, Ok(()));
    }
    assert_eq!(kv.delete("default", "a").await, Ok(()));
    assert_eq!(kv.get("default", "a").await, Ok(None));
    assert_eq!(own.history("a").await.unwrap().count().await, 1);
}

#[tokio::test]
async fn buckets_of_the_lattice_are_out_of_reach() {
    let mut lattice = start().await;
    let context = jetstream(&lattice.nats).await;
    create(&context, "LATTICEDATA_default").await;
    let create = [("enable_bucket_auto_create", "true")];
    let kv = lattice.link("counter", "default", &create).await;
    for name in [
        "LATTICEDATA_default",
        "CONFIGDATA_default",
        "LATTICESTATUS_x",
        "lock_default",
        "schedule_default",
        // Of other lattices on the same NATS.
        "keyvalue_east",
        "lock_east",
        "schedule_east",
    ] {
        let denied = Err(KeyValueError::AccessDenied);
        assert_eq!(kv.get(name, "a").await, denied, "{name}");
        assert_eq!(
            kv.increment(name, "a", 1).await,
            Err(KeyValueError::AccessDenied)
        );
    }
    assert_eq!(kv.get("keyvalue_default", "a").await, Ok(None));
    let named = [("bucket", "keyvalue_east"), create[0]];
    let kv = lattice.link("counter", "east", &named).await;
    assert_eq!(kv.set("keyvalue_east", "a", "x").await, Ok(()));
}

#[tokio::test]
async fn a_link_waits_for_its_bucket() {
    let mut lattice = start().await;
    let kv = lattice
        .put("counter", "default", &[("bucket", "late")])
        .await;
    let reason = lattice.report_of(LinkState::Failed).await.reason.unwrap();
    assert!(reason.contains("`late`"), "{reason}");
    assert!(reason.contains("enable_bucket_auto_create"), "{reason}");
    create(&jetstream(&lattice.nats).await, "late").await;
    lattice.report_of(LinkState::Ready).await;
    assert_eq!(kv.increment("default", "n", 1).await, Ok(1));
}

#[tokio::test]
async fn settings_that_cannot_be_are_reported() {
    let mut lattice = start().await;
    lattice
        .put("counter", "default", &[("bucket", "a b")])
        .await;
    let reason = lattice.report_of(LinkState::Failed).await.reason.unwrap();
    assert!(reason.contains("`bucket`"), "{reason}");
}

#[tokio::test]
async fn a_refused_login_fails_the_link_and_a_good_one_is_ready() {
    let mut lattice = start().await;
    let private = NatsBoxOptions::private("shop", "sesame");
    let private = NatsBox::start_with(private).await.unwrap();
    let url = |login: &str| private.url.replace("//", &format!("//{login}@"));
    let wrong = url("shop:wr0ng");
    lattice
        .put("counter", "wrong", &[("cluster_uri", &wrong)])
        .await;
    let reason = lattice.report_of(LinkState::Failed).await.reason.unwrap();
    assert!(reason.contains("authorization violation"), "{reason}");
    assert!(!reason.contains("wr0ng"), "{reason}");
    let right = url("shop:sesame");
    let kv = lattice
        .link("counter", "right", &[("cluster_uri", &right)])
        .await;
    assert_eq!(kv.increment("default", "n", 1).await, Ok(1));
}

#[tokio::test]
async fn a_deleted_bucket_is_noticed() {
    let mut lattice = start().await;
    let context = jetstream(&lattice.nats).await;
    create(&context, "gone").await;
    let kv = lattice.link("counter", "default", &[]).await;
    for bucket in ["gone", "keyvalue_default"] {
        assert_eq!(kv.set(bucket, "a", "x").await, Ok(()));
        context.delete_key_value(bucket).await.unwrap();
        // The first call finds out.
        assert!(kv.get(bucket, "a").await.is_err());
    }
    let none = Err(KeyValueError::NoSuchStore);
    assert_eq!(kv.get("gone", "a").await, none);
    assert_eq!(kv.get("default", "a").await, Ok(None));
}

#[tokio::test]
async fn a_value_that_nats_cannot_take_is_an_error() {
    let mut lattice = start().await;
    let kv = lattice.link("counter", "default", &[]).await;
    let Err(KeyValueError::Other(why)) = kv.set("default", "a", vec![0; 2 << 20]).await else {
        panic!("the value was taken");
    };
    assert!(why.contains("`a`") && why.contains("payload"), "{why}");
    assert_eq!(kv.get("default", "a").await, Ok(None));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_processes_count_together() {
    let mut lattice = start().await;
    let kv = lattice.link("counter", "default", &[]).await;
    lattice.run_another::<KeyValueNats>().await;
    lattice.run_another::<KeyValueNats>().await;
    cases::count_at_once(&kv, "n", 64).await;
    assert_eq!(kv.get("default", "n").await, Ok(Some("64".into())));
}

#[tokio::test]
async fn a_link_waits_for_its_cluster() {
    let mut lattice = start().await;
    let mut other = NatsBox::start().await.unwrap();
    other.stop();
    let url = other.url.clone();
    let kv = lattice
        .put("counter", "default", &[("CLUSTER_URI", &url)])
        .await;
    let reason = lattice.report_of(LinkState::Failed).await.reason.unwrap();
    assert!(reason.contains(&url), "{reason}");
    other.restart().await.unwrap();
    lattice.report_of(LinkState::Ready).await;
    assert_eq!(kv.set("default", "a", "x").await, Ok(()));
    let own = jetstream(&lattice.nats).await;
    assert!(own.get_key_value("keyvalue_default").await.is_err());
}

#[tokio::test]
async fn a_cluster_that_is_away_is_an_error_until_it_is_back() {
    let mut lattice = start().await;
    let mut other = NatsBox::start().await.unwrap();
    let url = other.url.clone();
    let kv = lattice
        .link("counter", "default", &[("cluster_uri", &url)])
        .await;
    assert_eq!(kv.increment("default", "n", 1).await, Ok(1));
    other.stop();
    let asked = Instant::now();
    let Err(KeyValueError::Other(why)) = kv.get("default", "n").await else {
        panic!("nobody can have answered");
    };
    assert!(asked.elapsed() < Duration::from_secs(5), "{why}");
    other.restart().await.unwrap();
    let back = async { while kv.get("default", "n").await != Ok(Some("1".into())) {} };
    tokio::time::timeout(PATIENCE, back).await.unwrap();
    assert_eq!(kv.increment("default", "n", 1).await, Ok(2));
}

#[tokio::test]
async fn the_lattices_own_nats_may_restart() {
    let mut lattice = start().await;
    let kv = lattice.link("counter", "default", &[]).await;
    assert_eq!(kv.set("default", "a", "x").await, Ok(()));
    lattice.nats.restart().await.unwrap();
    lattice.until_healthy().await;
    let back = async { while kv.get("default", "a").await != Ok(Some("x".into())) {} };
    tokio::time::timeout(PATIENCE, back).await.unwrap();
}

#[tokio::test]
async fn domains_are_addressed() {
    let mut lattice = start().await;
    let options = NatsBoxOptions {
        js_domain: Some("edge".into()),
        ..NatsBoxOptions::default()
    };
    let other = NatsBox::start_with(options).await.unwrap();
    let config = [("cluster_uri", other.url.as_str()), ("js_domain", "edge")];
    let kv = lattice.link("counter", "default", &config).await;
    assert_eq!(kv.increment("default", "n", 2).await, Ok(2));
    assert_eq!(kv.list_keys("default", None).await.unwrap().keys, ["n"]);
    let nowhere = [("cluster_uri", other.url.as_str()), ("js_domain", "core")];
    lattice.put("counter", "spare", &nowhere).await;
    lattice.report_of(LinkState::Failed).await;
}

#[tokio::test]
async fn equal_links_share_a_connection() {
    let mut lattice = start().await;
    let other = NatsBox::start().await.unwrap();
    let uri = [("cluster_uri", other.url.as_str())];
    let one = lattice.link("counter", "one", &uri).await;
    let before = other.client().await.unwrap();
    let two = lattice.link("counter", "two", &uri).await;
    assert_eq!(one.increment("default", "n", 1).await, Ok(1));
    assert_eq!(two.increment("default", "n", 1).await, Ok(2));
    let after = other.client().await.unwrap();
    // The server numbers its clients.
    let number = |client: async_nats::Client| client.server_info().client_id;
    assert_eq!(number(after), number(before) + 1);
}

#[tokio::test]
async fn a_server_is_trusted_by_the_links_own_certificate() {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../http-server/tests/data");
    let (certificate, key) = (data.join("localhost.pem"), data.join("localhost.key"));
    let options = NatsBoxOptions {
        extra_config: format!("tls {{ cert_file: {certificate:?}, key_file: {key:?} }}\n"),
        ..NatsBoxOptions::default()
    };
    let other = NatsBox::start_with(options).await.unwrap();
    let uri = format!("tls://localhost:{}", other.port);
    let mut lattice = start().await;
    lattice
        .put("counter", "spare", &[("cluster_uri", &uri)])
        .await;
    lattice.report_of(LinkState::Failed).await;
    let pem = std::fs::read_to_string(&certificate).unwrap();
    let config = [("cluster_uri", uri.as_str()), ("tls_ca", pem.as_str())];
    let kv = lattice.link("counter", "default", &config).await;
    assert_eq!(kv.increment("default", "n", 1).await, Ok(1));
}

#[tokio::test]
async fn what_a_link_requires_is_looked_at() {
    let mut lattice = start().await;
    let much = "cas=version, increment, max-value-bytes>=1000000, consistency=linearizable";
    lattice
        .link("counter", "default", &[("require", much)])
        .await;
    let key = [("require", "ttl=key, batch=atomic")];
    lattice.put("counter", "spare", &key).await;
    let reason = lattice.report_of(LinkState::Failed).await.reason.unwrap();
    assert!(reason.contains("`ttl=key`, `batch=atomic`"), "{reason}");
}

#[tokio::test]
async fn keys_of_a_bucket_go_after_the_time_of_its_link() {
    let mut lattice = start().await;
    let config = [
        ("bucket", "short"),
        ("enable_bucket_auto_create", "true"),
        ("ttl_seconds", "1"),
    ];
    let kv = lattice.link("counter", "default", &config).await;
    assert_eq!(kv.set("default", "a", "x").await, Ok(()));
    assert_eq!(kv.get("default", "a").await, Ok(Some("x".into())));
    let gone = async { while kv.get("default", "a").await != Ok(None) {} };
    tokio::time::timeout(PATIENCE, gone).await.unwrap();
    let other = [("bucket", "short"), ("ttl_seconds", "60")];
    lattice.put("counter", "spare", &other).await;
    let reason = lattice.report_of(LinkState::Failed).await.reason.unwrap();
    assert!(
        reason.contains("`short`") && reason.contains("1s"),
        "{reason}"
    );
}

#[tokio::test]
async fn a_link_turns_ready_when_its_bucket_is_made_anew() {
    let mut lattice = start().await;
    let context = jetstream(&lattice.nats).await;
    let new = |seconds| NewBucket {
        name: "own".into(),
        max_age: Duration::from_secs(seconds),
        ..NewBucket::default()
    };
    lattice_nats::create_bucket(&context, new(9)).await.unwrap();
    let config = [("bucket", "own"), ("ttl_seconds", "60")];
    lattice.put("counter", "default", &config).await;
    let reason = lattice.report_of(LinkState::Failed).await.reason.unwrap();
    assert!(reason.contains("9s"), "{reason}");
    // Nobody puts the link again.
    context.delete_stream("KV_own").await.unwrap();
    lattice_nats::create_bucket(&context, new(60))
        .await
        .unwrap();
    lattice.report_of(LinkState::Ready).await;
}

#[tokio::test]
async fn a_link_whose_nats_goes_is_failed_until_it_is_back() {
    let mut lattice = start().await;
    let mut other = NatsBox::start().await.unwrap();
    let url = other.url.clone();
    lattice
        .link("counter", "default", &[("cluster_uri", &url)])
        .await;
    other.stop();
    let reason = lattice.report_of(LinkState::Failed).await.reason.unwrap();
    assert!(reason.contains("no connection"), "{reason}");
    other.restart().await.unwrap();
    lattice.report_of(LinkState::Ready).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_swap_of_what_others_wrote_is_stale() {
    let mut lattice = start().await;
    let context = jetstream(&lattice.nats).await;
    let own = create(&context, "own").await;
    let kv = lattice
        .link("counter", "default", &[("bucket", "own")])
        .await;
    own.put("a", "x".into()).await.unwrap();
    let read = kv.read("default", "a").await.unwrap();
    // The same value again is another write.
    own.put("a", "x".into()).await.unwrap();
    let swapped = kv.swap("default", "a", &read.version, "y").await;
    assert!(matches!(swapped, Ok(Outcome::Stale(_))), "{swapped:?}");
    own.purge("a").await.unwrap();
    let read = kv.read("default", "a").await.unwrap();
    assert_eq!(read.value, None);
    let swapped = kv.swap("default", "a", &read.version, "y").await;
    assert_eq!(swapped, Ok(Outcome::Swapped));
}

#[tokio::test]
async fn buckets_that_nats_has_lost_are_made_again() {
    let mut lattice = start().await;
    let mut other = NatsBox::start().await.unwrap();
    let url = other.url.clone();
    let config = [
        ("cluster_uri", url.as_str()),
        ("bucket", "cart"),
        ("enable_bucket_auto_create", "true"),
        ("create_other_buckets", "true"),
    ];
    let kv = lattice.link("counter", "default", &config).await;
    for bucket in ["default", "more"] {
        assert_eq!(kv.increment(bucket, "n", 7).await, Ok(7));
    }
    let named = [("cluster_uri", url.as_str()), ("bucket", "cart")];
    lattice.link("other", "default", &named).await;
    other.restart_wiped().await.unwrap();
    let back = async {
        for bucket in ["default", "more"] {
            while kv.increment(bucket, "n", 1).await.is_err() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    };
    tokio::time::timeout(PATIENCE, back).await.unwrap();
    for bucket in ["default", "more"] {
        assert_eq!(kv.increment(bucket, "n", 1).await, Ok(2), "{bucket}");
    }
}
