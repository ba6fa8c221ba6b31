//! Locks in a real etcd, through copies of the provider that are processes of their own.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../../lock-nats/tests/support/mod.rs"]
mod support;

use std::path::{Path, PathBuf};
use std::time::Duration;

use lattice_core::link::LinkState;
use lattice_services::{Kind, Service};
use support::{Component, Error, Lattice, PATIENCE, cases};
use tokio::time::Instant;

const PROGRAM: &str = env!("CARGO_BIN_EXE_lock-etcd-provider");

macro_rules! cases {
    ($($name:ident)+) => {
        $(#[tokio::test(flavor = "multi_thread")]
        async fn $name() {
            let etcd = Service::start(Kind::Etcd).await.unwrap();
            let mut lattice = Lattice::start(PROGRAM).await;
            cases::$name(&mut lattice, &[("endpoints", &etcd.url())]).await;
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

/// Waiters through two copies of the provider get the lock in the order in which they came.
#[tokio::test(flavor = "multi_thread")]
async fn waiting_is_fair() {
    let etcd = Service::start(Kind::Etcd).await.unwrap();
    let mut lattice = Lattice::start(PROGRAM).await;
    let config = [
        ("endpoints", &*etcd.url()),
        ("require", "fair, fencing, ttl-min-ms>=2000"),
    ];
    let component = lattice.link("cart", "default", &config).await;
    lattice.run_copy().await;
    let lease = component.acquire("queue", 20_000, 0).await.unwrap();
    let (sender, mut order) = tokio::sync::mpsc::unbounded_channel();
    for n in 0..8 {
        let (component, sender) = (component.clone(), sender.clone());
        tokio::spawn(async move {
            let lease = component.acquire("queue", 20_000, 20_000).await.unwrap();
            sender.send((n, lease.fence)).unwrap();
            component.release(&lease).await.unwrap();
        });
        until_in_line(&etcd, n + 2).await;
    }
    component.release(&lease).await.unwrap();
    let mut last = lease.fence;
    for n in 0..8 {
        let next = tokio::time::timeout(PATIENCE, order.recv()).await.unwrap();
        let (came, fence) = next.unwrap();
        assert_eq!(came, n);
        assert!(fence > last);
        last = fence;
    }
}

/// Waits until so many hold a lock or are in line for it, as etcd counts.
async fn until_in_line(etcd: &Service, many: u64) {
    let client = lattice_etcd::Etcd::new(lattice_etcd::EtcdOptions::at([etcd.url()])).unwrap();
    let all = || lattice_etcd::Range::prefix("lattice/lock/default/0:/").count_only();
    let in_line = async {
        while client.range(all()).await.unwrap().count < many {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, in_line).await.unwrap();
}

/// A waiter whose provider dies does not hold the line up for the lease that it wanted.
#[tokio::test(flavor = "multi_thread")]
async fn a_waiter_that_dies_holds_nobody_up() {
    let etcd = Service::start(Kind::Etcd).await.unwrap();
    let mut lattice = Lattice::start(PROGRAM).await;
    let config = [("endpoints", &*etcd.url())];
    let component = lattice.link("cart", "default", &config).await;
    let wait = |component: Component| {
        tokio::spawn(async move { component.acquire("queue", 60_000, 20_000).await })
    };
    let held = component.acquire("queue", 60_000, 0).await.unwrap();
    let dying = wait(component.clone());
    until_in_line(&etcd, 2).await;
    lattice.kill(0).await;
    dying.abort();
    lattice.run_copy().await;
    // Whether it comes before the release or after it, it is behind the one that died.
    let next = wait(component.clone());
    component.release(&held).await.unwrap();
    let released = Instant::now();
    let next = next.await.unwrap().unwrap();
    assert!(released.elapsed() < Duration::from_secs(10));
    assert!(next.fence > held.fence);
    // It has the lease that it wanted, not that of a place in line.
    let renewed = component.renew(&next, 60_000).await.unwrap();
    assert_eq!(renewed.fence, next.fence);
    assert!(next.ttl_ms > 50_000, "{}", next.ttl_ms);
}

#[tokio::test]
async fn links_that_cannot_be_served_are_refused_by_name() {
    let etcd = Service::start(Kind::Etcd).await.unwrap();
    let url = etcd.url();
    let mut lattice = Lattice::start(PROGRAM).await;
    for (config, says) in [
        ([("endpoints", "ftp://x"), ("x", "")], "endpoints"),
        ([("endpoints", &*url), ("ttl_ms", "1999")], "ttl_ms"),
        (
            [("endpoints", &*url), ("require", "ttl-max-ms>=9999999")],
            "ttl-max-ms",
        ),
        (
            [("endpoints", "http://127.0.0.1:1"), ("x", "")],
            "127.0.0.1:1",
        ),
        ([("endpoints", &*url), ("user", "me")], "password"),
    ] {
        lattice.put("cart", says, &config).await;
        let reason = lattice.report_of(LinkState::Failed).await.reason.unwrap();
        assert!(reason.contains(says), "{reason}");
        lattice.unlink().await;
    }
    lattice_services::etcd::require_login(&etcd, "sesame")
        .await
        .unwrap();
    let login = |password| {
        [
            ("endpoints", &*url),
            ("user", "root"),
            ("password", password),
        ]
    };
    lattice.put("cart", "wrong", &login("wr0ng")).await;
    let reason = lattice.report_of(LinkState::Failed).await.reason.unwrap();
    assert!(reason.contains("invalid user ID or password"), "{reason}");
    assert!(!reason.contains("wr0ng"), "{reason}");
    let component = lattice.link("cart", "right", &login("sesame")).await;
    component.acquire("a", 60_000, 0).await.unwrap();
}

#[tokio::test]
async fn without_etcd_calls_fail_and_locks_are_there_afterwards() {
    let mut etcd = Service::start(Kind::Etcd).await.unwrap();
    let mut lattice = Lattice::start(PROGRAM).await;
    let config = [("endpoints", &*etcd.url())];
    let component = lattice.link("cart", "default", &config).await;
    let lease = component.acquire("a", 60_000, 0).await.unwrap();
    etcd.kill();
    let begun = Instant::now();
    let error = component.acquire("a", 60_000, 5_000).await.unwrap_err();
    assert!(matches!(error, Error::Unavailable(_)), "{error:?}");
    assert!(begun.elapsed() < Duration::from_secs(5));
    let reason = lattice.report_of(LinkState::Failed).await.reason.unwrap();
    assert!(reason.contains("127.0.0.1"), "{reason}");
    etcd.start_again().await.unwrap();
    lattice.report_of(LinkState::Ready).await;
    let renewed = component.renew(&lease, 60_000).await.unwrap();
    assert_eq!(renewed.fence, lease.fence);
    assert!(matches!(
        component.acquire("a", 60_000, 0).await,
        Err(Error::Held(_))
    ));
}

/// An etcd whose data are in a folder of this name.
fn etcd_in(name: &str) -> (Service, PathBuf) {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    if folder.exists() {
        std::fs::remove_dir_all(&folder).unwrap();
    }
    let etcd = Service::reserve_in(Kind::Etcd, &folder).unwrap();
    (etcd, folder)
}

/// Takes a lock and gives it back so often, each time with a higher fence; gives the last one.
async fn count_on(component: &Component, mut last: u64, often: usize) -> u64 {
    for _ in 0..often {
        let lease = tokio::time::timeout(PATIENCE, take_again(component)).await;
        let lease = lease.unwrap();
        assert!(lease.fence > last, "{} after {last}", lease.fence);
        last = lease.fence;
        component.release(&lease).await.unwrap();
    }
    last
}

/// Takes a lock as soon as etcd is there.
async fn take_again(component: &Component) -> support::Lease {
    loop {
        match component.acquire("a", 60_000, 0).await {
            Err(Error::Unavailable(_)) => tokio::task::yield_now().await,
            other => return other.unwrap(),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn fences_grow_even_when_etcd_has_lost_its_data() {
    let (mut etcd, folder) = etcd_in("lost-etcd");
    etcd.start_again().await.unwrap();
    let mut lattice = Lattice::start(PROGRAM).await;
    let config = [("endpoints", &*etcd.url())];
    let component = lattice.link("cart", "default", &config).await;
    let last = count_on(&component, 0, 8).await;
    etcd.kill();
    std::fs::remove_dir_all(folder.join("data")).unwrap();
    etcd.start_again().await.unwrap();
    let last = count_on(&component, last, 2).await;
    // One that has seen nothing of this counts on too.
    lattice.kill(0).await;
    lattice.run_copy().await;
    count_on(&component, last, 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fences_grow_even_when_etcd_is_restored_from_a_copy() {
    let (mut etcd, folder) = etcd_in("restored-etcd");
    etcd.start_again().await.unwrap();
    let mut lattice = Lattice::start(PROGRAM).await;
    let config = [("endpoints", &*etcd.url())];
    let component = lattice.link("cart", "default", &config).await;
    let last = count_on(&component, 0, 2).await;
    etcd.kill();
    let (data, copy) = (folder.join("data"), folder.join("copy"));
    let mut copying = std::process::Command::new("cp");
    let copied = copying.arg("-a").arg(&data).arg(&copy).status();
    assert!(copied.unwrap().success());
    etcd.start_again().await.unwrap();
    let last = count_on(&component, last, 8).await;
    etcd.kill();
    std::fs::remove_dir_all(&data).unwrap();
    std::fs::rename(&copy, &data).unwrap();
    etcd.start_again().await.unwrap();
    let last = count_on(&component, last, 2).await;
    lattice.kill(0).await;
    lattice.run_copy().await;
    count_on(&component, last, 2).await;
}
