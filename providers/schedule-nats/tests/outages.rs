//! Ticks while NATS is away: that of the lattice, or that of the jobs. The copies of the provider are
//! processes of their own.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_nats::jetstream;
use lattice_nats_box::{Middleman, NatsBox};
use serde_json::{Value, json};
use support::{Lattice, PATIENCE, Plan, Trigger};

const PROGRAM: &str = env!("CARGO_BIN_EXE_schedule-nats-provider");
const MS: fn(u64) -> Duration = Duration::from_millis;

fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    now.as_millis().try_into().unwrap()
}

/// The provider can take the tick, but not call the component.
#[tokio::test]
async fn a_tick_whose_call_was_never_sent_is_not_used_up() {
    let mut lattice = Lattice::start(PROGRAM).await;
    let nats = NatsBox::start().await.unwrap();
    let mut told = lattice.listen("cart").await;
    let at = ("cluster_uri", nats.url.as_str());
    let config = [at, ("deadline_ms", "300"), ("retry_ms", "10")];
    lattice.link("cart", "default", &config).await;
    let jetstream = jetstream::new(nats.client().await.unwrap());
    let jobs = jetstream.get_key_value("schedule_default").await.unwrap();
    lattice.nats.stop();
    // Put past the provider, which can be told of no job now. It has noticed the outage when this is due.
    let at = now_ms() + 1000;
    let record = json!({
        "component": "cart", "link": "default", "job": "once",
        "trigger": {"at_ms": at}, "from": 0, "next": at,
    });
    let key = "cart.default.once";
    jobs.put(key, record.to_string().into()).await.unwrap();
    let unheard = async {
        loop {
            let value = jobs.get(key).await.unwrap().expect("the tick to wait");
            let record: Value = serde_json::from_slice(&value).unwrap();
            if record["tried"]["unheard"].as_u64() > Some(0) {
                return;
            }
            tokio::time::sleep(MS(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, unheard).await.unwrap();
    lattice.nats.restart().await.unwrap();
    let tick = told.tick().await;
    assert_eq!((&*tick.job, tick.due_ms, tick.missed), ("once", at, 0));
}

/// There is nothing to wait for: the outage is what is tested, and is longer than the silence after which a
/// copy is taken to be gone.
#[tokio::test]
async fn handlers_do_not_overlap_after_an_outage_of_the_jobs() {
    let mut lattice = Lattice::start(PROGRAM).await;
    let mut nats = NatsBox::start().await.unwrap();
    let url = nats.url.clone();
    let mut told = lattice.listen("cart").await;
    let config = [("cluster_uri", url.as_str()), ("deadline_ms", "60000")];
    let cart = lattice.link("cart", "default", &config).await;
    lattice.run_copy().await;
    let names: Vec<_> = (0..8).map(|n| format!("job-{n}")).collect();
    *told.plans.lock() = vec![Plan::Take(MS(40_000)); names.len()];
    for name in &names {
        cart.put(name, Trigger::EveryMs(300)).await.unwrap();
    }
    for _ in &names {
        told.tick().await;
    }
    nats.stop();
    tokio::time::sleep(MS(5000)).await;
    nats.restart().await.unwrap();
    assert_eq!(told.within(MS(5000)).await, [], "others are under way");
}

/// There is nothing to wait for: that no other copy takes the tick is what is tested, for longer than the
/// silence after which this one would be taken to be gone.
#[tokio::test]
async fn who_tells_of_a_tick_is_not_taken_for_gone_while_answers_are_late() {
    let mut lattice = Lattice::start(PROGRAM).await;
    let nats = NatsBox::start().await.unwrap();
    let middleman = Middleman::before(nats.port).await.unwrap();
    let url = middleman.instead_of(&nats.url);
    let mut told = lattice.listen("cart").await;
    let config = [("cluster_uri", url.as_str()), ("deadline_ms", "60000")];
    let cart = lattice.link("cart", "default", &config).await;
    lattice.run_copy().await;
    *told.plans.lock() = vec![Plan::Take(MS(40_000))];
    cart.put("job", Trigger::EveryMs(300)).await.unwrap();
    told.tick().await;
    middleman.delay_answers(MS(1300));
    assert_eq!(told.within(MS(9000)).await, [], "it is under way");
}
