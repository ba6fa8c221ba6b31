//! Links and jobs that change while there are ticks, with copies of the provider that are processes of
//! their own and the jobs in a real NATS.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;
use lattice_core::link::LinkState;
use serde_json::Value;
use support::{Error, Job, Lattice, Plan, Trigger};

const PROGRAM: &str = env!("CARGO_BIN_EXE_schedule-nats-provider");
const MS: fn(u64) -> Duration = Duration::from_millis;
/// So seldom that it is not due while a test runs.
const FAR: (&str, &str) = ("every_ms", "1000000");
const BUCKET: &str = "schedule_default";

/// What is stored of the job that a link says.
async fn of_link(lattice: &Lattice, bucket: &str) -> Option<Value> {
    lattice.stored(bucket, "cart.default.link").await
}

/// When that job was put for its time.
async fn from(lattice: &Lattice) -> u64 {
    let record = of_link(lattice, BUCKET).await.unwrap();
    record["from"].as_u64().unwrap()
}

/// Puts the link with the provider as source, and waits until every copy has taken it.
async fn put_handler(lattice: &mut Lattice, config: &[(&str, &str)]) {
    lattice.put_handler("cart", config).await;
    lattice.until_ready().await;
}

fn seldom(name: &str, payload: &'static str) -> Job {
    Job {
        name: name.to_owned(),
        trigger: Trigger::EveryMs(1_000_000),
        time_zone: None,
        payload: Bytes::from_static(payload.as_bytes()),
    }
}

#[tokio::test]
async fn a_single_time_that_is_over_stays_over_when_its_link_changes() {
    let mut lattice = Lattice::start(PROGRAM).await;
    let mut told = lattice.listen("cart").await;
    let at = ("at_ms", "1");
    put_handler(&mut lattice, &[at]).await;
    assert_eq!(told.tick().await.due_ms, 1);
    lattice.run_copy().await;
    for change in [("attempts", "2"), ("payload", "x")] {
        put_handler(&mut lattice, &[at, change]).await;
    }
    assert_eq!(told.within(MS(500)).await, []);
    put_handler(&mut lattice, &[("at_ms", "2")]).await;
    assert_eq!(told.tick().await.due_ms, 2);
}

#[tokio::test]
async fn a_link_that_changes_keeps_the_times_of_its_job() {
    let mut lattice = Lattice::start(PROGRAM).await;
    put_handler(&mut lattice, &[FAR]).await;
    lattice.run_copy().await;
    let began = from(&lattice).await;
    put_handler(&mut lattice, &[FAR, ("payload", "x")]).await;
    assert_eq!(from(&lattice).await, began);
    assert_eq!(of_link(&lattice, BUCKET).await.unwrap()["payload"], "eA==");
    // One that is refused is let go of by the provider.
    lattice
        .put_handler("cart", &[FAR, ("require", "max-jobs>=2")])
        .await;
    for _copy in 0..2 {
        lattice.report_of(LinkState::Failed).await;
    }
    put_handler(&mut lattice, &[FAR]).await;
    assert_eq!(from(&lattice).await, began);
    // The same bucket, by another address.
    let url = lattice.nats.url.clone();
    put_handler(&mut lattice, &[FAR, ("cluster_uri", url.as_str())]).await;
    assert_eq!(from(&lattice).await, began);
    // It was deleted by mistake.
    lattice.unlink().await;
    put_handler(&mut lattice, &[FAR]).await;
    assert_eq!(from(&lattice).await, began);
}

#[tokio::test]
async fn a_link_has_no_job_but_the_one_it_says() {
    let mut lattice = Lattice::start(PROGRAM).await;
    let (one, two) = (("bucket", "one"), ("bucket", "two"));
    put_handler(&mut lattice, &[FAR, one]).await;
    lattice.run_copy().await;
    assert!(of_link(&lattice, "one").await.is_some());
    put_handler(&mut lattice, &[FAR, two]).await;
    assert!(of_link(&lattice, "two").await.is_some());
    assert_eq!(of_link(&lattice, "one").await, None);
    put_handler(&mut lattice, &[FAR, two, ("job", "other")]).await;
    assert_eq!(of_link(&lattice, "two").await, None);
    let other = "cart.default.other";
    assert!(lattice.stored("two", other).await.is_some());
    put_handler(&mut lattice, &[two]).await;
    assert_eq!(lattice.stored("two", other).await, None);
}

#[tokio::test]
async fn a_link_that_changes_while_no_copy_runs_leaves_nothing_behind() {
    let mut lattice = Lattice::start(PROGRAM).await;
    put_handler(&mut lattice, &[FAR]).await;
    assert!(of_link(&lattice, BUCKET).await.is_some());
    lattice.kill(0).await;
    // Nobody hears of it.
    lattice.unlink().await;
    lattice.put_handler("cart", &[FAR, ("job", "other")]).await;
    lattice.run_copy().await;
    assert!(lattice.stored(BUCKET, "cart.default.other").await.is_some());
    assert_eq!(of_link(&lattice, BUCKET).await, None);
}

#[tokio::test]
async fn a_link_that_is_gone_takes_its_job_along() {
    let mut lattice = Lattice::start(PROGRAM).await;
    put_handler(&mut lattice, &[FAR]).await;
    lattice.run_copy().await;
    lattice.unlink().await;
    let gone = async {
        while of_link(&lattice, BUCKET).await.is_some() {
            tokio::time::sleep(MS(20)).await;
        }
    };
    tokio::time::timeout(support::PATIENCE, gone).await.unwrap();
}

#[tokio::test]
async fn what_fails_is_not_told_again_when_its_job_is_gone() {
    let mut lattice = Lattice::start(PROGRAM).await;
    let mut told = lattice.listen("cart").await;
    let config = [("retry_ms", "1000"), ("attempts", "5")];
    let cart = lattice.link("cart", "default", &config).await;
    *told.plans.lock() = vec![Plan::Fail("no"); 8];
    for name in ["deleted", "replaced"] {
        cart.put(name, Trigger::AtMs(1)).await.unwrap();
        assert_eq!(told.tick().await.job, name);
    }
    cart.delete("deleted").await.unwrap();
    cart.put_job(&seldom("replaced", "x")).await.unwrap();
    assert_eq!(told.within(MS(2000)).await, []);
    assert_eq!(cart.names().await, ["replaced"]);
}

#[tokio::test]
async fn what_fails_is_told_again_with_the_payload_of_now() {
    let mut lattice = Lattice::start(PROGRAM).await;
    let mut told = lattice.listen("cart").await;
    let cart = lattice
        .link("cart", "default", &[("retry_ms", "3000")])
        .await;
    *told.plans.lock() = vec![Plan::Fail("no")];
    let mut job = Job {
        trigger: Trigger::Cron("* * * * * *".to_owned()),
        ..seldom("often", "old")
    };
    cart.put_job(&job).await.unwrap();
    let first = told.tick().await;
    job.payload = Bytes::from_static(b"new");
    cart.put_job(&job).await.unwrap();
    let again = told.tick().await;
    assert_eq!(
        (first.due_ms, &first.payload[..]),
        (again.due_ms, &b"old"[..])
    );
    assert_eq!(&again.payload[..], b"new");
}

/// The copy that tells the tick has the job in hand, but the other has not.
#[tokio::test]
async fn a_job_that_is_put_for_another_time_waits_for_its_handler() {
    let mut lattice = Lattice::start(PROGRAM).await;
    let mut told = lattice.listen("cart").await;
    let cart = lattice.link("cart", "default", &[]).await;
    lattice.run_copy().await;
    *told.plans.lock() = vec![Plan::Take(MS(2000))];
    cart.put("once", Trigger::AtMs(1)).await.unwrap();
    assert_eq!(told.tick().await.due_ms, 1);
    cart.put("once", Trigger::AtMs(2)).await.unwrap();
    assert_eq!(told.within(MS(1000)).await, []);
    assert_eq!(told.tick().await.due_ms, 2);
    assert_eq!(told.within(MS(500)).await, []);
    assert!(cart.names().await.is_empty());
}

#[tokio::test]
async fn jobs_that_are_put_at_once_are_counted() {
    let mut lattice = Lattice::start(PROGRAM).await;
    let cart = lattice.link("cart", "default", &[("max_jobs", "1")]).await;
    let names: Vec<_> = (0..32).map(|n| format!("job-{n}")).collect();
    let puts = names
        .iter()
        .map(|name| cart.put(name, Trigger::EveryMs(1_000_000)));
    let mut stored = 0;
    for put in join_all(puts).await {
        match put {
            Ok(()) => stored += 1,
            Err(error) => assert!(matches!(error, Error::LimitReached(_)), "{error:?}"),
        }
    }
    assert_eq!((stored, cart.names().await.len()), (1, 1));
}

/// What is put while an older one goes is not taken to be gone with it.
#[tokio::test]
async fn a_job_that_is_put_while_it_is_deleted_is_told_of() {
    let mut lattice = Lattice::start(PROGRAM).await;
    let mut told = lattice.listen("cart").await;
    let cart = lattice.link("cart", "default", &[]).await;
    let put = || cart.put("often", Trigger::EveryMs(100));
    for _ in 0..10 {
        put().await.unwrap();
        let puts = async {
            for _ in 0..16 {
                put().await.unwrap();
            }
        };
        let (deleted, ()) = tokio::join!(cart.delete("often"), puts);
        deleted.unwrap();
        put().await.unwrap();
        told.within(MS(0)).await;
        // One or another may have been on its way before.
        for _ in 0..3 {
            told.tick().await;
        }
    }
}

#[tokio::test]
async fn links_follow_the_config_of_the_provider() {
    let mut lattice = Lattice::start(PROGRAM).await;
    let cart = lattice.link("cart", "default", &[]).await;
    cart.put_job(&seldom("a", "x")).await.unwrap();
    lattice.put_config(&[("bucket", "other")]).await;
    lattice.until_ready().await;
    assert!(cart.names().await.is_empty());
    lattice.put_config(&[]).await;
    lattice.until_ready().await;
    assert_eq!(cart.names().await, ["a"]);
}
