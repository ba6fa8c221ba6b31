//! Locks in a real Redis, through copies of the provider that are processes of their own.

#[path = "../../lock-nats/tests/support/mod.rs"]
mod support;

use std::time::Duration;

use lattice_core::link::LinkState;
use lattice_services::{Kind, Service};
use support::{Error, Lattice, cases};
use tokio::time::Instant;

const PROGRAM: &str = env!("CARGO_BIN_EXE_lock-redis-provider");

macro_rules! cases {
    ($($name:ident)+) => {
        $(#[tokio::test(flavor = "multi_thread")]
        async fn $name() {
            let redis = Service::start(Kind::Redis).await.unwrap();
            let mut lattice = Lattice::start(PROGRAM).await;
            cases::$name(&mut lattice, &[("url", &redis.url())]).await;
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
    let redis = Service::start(Kind::Redis).await.unwrap();
    let url = redis.url();
    let mut lattice = Lattice::start(PROGRAM).await;
    for (config, says) in [
        ([("url", "nowhere"), ("x", "")], "URL"),
        ([("url", &*url), ("ttl_ms", "99")], "ttl_ms"),
        ([("url", &*url), ("require", "fair")], "fair"),
        (
            [("url", &*url), ("require", "consistency=linearizable")],
            "consistency",
        ),
        ([("url", "redis://127.0.0.1:1"), ("x", "")], "127.0.0.1:1"),
    ] {
        lattice.put("cart", says, &config).await;
        let reason = lattice.report_of(LinkState::Failed).await.reason.unwrap();
        assert!(reason.contains(says), "{reason}");
        lattice.unlink().await;
    }
    let client = redis::Client::open(&*url).unwrap();
    let mut past = client.get_multiplexed_async_connection().await.unwrap();
    let mut now_opens = async |password: &str| {
        let mut command = redis::cmd("CONFIG");
        let command = command.arg("SET").arg("requirepass").arg(password);
        let _: () = command.query_async(&mut past).await.unwrap();
    };
    now_opens("sesame").await;
    let private = url.replace("redis://", "redis://:late@");
    let component = lattice.put("cart", "private", &[("url", &private)]).await;
    let reason = lattice.report_of(LinkState::Failed).await.reason.unwrap();
    assert!(reason.contains("authentication"), "{reason}");
    assert!(!reason.contains("late@"), "{reason}");
    now_opens("late").await;
    lattice.report_of(LinkState::Ready).await;
    component.acquire("a", 60_000, 0).await.unwrap();
}

#[tokio::test]
async fn fences_grow_even_when_redis_has_lost_its_data() {
    let redis = Service::start(Kind::Redis).await.unwrap();
    let mut lattice = Lattice::start(PROGRAM).await;
    let component = lattice
        .link("cart", "default", &[("url", &redis.url())])
        .await;
    let lease = component.acquire("a", 60_000, 0).await.unwrap();
    let client = redis::Client::open(redis.url()).unwrap();
    let mut past = client.get_multiplexed_async_connection().await.unwrap();
    let _: () = redis::cmd("FLUSHALL").query_async(&mut past).await.unwrap();
    assert_eq!(component.renew(&lease, 60_000).await, Err(Error::NotHeld));
    let next = component.acquire("a", 60_000, 0).await.unwrap();
    assert!(next.fence > lease.fence);
}

#[tokio::test]
async fn fences_grow_after_a_loss_however_fast_locks_were_taken() {
    let redis = Service::start(Kind::Redis).await.unwrap();
    let mut lattice = Lattice::start(PROGRAM).await;
    let component = lattice
        .link("cart", "default", &[("url", &redis.url())])
        .await;
    let first = component.acquire("a", 60_000, 0).await.unwrap();
    component.release(&first).await.unwrap();
    let client = redis::Client::open(redis.url()).unwrap();
    let mut past = client.get_multiplexed_async_connection().await.unwrap();
    // As many more as take 20 milliseconds at least, had they been taken one by one.
    let mut count = redis::cmd("INCRBY");
    let count = count.arg("lattice:lock:default:{0:}").arg(2000);
    let _: u64 = count.query_async(&mut past).await.unwrap();
    tokio::time::sleep(Duration::from_millis(20)).await;
    let last = component.acquire("a", 60_000, 0).await.unwrap();
    assert!(last.fence > first.fence);
    let _: () = redis::cmd("FLUSHALL").query_async(&mut past).await.unwrap();
    let next = component.acquire("a", 60_000, 0).await.unwrap();
    assert!(
        next.fence > last.fence,
        "{} after {}",
        next.fence,
        last.fence
    );
}

#[tokio::test]
async fn without_redis_calls_fail_and_work_again_afterwards() {
    let mut redis = Service::start(Kind::Redis).await.unwrap();
    let mut lattice = Lattice::start(PROGRAM).await;
    let config = [("url", &*redis.url())];
    let component = lattice.link("cart", "default", &config).await;
    let lease = component.acquire("a", 60_000, 0).await.unwrap();
    redis.kill();
    let begun = Instant::now();
    let error = component.acquire("a", 60_000, 5_000).await.unwrap_err();
    assert!(matches!(error, Error::Unavailable(_)), "{error:?}");
    assert!(begun.elapsed() < Duration::from_secs(5));
    let reason = lattice.report_of(LinkState::Failed).await.reason.unwrap();
    assert!(reason.contains("127.0.0.1"), "{reason}");
    redis.start_again().await.unwrap();
    lattice.report_of(LinkState::Ready).await;
    let renewed = component.renew(&lease, 60_000).await.unwrap();
    assert_eq!(renewed.fence, lease.fence);
    assert!(matches!(
        component.acquire("a", 60_000, 0).await,
        Err(Error::Held(_))
    ));
}
