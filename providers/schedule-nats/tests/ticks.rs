//! Ticks through copies of the provider that are processes of their own, with the jobs in a real NATS.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use futures::StreamExt as _;
use lattice_core::link::LinkState;
use lattice_nats_box::{NatsBox, NatsBoxOptions};
use serde_json::Value;
use support::{Error, Job, Lattice, Plan, Tick, Trigger};

const PROGRAM: &str = env!("CARGO_BIN_EXE_schedule-nats-provider");
const MS: fn(u64) -> Duration = Duration::from_millis;

fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    now.as_millis().try_into().unwrap()
}

/// Every tick that is due is told once, or counted as missed by the next one.
fn assert_once(ticks: &[Tick], period: u64) {
    assert_eq!(counted_too_often(ticks, period), 0, "{ticks:?}");
}

/// How many ticks were counted as missed although they were told: those of a copy that died before
/// it could note that the handler was done. None is told twice or left out.
fn counted_too_often(ticks: &[Tick], period: u64) -> u64 {
    let pairs = ticks.windows(2).map(|pair| {
        assert!(pair[1].due_ms > pair[0].due_ms, "told twice: {ticks:?}");
        let step = (pair[1].due_ms - pair[0].due_ms) / period;
        let told = u64::from(pair[1].missed + 1);
        assert!(told >= step, "left out: {ticks:?}");
        told - step
    });
    pairs.sum()
}

#[tokio::test]
async fn ticks_come_with_their_time_and_payload() {
    let mut lattice = Lattice::start(PROGRAM).await;
    let mut told = lattice.listen("cart").await;
    let cart = lattice.link("cart", "default", &[]).await;
    let before = now_ms();
    cart.put("often", Trigger::EveryMs(300)).await.unwrap();
    let first = told.tick().await;
    assert_eq!(
        (&*first.job, &first.payload[..], first.missed),
        ("often", &b"often"[..], 0)
    );
    assert!(first.due_ms >= before + 300 && first.due_ms <= now_ms());
    let second = told.tick().await;
    assert_eq!(second.due_ms, first.due_ms + 300);
    cart.delete("often").await.unwrap();
    assert_eq!(cart.delete("often").await, Err(Error::NoSuchJob));
    told.within(MS(100)).await;
    cart.put("seconds", Trigger::Cron("* * * * * *".to_owned()))
        .await
        .unwrap();
    let tick = told.tick().await;
    assert_eq!(tick.due_ms % 1000, 0);
    cart.delete("seconds").await.unwrap();
    let at = now_ms() + 400;
    cart.put("once", Trigger::AtMs(at)).await.unwrap();
    assert_eq!(cart.names().await, ["once"]);
    let tick = told.within(MS(1200)).await;
    let tick: Vec<_> = tick.iter().filter(|tick| tick.job == "once").collect();
    assert_eq!((tick.len(), tick[0].due_ms), (1, at));
    assert!(cart.names().await.is_empty());
}

/// Ten jobs, two copies, one of which is killed in the middle, and a third one in its place.
#[tokio::test(flavor = "multi_thread")]
async fn each_tick_is_told_once_whatever_dies() {
    let mut lattice = Lattice::start(PROGRAM).await;
    let mut told = lattice.listen("cart").await;
    let cart = lattice
        .link(
            "cart",
            "default",
            &[("deadline_ms", "200"), ("attempts", "1")],
        )
        .await;
    lattice.run_copy().await;
    for n in 0..10 {
        cart.put(&format!("job-{n}"), Trigger::EveryMs(250))
            .await
            .unwrap();
    }
    let mut ticks = told.within(MS(2000)).await;
    lattice.kill(0).await;
    ticks.extend(told.within(MS(5000)).await);
    let third = lattice.run_copy().await;
    lattice.stop(1).await;
    ticks.extend(told.within(MS(2000)).await);
    lattice.kill(third).await;
    let end = now_ms();
    ticks.extend(told.within(MS(300)).await);
    let mut of_job: BTreeMap<String, Vec<Tick>> = BTreeMap::new();
    for tick in ticks {
        of_job.entry(tick.job.clone()).or_default().push(tick);
    }
    assert_eq!(of_job.len(), 10);
    for ticks in of_job.values() {
        // 36 periods went by. The copy that was killed may have had a tick in hand, which is
        // noticed after a while.
        assert!(ticks.len() >= 12, "{ticks:?}");
        assert!(ticks.last().unwrap().due_ms > end - 1000, "{ticks:?}");
        assert!(counted_too_often(ticks, 250) <= 2, "{ticks:?}");
    }
}

#[tokio::test]
async fn jobs_outlive_the_provider_and_nats() {
    let mut lattice = Lattice::start(PROGRAM).await;
    let mut told = lattice.listen("cart").await;
    let cart = lattice.link("cart", "default", &[]).await;
    cart.put("often", Trigger::EveryMs(500)).await.unwrap();
    let first = told.tick().await;
    lattice.stop(0).await;
    assert_eq!(told.within(MS(1200)).await, []);
    lattice.run_copy().await;
    let next = told.tick().await;
    assert!(next.missed >= 1, "{next:?}");
    assert_once(&[first, next.clone()], 500);
    lattice.nats.restart().await.unwrap();
    told.within(MS(200)).await;
    let after = told.tick().await;
    assert!(after.due_ms > next.due_ms);
    assert_eq!((after.due_ms - next.due_ms) % 500, 0);
}

/// NATS comes back with nothing: the job of a link is put again, and those of components are gone
/// and can be put again.
#[tokio::test]
async fn a_bucket_that_nats_has_lost_is_made_again() {
    let mut lattice = Lattice::start(PROGRAM).await;
    let mut nats = lattice_nats_box::NatsBox::start().await.unwrap();
    let url = nats.url.clone();
    let mut told = lattice.listen("cart").await;
    let at = ("cluster_uri", url.as_str());
    let cart = lattice.link("cart", "default", &[at]).await;
    let of_link = [at, ("every_ms", "300"), ("job", "greet")];
    lattice.put_handler("cart", &of_link).await;
    for name in ["one", "two", "three"] {
        cart.put(name, Trigger::EveryMs(250)).await.unwrap();
    }
    told.within(MS(700)).await;
    nats.restart_wiped().await.unwrap();
    let put = async {
        while cart.put("one", Trigger::EveryMs(300)).await.is_err() {
            tokio::time::sleep(MS(20)).await;
        }
    };
    tokio::time::timeout(support::PATIENCE, put).await.unwrap();
    let greeted = async {
        while cart.names().await != ["greet", "one"] {
            tokio::time::sleep(MS(20)).await;
        }
    };
    tokio::time::timeout(support::PATIENCE, greeted)
        .await
        .unwrap();
    told.within(MS(100)).await;
    let ticks = told.within(MS(1300)).await;
    for name in ["greet", "one"] {
        let ticks: Vec<_> = ticks
            .iter()
            .filter(|tick| tick.job == name)
            .cloned()
            .collect();
        assert!(ticks.len() >= 2, "{name}: {ticks:?}");
        assert_once(&ticks, 300);
    }
    let gone = |tick: &&Tick| matches!(tick.job.as_str(), "two" | "three");
    assert_eq!(ticks.iter().find(gone), None);
}

#[tokio::test]
async fn what_fails_is_told_again() {
    let mut lattice = Lattice::start(PROGRAM).await;
    let mut told = lattice.listen("cart").await;
    let config = [("retry_ms", "50"), ("deadline_ms", "400")];
    let cart = lattice.link("cart", "default", &config).await;
    *told.plans.lock() = vec![Plan::Fail("not now"), Plan::Trap];
    cart.put("once", Trigger::AtMs(1)).await.unwrap();
    let ticks = told.within(MS(1500)).await;
    assert_eq!(ticks.len(), 3, "{ticks:?}");
    assert!(ticks.iter().all(|tick| *tick == ticks[0]));
    // After three attempts it is given up.
    *told.plans.lock() = vec![Plan::Fail("no"); 4];
    cart.put("once", Trigger::AtMs(2)).await.unwrap();
    assert_eq!(told.within(MS(1500)).await.len(), 3);
    told.plans.lock().clear();
    // Who does not answer in time may be done: that is told once.
    *told.plans.lock() = vec![Plan::Take(MS(1000))];
    cart.put("once", Trigger::AtMs(3)).await.unwrap();
    assert_eq!(told.within(MS(1500)).await.len(), 1);
}

#[tokio::test]
async fn ticks_of_a_slow_handler_do_not_overlap() {
    let mut lattice = Lattice::start(PROGRAM).await;
    let mut told = lattice.listen("cart").await;
    let cart = lattice.link("cart", "default", &[]).await;
    lattice.run_copy().await;
    *told.plans.lock() = vec![Plan::Take(MS(1000))];
    cart.put("often", Trigger::EveryMs(200)).await.unwrap();
    let first = told.tick().await;
    assert_eq!(told.within(MS(800)).await, []);
    let next = told.tick().await;
    assert!(next.missed >= 4, "{next:?}");
    assert_once(&[first, next], 200);
}

#[tokio::test]
async fn nobody_to_tell_is_counted_as_missed() {
    let mut lattice = Lattice::start(PROGRAM).await;
    let config = [("retry_ms", "10"), ("attempts", "2")];
    let cart = lattice.link("cart", "default", &config).await;
    cart.put("often", Trigger::EveryMs(300)).await.unwrap();
    tokio::time::sleep(MS(1500)).await;
    let mut told = lattice.listen("cart").await;
    let tick = told.tick().await;
    assert!(tick.missed >= 3, "{tick:?}");
    let next = told.tick().await;
    assert_once(&[tick, next], 300);
}

/// What is stored of the one job there is, as soon as it is wanted.
async fn stored(lattice: &Lattice, wanted: impl Fn(&Value) -> bool) -> Value {
    let client = lattice.nats.client().await.unwrap();
    let jobs = async_nats::jetstream::new(client)
        .get_key_value("schedule_default")
        .await
        .unwrap();
    let mut changes = jobs.watch_all_from_revision(1).await.unwrap();
    let wait = async {
        loop {
            let entry = changes.next().await.unwrap().unwrap();
            let record = serde_json::from_slice(&entry.value).unwrap_or_default();
            if wanted(&record) {
                return record;
            }
        }
    };
    tokio::time::timeout(support::PATIENCE, wait).await.unwrap()
}

/// How many calls in a row nobody took, while none is under way.
fn unheard(record: &Value) -> u64 {
    match record["running"].is_null() {
        true => record["tried"]["unheard"].as_u64().unwrap_or(0),
        false => 0,
    }
}

#[tokio::test]
async fn a_single_tick_waits_for_a_handler_beyond_all_attempts() {
    let mut lattice = Lattice::start(PROGRAM).await;
    let config = [("retry_ms", "10"), ("attempts", "2")];
    let cart = lattice.link("cart", "default", &config).await;
    lattice.run_copy().await;
    let at = now_ms();
    cart.put("once", Trigger::AtMs(at)).await.unwrap();
    stored(&lattice, |record| unheard(record) >= 5).await;
    assert_eq!(cart.names().await, ["once"]);
    let mut told = lattice.listen("cart").await;
    let tick = told.tick().await;
    assert_eq!((&*tick.job, tick.due_ms, tick.missed), ("once", at, 0));
    assert_eq!(told.within(MS(500)).await, []);
    assert!(cart.names().await.is_empty());
}

#[tokio::test]
async fn a_copy_that_dies_takes_no_waiting_tick_along() {
    let mut lattice = Lattice::start(PROGRAM).await;
    let config = [("retry_ms", "3000")];
    let cart = lattice.link("cart", "default", &config).await;
    let at = now_ms();
    cart.put("once", Trigger::AtMs(at)).await.unwrap();
    stored(&lattice, |record| unheard(record) == 1).await;
    lattice.kill(0).await;
    let mut told = lattice.listen("cart").await;
    lattice.run_copy().await;
    let tick = told.tick().await;
    assert_eq!((&*tick.job, tick.due_ms), ("once", at));
    assert_eq!(told.within(MS(500)).await, []);
}

#[tokio::test]
async fn a_waiting_tick_goes_with_its_job() {
    let mut lattice = Lattice::start(PROGRAM).await;
    let config = [("retry_ms", "10")];
    let cart = lattice.link("cart", "default", &config).await;
    cart.put("once", Trigger::AtMs(1)).await.unwrap();
    stored(&lattice, |record| unheard(record) >= 4).await;
    cart.delete("once").await.unwrap();
    let mut told = lattice.listen("cart").await;
    assert_eq!(told.within(MS(500)).await, []);
}

#[tokio::test]
async fn jobs_belong_to_the_component_and_its_link() {
    let mut lattice = Lattice::start(PROGRAM).await;
    let one = lattice.link("one", "default", &[]).await;
    let other = lattice.link("other", "default", &[]).await;
    let more = lattice.link("one", "more", &[]).await;
    let far = Trigger::EveryMs(1_000_000);
    for component in [&one, &other, &more] {
        component.put("same", far.clone()).await.unwrap();
    }
    one.delete("same").await.unwrap();
    assert!(one.names().await.is_empty());
    assert_eq!(other.names().await, ["same"]);
    assert_eq!(more.names().await, ["same"]);
    let job = Job {
        name: "b \u{fc}.*".to_owned(),
        trigger: Trigger::Cron("0 8 * * *".to_owned()),
        time_zone: Some("Asia/Tokyo".to_owned()),
        payload: Bytes::from_static(&[0, 255]),
    };
    more.put_job(&job).await.unwrap();
    more.put("a", far).await.unwrap();
    assert_eq!(more.names().await, ["a", &job.name, "same"]);
    assert_eq!(more.list().await.unwrap()[1], job);
}

#[tokio::test]
async fn what_cannot_be_put_is_refused_by_name() {
    let mut lattice = Lattice::start(PROGRAM).await;
    let limits = [("max_jobs", "2"), ("max_payload_bytes", "4")];
    let cart = lattice.link("cart", "default", &limits).await;
    let far = Trigger::EveryMs(1_000_000);
    let error = cart.put("long payload", far.clone()).await.unwrap_err();
    assert!(matches!(&error, Error::InvalidJob(why) if why.contains("max_payload_bytes")));
    for name in ["", &"n".repeat(257)] {
        let error = cart.put(name, far.clone()).await.unwrap_err();
        assert!(matches!(error, Error::InvalidJob(_)), "{error:?}");
    }
    for trigger in [Trigger::Cron("x".to_owned()), Trigger::EveryMs(99)] {
        let error = cart.put("a", trigger).await.unwrap_err();
        assert!(matches!(error, Error::InvalidTrigger(_)), "{error:?}");
    }
    cart.put("a", far.clone()).await.unwrap();
    cart.put("b", far.clone()).await.unwrap();
    let error = cart.put("c", far.clone()).await.unwrap_err();
    assert!(
        matches!(&error, Error::LimitReached(why) if why.contains("max_jobs")),
        "{error:?}"
    );
    // One that is there may be put again.
    cart.put("b", Trigger::EveryMs(2_000_000)).await.unwrap();
}

#[tokio::test]
async fn a_link_alone_makes_a_job() {
    let mut lattice = Lattice::start(PROGRAM).await;
    let mut told = lattice.listen("cart").await;
    let config = [("every_ms", "300"), ("payload", "hello"), ("job", "greet")];
    lattice.put_handler("cart", &config).await;
    lattice.report_of(LinkState::Ready).await;
    lattice.run_copy().await;
    let first = told.tick().await;
    assert_eq!((&*first.job, &first.payload[..]), ("greet", &b"hello"[..]));
    let mut ticks = vec![first];
    ticks.extend(told.within(MS(1300)).await);
    assert!(ticks.len() >= 4);
    assert_once(&ticks, 300);
    lattice.unlink().await;
    told.within(MS(400)).await;
    assert_eq!(told.within(MS(700)).await, []);
}

#[tokio::test]
async fn a_link_that_goes_takes_only_its_own_job_along() {
    let mut lattice = Lattice::start(PROGRAM).await;
    let cart = lattice.link("cart", "default", &[]).await;
    let of_link = |job| [("every_ms", "1000000"), ("payload", "hello"), ("job", job)];
    lattice.put_handler("cart", &of_link("greet")).await;
    lattice.report_of(LinkState::Ready).await;
    assert_eq!(cart.names().await, ["greet"]);
    cart.put("greet", Trigger::EveryMs(2_000_000))
        .await
        .unwrap();
    for (job, names) in [("one", ["greet", "one"]), ("two", ["greet", "two"])] {
        lattice.unlink().await;
        lattice.put_handler("cart", &of_link(job)).await;
        lattice.report_of(LinkState::Ready).await;
        assert_eq!(cart.names().await, names);
    }
}

/// A handler that is not done is not told again through a link that is gone.
#[tokio::test]
async fn a_link_that_goes_ends_the_attempts() {
    let mut lattice = Lattice::start(PROGRAM).await;
    let mut told = lattice.listen("cart").await;
    let config = [("every_ms", "300"), ("retry_ms", "1000")];
    lattice.put_handler("cart", &config).await;
    *told.plans.lock() = vec![Plan::Fail("not now"); 4];
    told.tick().await;
    lattice.unlink().await;
    assert_eq!(told.within(MS(2000)).await, []);
}

#[tokio::test]
async fn links_that_cannot_be_served_are_refused_by_name() {
    let mut lattice = Lattice::start(PROGRAM).await;
    for (config, says) in [
        (("bucket", "a.b"), "bucket"),
        (("on_lost", "maybe"), "on_lost"),
        (("require", "resolution-ms>=1000"), "resolution-ms"),
        (("cluster_uri", "nats://127.0.0.1:1"), "127.0.0.1:1"),
    ] {
        lattice.put("cart", says, &[config]).await;
        let reason = lattice.report_of(LinkState::Failed).await.reason.unwrap();
        assert!(reason.contains(says), "{reason}");
        lattice.unlink().await;
    }
    lattice.put_handler("cart", &[("cron", "60 * * * *")]).await;
    let reason = lattice.report_of(LinkState::Failed).await.reason.unwrap();
    assert!(reason.contains("60 * * * *"), "{reason}");
    lattice.unlink().await;
    let own = ("cron", "0 8 * * *");
    for (required, lacking) in [
        ("cron, once, max-jobs>=1, max-payload-bytes>=1000", None),
        ("max-jobs>=2", Some("`max-jobs>=2`")),
    ] {
        let config = [own, ("require", required)];
        lattice.put_handler("cart", &config).await;
        let state = lacking.map_or(LinkState::Ready, |_| LinkState::Failed);
        let reason = lattice.report_of(state).await.reason.unwrap_or_default();
        assert!(reason.contains(lacking.unwrap_or_default()), "{reason}");
        lattice.unlink().await;
    }
    let again = [("on_lost", "again"), ("require", "once")];
    lattice.put("cart", "other", &again).await;
    let reason = lattice.report_of(LinkState::Failed).await.reason.unwrap();
    assert!(reason.contains("`once`"), "{reason}");
    lattice.unlink().await;
    let private = NatsBoxOptions::private("job_store", "sesame");
    let private = NatsBox::start_with(private).await.unwrap();
    let url = |login: &str| private.url.replace("//", &format!("//{login}@"));
    let wrong = url("job_store:wr0ng");
    lattice
        .put("cart", "wrong", &[("cluster_uri", &wrong)])
        .await;
    let reason = lattice.report_of(LinkState::Failed).await.reason.unwrap();
    assert!(reason.contains("authorization violation"), "{reason}");
    assert!(!reason.contains("wr0ng"), "{reason}");
    let right = url("job_store:sesame");
    let cart = lattice
        .link("cart", "right", &[("cluster_uri", &right)])
        .await;
    assert!(cart.names().await.is_empty());
}
