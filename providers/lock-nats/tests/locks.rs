//! Locks in a real NATS, through copies of the provider that are processes of their own.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use async_nats::jetstream::kv::Operation;
use futures::StreamExt as _;
use lattice_core::link::LinkState;
use lattice_nats_box::{NatsBox, NatsBoxOptions};
use support::{Component, Error, Lattice, Lease, PATIENCE, cases};

const PROGRAM: &str = env!("CARGO_BIN_EXE_lock-nats-provider");

macro_rules! cases {
    ($($name:ident)+) => {
        $(#[tokio::test(flavor = "multi_thread")]
        async fn $name() {
            let mut lattice = Lattice::start(PROGRAM).await;
            cases::$name(&mut lattice, &[]).await;
        })+
    };
}

cases! {
    two_components_race
    many_wait
    a_paused_holder_is_fenced_out
    a_kept_lease_lasts
    tokens_are_bound
    waits_end
    limits_hold
    leaders_follow_each_other
    offices_are_given_up
    a_deaf_leader_keeps_its_time
    an_office_that_nobody_heard_of_is_free
}

#[tokio::test]
async fn links_that_cannot_be_served_are_refused_by_name() {
    let mut lattice = Lattice::start(PROGRAM).await;
    for (config, says) in [
        (("bucket", "a.b"), "bucket"),
        (("ttl_ms", "1"), "ttl_ms"),
        (("require", "fair"), "fair"),
        (("cluster_uri", "nats://127.0.0.1:1"), "127.0.0.1:1"),
    ] {
        lattice.put("cart", says, &[config]).await;
        let reason = lattice.report_of(LinkState::Failed).await.reason.unwrap();
        assert!(reason.contains(says), "{reason}");
        lattice.unlink().await;
    }
    lattice.put_leader("cart", &[]).await;
    let reason = lattice.report_of(LinkState::Failed).await.reason.unwrap();
    assert!(reason.contains("election"), "{reason}");
    lattice.unlink().await;
    for (required, lacking) in [
        ("fencing, order=none, cas=token, ttl-max-ms>=1000", None),
        ("fencing, fair", Some("requires `fair`")),
    ] {
        let config = [("election", "chief"), ("require", required)];
        lattice.put_leader("cart", &config).await;
        let state = lacking.map_or(LinkState::Ready, |_| LinkState::Failed);
        let reason = lattice.report_of(state).await.reason.unwrap_or_default();
        assert!(reason.contains(lacking.unwrap_or_default()), "{reason}");
        lattice.unlink().await;
    }
    let private = NatsBoxOptions::private("shop", "sesame");
    let private = NatsBox::start_with(private).await.unwrap();
    let url = |login: &str| private.url.replace("//", &format!("//{login}@"));
    for wrong in [private.url.clone(), url("shop:wr0ng")] {
        lattice
            .put("cart", "private", &[("cluster_uri", &wrong)])
            .await;
        let reason = lattice.report_of(LinkState::Failed).await.reason.unwrap();
        assert!(reason.contains("authorization violation"), "{reason}");
        assert!(!reason.contains("wr0ng"), "{reason}");
        lattice.unlink().await;
    }
    let right = url("shop:sesame");
    let component = lattice
        .link("cart", "private", &[("cluster_uri", &right)])
        .await;
    component.acquire("a", 60_000, 0).await.unwrap();
}

/// Makes a bucket that forgets after a minute.
async fn short_bucket(lattice: &Lattice) -> async_nats::jetstream::Context {
    let js = async_nats::jetstream::new(lattice.nats.client().await.expect("NATS runs"));
    let new = lattice_nats::NewBucket {
        name: "short".to_owned(),
        max_age: std::time::Duration::from_secs(60),
        ..Default::default()
    };
    lattice_nats::create_bucket(&js, new)
        .await
        .expect("there is none of that name");
    js
}

#[tokio::test]
async fn a_bucket_that_forgets_too_soon_is_refused() {
    let mut lattice = Lattice::start(PROGRAM).await;
    let js = short_bucket(&lattice).await;
    lattice.put("cart", "default", &[("bucket", "short")]).await;
    let reason = lattice.report_of(LinkState::Failed).await.reason.unwrap();
    assert!(
        reason.contains("`short`") && reason.contains("ttl_max_ms"),
        "{reason}"
    );
    // Somebody mends the bucket; nobody puts the link again.
    let short = js.get_stream("KV_short").await.unwrap();
    let mended = async_nats::jetstream::stream::Config {
        max_age: std::time::Duration::ZERO,
        ..short.cached_info().config.clone()
    };
    js.update_stream(mended).await.unwrap();
    lattice.report_of(LinkState::Ready).await;
}

#[tokio::test]
async fn a_bucket_that_forgets_late_enough_is_taken() {
    let mut lattice = Lattice::start(PROGRAM).await;
    short_bucket(&lattice).await;
    let config = [("bucket", "short"), ("ttl_max_ms", "30000")];
    lattice.link("cart", "other", &config).await;
}

#[tokio::test]
async fn without_nats_calls_fail_at_once_and_locks_are_there_afterwards() {
    let mut lattice = Lattice::start(PROGRAM).await;
    // The locks are in another NATS than the lattice.
    let mut nats = lattice_nats_box::NatsBox::start().await.unwrap();
    let url = nats.url.clone();
    let component = lattice
        .link("cart", "default", &[("cluster_uri", &url)])
        .await;
    let lease = component.acquire("a", 60_000, 0).await.unwrap();
    nats.stop();
    let begun = tokio::time::Instant::now();
    let error = loop {
        match component.acquire("a", 60_000, 0).await {
            Err(Error::Held(_)) => {}
            other => break other.unwrap_err(),
        }
    };
    assert!(matches!(error, Error::Unavailable(_)), "{error:?}");
    assert!(begun.elapsed() < std::time::Duration::from_secs(5));
    lattice.report_of(LinkState::Failed).await;
    nats.restart().await.unwrap();
    lattice.report_of(LinkState::Ready).await;
    let renewed = async {
        loop {
            match component.renew(&lease, 60_000).await {
                Err(Error::Unavailable(_)) => tokio::task::yield_now().await,
                other => return other,
            }
        }
    };
    let renewed = tokio::time::timeout(PATIENCE, renewed).await.unwrap();
    assert_eq!(renewed.unwrap().fence, lease.fence);
}

/// Takes a lock as soon as NATS is there.
async fn take_again(component: &Component, name: &str) -> Result<Lease, Error> {
    let taken = async {
        loop {
            match component.acquire(name, 60_000, 0).await {
                Err(Error::Unavailable(_)) => tokio::task::yield_now().await,
                other => return other,
            }
        }
    };
    tokio::time::timeout(PATIENCE, taken).await.unwrap()
}

/// Takes a lock and gives it back so often, each time with a higher fence; gives the last one.
async fn count_on(component: &Component, mut last: u64, often: usize) -> u64 {
    for _ in 0..often {
        let lease = take_again(component, "free").await.unwrap();
        assert!(lease.fence > last, "{} after {last}", lease.fence);
        last = lease.fence;
        component.release(&lease).await.unwrap();
    }
    last
}

/// NATS comes back with the same bucket as it was before: what was taken since stays held, and the
/// fences of numbers that it gives again are higher.
#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_that_has_lost_its_last_changes_is_counted_on() {
    let mut lattice = Lattice::start(PROGRAM).await;
    let mut nats = NatsBox::start().await.unwrap();
    let url = nats.url.clone();
    let config = [("cluster_uri", url.as_str())];
    let component = lattice.link("cart", "default", &config).await;
    let last = count_on(&component, 0, 2).await;
    nats.stop();
    let folder = nats.log_file().parent().unwrap().to_owned();
    let (store, copy) = (folder.join("store"), folder.join("copy"));
    let mut copying = std::process::Command::new("cp");
    let copied = copying.arg("-a").arg(&store).arg(&copy).status();
    assert!(copied.unwrap().success());
    nats.restart().await.unwrap();
    let last = count_on(&component, last, 8).await;
    let held = component.acquire("held", 60_000, 0).await.unwrap();
    assert!(held.fence > last);
    nats.stop();
    std::fs::remove_dir_all(&store).unwrap();
    std::fs::rename(&copy, &store).unwrap();
    nats.restart().await.unwrap();
    let taken = take_again(&component, "held").await;
    assert!(
        matches!(&taken, Err(Error::Held(Some(by))) if by.fence == held.fence),
        "{taken:?}"
    );
    let renewed = component.renew(&held, 60_000).await.unwrap();
    assert_eq!(renewed.fence, held.fence);
    let last = count_on(&component, held.fence, 4).await;
    // Another copy has counted further.
    let js = async_nats::jetstream::new(nats.client().await.unwrap());
    let bucket = js.get_key_value("lock_default").await.unwrap();
    let theirs = last + 1_000_000;
    let record = format!(r#"{{"owner":"a","secret":"b","ttl_ms":100,"fence":{theirs}}}"#);
    bucket.put("s.theirs", record.into()).await.unwrap();
    let lease = component.acquire("theirs", 60_000, 5000).await.unwrap();
    assert!(lease.fence > theirs, "{} after {theirs}", lease.fence);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_that_nobody_gives_back_is_cleared_away() {
    let mut lattice = Lattice::start(PROGRAM).await;
    let component = lattice.link("cart", "default", &[]).await;
    let js = async_nats::jetstream::new(lattice.nats.client().await.unwrap());
    let bucket = js.get_key_value("lock_default").await.unwrap();
    let kept = component.acquire("kept", 60_000, 0).await.unwrap();
    let mut changes = bucket.watch_all().await.unwrap();
    let left = component.acquire("left", 500, 0).await.unwrap();
    let cleared = async {
        loop {
            let change = changes.next().await.unwrap().unwrap();
            if change.operation == Operation::Delete {
                return change.key;
            }
        }
    };
    let cleared = tokio::time::timeout(PATIENCE, cleared).await.unwrap();
    assert_eq!(cleared, "s.left");
    assert_eq!(component.renew(&left, 500).await, Err(Error::NotHeld));
    let next = component.acquire("left", 500, 0).await.unwrap();
    assert!(next.fence > left.fence);
    component.renew(&kept, 60_000).await.unwrap();
}

/// NATS comes back with nothing: what is held stays held, and every copy counts fences on.
#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_that_nats_has_lost_is_made_again() {
    let mut lattice = Lattice::start(PROGRAM).await;
    let mut nats = lattice_nats_box::NatsBox::start().await.unwrap();
    let url = nats.url.clone();
    let config = [("cluster_uri", url.as_str())];
    let component = lattice.link("cart", "default", &config).await;
    let (mut last, mut held) = (0, None);
    for name in ["kept", "short", "free"] {
        for _ in 0..5 {
            let lease = component.acquire(name, 60_000, 0).await.unwrap();
            assert!(lease.fence > last);
            last = lease.fence;
            match name {
                "kept" => held = Some(lease),
                "short" => drop(component.renew(&lease, 1500).await.unwrap()),
                _ => component.release(&lease).await.unwrap(),
            }
            if name != "free" {
                break;
            }
        }
    }
    let held = held.unwrap();
    nats.restart_wiped().await.unwrap();
    let lost = take_again(&component, "kept").await;
    assert!(
        matches!(&lost, Err(Error::Held(Some(by))) if by.fence == held.fence),
        "{lost:?}"
    );
    let renewed = component.renew(&held, 60_000).await.unwrap();
    assert_eq!(renewed.fence, held.fence);
    // A copy that has seen nothing of this joins.
    lattice.run_copy().await;
    for _ in 0..6 {
        let lease = component.acquire("free", 60_000, 5000).await.unwrap();
        assert!(lease.fence > last, "{} after {last}", lease.fence);
        last = lease.fence;
        component.release(&lease).await.unwrap();
    }
    let lease = component.acquire("short", 1000, 5000).await.unwrap();
    assert!(lease.fence > last, "{} after {last}", lease.fence);
    component.release(&renewed).await.unwrap();
}
