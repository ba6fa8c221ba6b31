//! What every lock provider has to do, beyond what a component can see by itself.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::StreamExt as _;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::{Component, Error, Lattice, Lease, PATIENCE};

type Config<'a> = &'a [(&'a str, &'a str)];

const MS: fn(u64) -> Duration = Duration::from_millis;

/// What a lock guards: refuses who comes with an older fence than one before, and two at a time.
#[derive(Default)]
struct Guarded {
    state: parking_lot::Mutex<(u64, u64)>,
    inside: std::sync::atomic::AtomicU32,
}

impl Guarded {
    /// One round of a holder: adds one by reading and writing with a pause in between.
    async fn add(&self, fence: u64) {
        assert_eq!(self.inside.fetch_add(1, Ordering::SeqCst), 0, "two holders");
        let (count, last) = *self.state.lock();
        assert!(fence > last, "the fence {fence} came after {last}");
        tokio::task::yield_now().await;
        *self.state.lock() = (count + 1, fence);
        self.inside.fetch_sub(1, Ordering::SeqCst);
    }

    /// What a late holder hears.
    fn takes(&self, fence: u64) -> bool {
        fence >= self.state.lock().1
    }
}

async fn race(component: Component, name: &'static str, guarded: Arc<Guarded>, rounds: u32) {
    for _ in 0..rounds {
        let lease = component.acquire(name, 10_000, 20_000).await.unwrap();
        guarded.add(lease.fence).await;
        component.release(&lease).await.unwrap();
    }
}

/// Two components, through two copies of the provider, for 200 rounds.
pub async fn two_components_race(lattice: &mut Lattice, config: Config<'_>) {
    let one = lattice.link("one", "default", config).await;
    let other = lattice.link("other", "default", config).await;
    lattice.run_copy().await;
    let guarded = Arc::new(Guarded::default());
    let mut racers = JoinSet::new();
    for component in [one, other] {
        racers.spawn(race(component, "raced", Arc::clone(&guarded), 100));
    }
    let raced = async {
        while let Some(done) = racers.join_next().await {
            done.unwrap()
        }
    };
    tokio::time::timeout(3 * PATIENCE, raced).await.unwrap();
    assert_eq!(guarded.state.lock().0, 200);
}

/// 64 at once, each gets its turn.
pub async fn many_wait(lattice: &mut Lattice, config: Config<'_>) {
    let component = lattice.link("many", "default", config).await;
    let guarded = Arc::new(Guarded::default());
    let mut racers = JoinSet::new();
    for _ in 0..64 {
        racers.spawn(race(component.clone(), "wanted", Arc::clone(&guarded), 1));
    }
    let raced = async {
        while let Some(done) = racers.join_next().await {
            done.unwrap()
        }
    };
    tokio::time::timeout(3 * PATIENCE, raced).await.unwrap();
    assert_eq!(guarded.state.lock().0, 64);
}

/// A holder that sleeps past its time is fenced out; how long the next one waits is bounded.
pub async fn a_paused_holder_is_fenced_out(lattice: &mut Lattice, config: Config<'_>) {
    let sleeper = lattice.link("sleeper", "default", config).await;
    let next = lattice.link("next", "default", config).await;
    let held = sleeper.acquire("paused", 2000, 0).await.unwrap();
    let taken = Instant::now();
    let Err(Error::Held(Some(holder))) = next.acquire("paused", 2000, 0).await else {
        panic!("it is held");
    };
    assert_eq!((&*holder.owner, holder.fence), ("sleeper", held.fence));
    assert!(holder.expires_in_ms.unwrap() <= held.ttl_ms);
    let got = next.acquire("paused", 2000, 20_000).await.unwrap();
    let waited = taken.elapsed();
    let ttl = MS(held.ttl_ms.into());
    assert!(
        waited + MS(100) >= ttl,
        "{waited:?} is before the end of {ttl:?}"
    );
    assert!(waited <= ttl + MS(1000), "{waited:?}");
    assert!(got.fence > held.fence);
    let guarded = Guarded::default();
    guarded.add(got.fence).await;
    assert!(!guarded.takes(held.fence));
    assert_eq!(sleeper.renew(&held, 2000).await, Err(Error::NotHeld));
    assert_eq!(sleeper.release(&held).await, Err(Error::NotHeld));
    let now = next.inspect("paused").await.unwrap().unwrap();
    assert_eq!((&*now.owner, now.fence), ("next", got.fence));
    next.release(&got).await.unwrap();
    assert_eq!(next.inspect("paused").await, Ok(None));
}

/// A lease that is kept lasts, and its fence stays.
pub async fn a_kept_lease_lasts(lattice: &mut Lattice, config: Config<'_>) {
    let keeper = lattice.link("keeper", "default", config).await;
    let other = lattice.link("other", "default", config).await;
    let mut lease = keeper.acquire("kept", 2000, 0).await.unwrap();
    let fence = lease.fence;
    let begun = Instant::now();
    while begun.elapsed() < MS(5000) {
        tokio::time::sleep(MS(700)).await;
        lease = keeper.renew(&lease, 2000).await.unwrap();
        assert_eq!(lease.fence, fence);
        assert!(matches!(
            other.acquire("kept", 2000, 0).await,
            Err(Error::Held(_))
        ));
    }
    // With another time from now on.
    lease = keeper.renew(&lease, 60_000).await.unwrap();
    assert_eq!((lease.ttl_ms, lease.fence), (60_000, fence));
    let holder = other.inspect("kept").await.unwrap().unwrap();
    assert!(holder.expires_in_ms.unwrap() > 30_000);
    keeper.release(&lease).await.unwrap();
    other.acquire("kept", 2000, 0).await.unwrap();
}

/// A token is of no use to another component, and none at all once it was used up.
pub async fn tokens_are_bound(lattice: &mut Lattice, config: Config<'_>) {
    let owner = lattice.link("owner", "default", config).await;
    let thief = lattice.link("thief", "default", config).await;
    let lease = owner.acquire("bound", 10_000, 0).await.unwrap();
    assert_eq!(thief.renew(&lease, 10_000).await, Err(Error::NotHeld));
    assert_eq!(thief.release(&lease).await, Err(Error::NotHeld));
    let forged = Lease {
        token: format!("{}.bound", "0".repeat(32)),
        ..lease.clone()
    };
    for token in [forged.token.as_str(), "", "x", "bound"] {
        let forged = Lease {
            token: token.to_owned(),
            ..lease.clone()
        };
        assert_eq!(owner.release(&forged).await, Err(Error::NotHeld));
    }
    owner.release(&lease).await.unwrap();
    assert_eq!(owner.release(&lease).await, Err(Error::NotHeld));
    let elsewhere = owner.acquire_in("other", "bound", 10_000, 0).await.unwrap();
    owner.acquire("bound", 10_000, 0).await.unwrap();
    owner.release(&elsewhere).await.unwrap();
}

/// A wait ends before its deadline, with an answer; who gave up leaves nothing behind.
pub async fn waits_end(lattice: &mut Lattice, config: Config<'_>) {
    let holder = lattice.link("holder", "default", config).await;
    let waiter = lattice.link("waiter", "default", config).await;
    let lease = holder.acquire("busy", 60_000, 0).await.unwrap();
    let begun = Instant::now();
    let waited = waiter.acquire("busy", 2000, 500).await;
    assert!(matches!(waited, Err(Error::Held(Some(_)))), "{waited:?}");
    assert!(begun.elapsed() >= MS(450) && begun.elapsed() < MS(3000));
    // The deadline is nearer than the end of the wait.
    let begun = Instant::now();
    let waited = waiter.within(MS(1500)).acquire("busy", 2000, 60_000).await;
    assert!(matches!(waited, Err(Error::Held(_))), "{waited:?}");
    assert!(begun.elapsed() < MS(1500));
    // One that goes away while it waits.
    let gone = waiter.clone();
    let gone = tokio::spawn(async move { gone.try_acquire("busy", 60_000, 60_000).await });
    tokio::time::sleep(MS(300)).await;
    gone.abort();
    let _ = gone.await;
    tokio::time::sleep(MS(200)).await;
    holder.release(&lease).await.unwrap();
    let lease = holder.acquire("busy", 2000, 5000).await.unwrap();
    holder.release(&lease).await.unwrap();
}

/// What a link says about its limits.
pub async fn limits_hold(lattice: &mut Lattice, config: Config<'_>) {
    let limits = [
        ("ttl_ms", "7000"),
        ("ttl_max_ms", "9000"),
        ("max_waiters", "1"),
    ];
    let config: Vec<_> = config.iter().copied().chain(limits).collect();
    let component = lattice.link("limited", "default", &config).await;
    let lease = component.acquire("a", 0, 0).await.unwrap();
    assert_eq!(lease.ttl_ms, 7000);
    let short = component.acquire("b", 1, 0).await.unwrap();
    assert!(short.ttl_ms > 1 && short.ttl_ms < 7000);
    let error = component.acquire("c", 9001, 0).await.unwrap_err();
    assert!(matches!(&error, Error::InvalidTtl(why) if why.contains("ttl_max_ms")));
    let long = "n".repeat(513);
    for name in ["", &long] {
        let error = component.acquire(name, 0, 0).await.unwrap_err();
        assert!(matches!(error, Error::InvalidName(_)), "{error:?}");
    }
    let both = tokio::join!(
        component.acquire("a", 0, 500),
        component.acquire("a", 0, 500)
    );
    let ((Err(Error::Held(_)), Err(Error::Unavailable(why)))
    | (Err(Error::Unavailable(why)), Err(Error::Held(_)))) = both
    else {
        panic!("one of two can wait: {both:?}");
    };
    assert!(why.contains("max_waiters"), "{why}");
}

/// One component leads at a time; the next one follows a kill within its time and a second.
pub async fn leaders_follow_each_other(lattice: &mut Lattice, config: Config<'_>) {
    let election = [("election", "chief"), ("ttl_ms", "3000")];
    let config: Vec<_> = config.iter().copied().chain(election).collect();
    let mut leader = lattice.leader("chief").await;
    lattice.put_leader("chief", &config).await;
    let first = leader.elected().await;
    assert_eq!((&*first.name, first.ttl_ms), ("chief", 3000));
    let second_copy = lattice.run_copy().await;
    // It stays in office for longer than a lease without being told anything.
    tokio::time::sleep(MS(4000)).await;
    lattice.kill(0).await;
    let killed = Instant::now();
    let second = leader.elected().await;
    assert!(killed.elapsed() <= MS(4000), "{:?}", killed.elapsed());
    assert!(second.fence > first.fence);
    // A copy that is stopped tells, and leaves the office free.
    let third_copy = lattice.run_copy().await;
    lattice.stop(second_copy).await;
    assert_eq!(leader.lost().await, second.fence);
    let third = leader.elected().await;
    assert!(third.fence > second.fence);
    // The link goes.
    lattice.unlink().await;
    assert_eq!(leader.lost().await, third.fence);
    let _ = third_copy;
}

/// A component that declines is asked again, and one that resigns is told that it has lost.
pub async fn offices_are_given_up(lattice: &mut Lattice, config: Config<'_>) {
    let mut leader = lattice.leader("shy").await;
    leader.declines.store(true, Ordering::Relaxed);
    let component = lattice.link("shy", "default", config).await;
    let election = [("election", "shy"), ("ttl_ms", "4000")];
    let config: Vec<_> = config.iter().copied().chain(election).collect();
    lattice.put_leader("shy", &config).await;
    let first = leader.elected().await;
    leader.declines.store(false, Ordering::Relaxed);
    let second = leader.elected().await;
    assert!(second.fence > first.fence);
    component.release(&second).await.unwrap();
    assert_eq!(leader.lost().await, second.fence);
    assert!(leader.elected().await.fence > second.fence);
}

/// A component that does not hear that it has lost may go on: the next one waits for the end of its
/// time.
pub async fn a_deaf_leader_keeps_its_time(lattice: &mut Lattice, config: Config<'_>) {
    let election = [("election", "deaf"), ("ttl_ms", "9000")];
    let config: Vec<_> = config.iter().copied().chain(election).collect();
    let mut leader = lattice.leader("deaf").await;
    lattice.put_leader("deaf", &config).await;
    let first = leader.elected().await;
    lattice.run_copy().await;
    leader.is_deaf.store(true, Ordering::Relaxed);
    let stopped = Instant::now();
    lattice.stop(0).await;
    let second = leader.elected().await;
    assert!(second.fence > first.fence);
    // It was renewed when a third of its time was over.
    assert!(stopped.elapsed() >= MS(5000), "{:?}", stopped.elapsed());
}

/// A component that has no room to hear of its election does not lead: the office is free long before
/// its time is over.
pub async fn an_office_that_nobody_heard_of_is_free(lattice: &mut Lattice, config: Config<'_>) {
    let _full = lattice.full_leader("full").await;
    let rival = lattice.link("rival", "default", config).await;
    let nats = lattice.peer.nats();
    let mut calls = nats.subscribe("default.full.wrpc.>").await.unwrap();
    lattice.peer.confirm(PATIENCE).await.unwrap();
    let election = [("election", "full"), ("ttl_ms", "60000")];
    let config: Vec<_> = config.iter().copied().chain(election).collect();
    lattice.put_leader("full", &config).await;
    let called = tokio::time::timeout(PATIENCE, calls.next()).await;
    assert!(called.unwrap().is_some());
    rival.acquire("full", 2000, 20_000).await.unwrap();
}
