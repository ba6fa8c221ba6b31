//! What links say, and what becomes of the data.

use keyvalue_memory::KeyValueMemory;
use lattice_core::link::LinkState;
use lattice_keyvalue_suite::{Component, Lattice, PATIENCE};
use lattice_provider_sdk::keyvalue::KeyValueError;

async fn start() -> Lattice {
    Lattice::start::<KeyValueMemory>(&[]).await
}

/// Sets a value that has to be refused, and returns why.
async fn refused(kv: &Component, key: &str, value: Vec<u8>) -> String {
    let Err(KeyValueError::Other(why)) = kv.set("default", key, value).await else {
        panic!("the value was taken");
    };
    why
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
async fn links_to_the_same_bucket_share_it() {
    let mut lattice = start().await;
    let cart = [("Bucket", "cart")];
    let one = lattice.link("one", "default", &cart).await;
    let two = lattice.link("two", "default", &cart).await;
    let other = lattice.link("three", "default", &[]).await;
    assert_eq!(one.increment("default", "n", 1).await, Ok(1));
    assert_eq!(two.increment("default", "n", 1).await, Ok(2));
    assert_eq!(other.get("default", "n").await, Ok(None));
    // It is there, so nobody has to be allowed to create it.
    assert_eq!(other.get("cart", "n").await, Ok(Some("2".into())));
}

#[tokio::test]
async fn a_bucket_outlives_its_last_link() {
    let mut lattice = start().await;
    let cart = [("bucket", "cart")];
    let kv = lattice.link("counter", "default", &cart).await;
    assert_eq!(kv.set("default", "a", "x").await, Ok(()));
    lattice.unlink().await;
    let gone = async { while kv.get("default", "a").await.is_ok() {} };
    tokio::time::timeout(PATIENCE, gone).await.unwrap();
    let kv = lattice.link("another", "default", &cart).await;
    assert_eq!(kv.get("default", "a").await, Ok(Some("x".into())));
}

#[tokio::test]
async fn settings_that_cannot_be_are_reported() {
    let mut lattice = start().await;
    for (key, value) in [("bucket", "a b"), ("max_bytes", "much")] {
        lattice.put("counter", "default", &[(key, value)]).await;
        let reason = lattice.report_of(LinkState::Failed).await.reason.unwrap();
        assert!(reason.contains(&format!("`{key}`")), "{reason}");
        assert!(reason.contains(&format!("`{value}`")), "{reason}");
    }
}

#[tokio::test]
async fn a_full_bucket_is_an_error_and_loses_nothing() {
    let mut lattice = start().await;
    let bounds = [("max_bytes", "10000"), ("max_value_bytes", "9000")];
    let kv = lattice.link("counter", "default", &bounds).await;
    assert_eq!(kv.set("default", "a", vec![1; 9000]).await, Ok(()));
    let why = refused(&kv, "b", vec![1; 2000]).await;
    assert!(why.contains("`keyvalue_default`"), "{why}");
    assert!(why.contains("`max_bytes`"), "{why}");
    let why = refused(&kv, "a", vec![1; 9001]).await;
    assert!(why.contains("`max_value_bytes`"), "{why}");
    let kept = kv.get("default", "a").await;
    assert_eq!(kept, Ok(Some(vec![1; 9000].into())));
    assert_eq!(kv.delete("default", "a").await, Ok(()));
    assert_eq!(kv.set("default", "b", vec![1; 2000]).await, Ok(()));
}

#[tokio::test]
async fn the_provider_bounds_all_buckets_and_may_change_its_mind() {
    let config = [("max_total_bytes", "5000")];
    let mut lattice = Lattice::start::<KeyValueMemory>(&config).await;
    let cart = [("bucket", "cart")];
    let one = lattice.link("one", "default", &[]).await;
    let two = lattice.link("two", "default", &cart).await;
    assert_eq!(one.set("default", "a", vec![1; 4000]).await, Ok(()));
    let why = refused(&two, "a", vec![1; 4000]).await;
    assert!(
        why.contains("`cart`") && why.contains("`max_total_bytes`"),
        "{why}"
    );
    lattice.put_config(&[("max_total_bytes", "10000")]).await;
    // The links are put again, with what they hold.
    let taken = async { while two.set("default", "a", vec![1; 4000]).await.is_err() {} };
    tokio::time::timeout(PATIENCE, taken).await.unwrap();
    let kept = one.get("default", "a").await;
    assert_eq!(kept, Ok(Some(vec![1; 4000].into())));
}

#[tokio::test]
async fn what_a_link_requires_is_looked_at() {
    let mut lattice = start().await;
    let much = "cas=version, ttl=key, paging=once, max-value-bytes>=1000000";
    lattice
        .link("counter", "default", &[("require", much)])
        .await;
    let require = [("require", "batch=atomic"), ("max_value_bytes", "100")];
    lattice.put("counter", "spare", &require).await;
    let reason = lattice.report_of(LinkState::Failed).await.reason.unwrap();
    let told = ["`batch=atomic`", "keyvalue-memory", "`max-value-bytes=100`"];
    assert!(told.iter().all(|part| reason.contains(part)), "{reason}");
}

#[tokio::test]
async fn a_link_may_say_how_long_keys_stay() {
    let mut lattice = start().await;
    let kv = lattice
        .link("counter", "default", &[("TTL_Seconds", "1")])
        .await;
    assert_eq!(kv.set("default", "a", "x").await, Ok(()));
    assert_eq!(kv.increment("default", "n", 1).await, Ok(1));
    let gone = async { while kv.exists("default", "a").await != Ok(false) {} };
    tokio::time::timeout(PATIENCE, gone).await.unwrap();
    let gone = async { while kv.exists("default", "n").await != Ok(false) {} };
    tokio::time::timeout(PATIENCE, gone).await.unwrap();
}
