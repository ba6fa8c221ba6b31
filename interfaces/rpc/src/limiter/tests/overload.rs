//! A limiter behind a gate, under more calls than can be served: a host in miniature.
//!
//! Time is tokio's and stands still while anything can be done, so that all of this takes no time.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use crate::gate::{Gate, Spent};
use crate::limiter::Limiter;

const CORES: usize = 2;
/// How much a call computes.
const WORK: Duration = Duration::from_millis(10);
/// How long a call that computes keeps its core at a stretch.
const SLICE: Duration = Duration::from_millis(1);
const LONG: Duration = Duration::from_secs(10);

/// What came of the calls of some time.
#[derive(Debug, Default)]
struct Outcome {
    took: Vec<Duration>,
    refused: usize,
}

impl Outcome {
    fn per_second(&self, time: Duration) -> f64 {
        self.took.len() as f64 / time.as_secs_f64()
    }

    fn p99(&mut self) -> Duration {
        self.took.sort_unstable();
        self.took[self.took.len() * 99 / 100]
    }
}

/// Some cores that calls share, slice by slice.
struct Machine {
    cores: tokio::sync::Semaphore,
    ready: AtomicUsize,
    gate: Gate,
}

impl Machine {
    fn start() -> (Arc<Self>, tokio_util::task::AbortOnDropHandle<()>) {
        let machine = Arc::new(Self {
            cores: tokio::sync::Semaphore::new(CORES),
            ready: AtomicUsize::new(0),
            gate: Gate::new(CORES),
        });
        let watched = Arc::clone(&machine);
        let watch = tokio::spawn(async move {
            loop {
                // How long one more would wait from turn to turn, which is what a probe measures.
                let mut least = LONG;
                for _ in 0..5 {
                    sleep(Duration::from_millis(10)).await;
                    let ready = watched.ready.load(Ordering::Relaxed) as u32;
                    least = least.min(SLICE * ready / CORES as u32);
                }
                watched.gate.press(least, SLICE * 3 / 2);
            }
        });
        (machine, tokio_util::task::AbortOnDropHandle::new(watch))
    }

    async fn compute(&self, mut work: Duration) {
        self.ready.fetch_add(1, Ordering::Relaxed);
        while !work.is_zero() {
            let core = self.cores.acquire().await.unwrap();
            sleep(work.min(SLICE)).await;
            work = work.saturating_sub(SLICE);
            drop(core);
            tokio::task::yield_now().await;
        }
        self.ready.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A component of the machine.
struct Component {
    machine: Arc<Machine>,
    limiter: Limiter,
    work: Duration,
    wait: Duration,
}

impl Component {
    fn new(machine: &Arc<Machine>, name: &str, work: Duration, wait: Duration) -> Arc<Self> {
        let limiter = Limiter::new(100, 1024, Duration::from_secs(1));
        Arc::new(Self {
            machine: Arc::clone(machine),
            limiter: limiter.behind(&machine.gate, name),
            work,
            wait,
        })
    }

    /// How long one call took, or nothing if it was refused.
    async fn call(&self) -> Option<Duration> {
        let asked = Instant::now();
        let permit = self.limiter.acquire(asked + LONG).await.ok()?;
        let began = Instant::now();
        sleep(self.wait).await;
        self.machine.compute(self.work).await;
        let polls = (self.work.as_nanos() / SLICE.as_nanos()) as u32;
        self.limiter.learn(Spent {
            busy: self.work,
            stretches: polls,
            waited: polls * self.limiter.wait_here(),
            whole: began.elapsed(),
        });
        drop(permit);
        Some(asked.elapsed())
    }

    /// Calls that come at an even pace for some time.
    async fn load(self: &Arc<Self>, per_second: f64, time: Duration) -> Outcome {
        let begin = Instant::now();
        let mut calls = JoinSet::new();
        let mut outcome = Outcome::default();
        for call in 0..(per_second * time.as_secs_f64()) as u32 {
            sleep_until(begin + Duration::from_secs_f64(f64::from(call) / per_second)).await;
            let this = Arc::clone(self);
            calls.spawn(async move { this.call().await });
        }
        while let Some(took) = calls.join_next().await {
            match took.unwrap() {
                Some(took) => outcome.took.push(took),
                None => outcome.refused += 1,
            }
        }
        outcome
    }
}

/// What the machine gets done of calls that only compute.
fn capacity() -> f64 {
    CORES as f64 / WORK.as_secs_f64()
}

#[tokio::test(start_paused = true)]
async fn goodput_stays_and_answers_come_in_time_up_to_five_times_the_capacity() {
    let (machine, _watch) = Machine::start();
    let one = Component::new(&machine, "one", WORK, Duration::ZERO);
    let mut unloaded = one.load(capacity() * 0.5, LONG).await;
    assert_eq!(unloaded.refused, 0);
    let time = Duration::from_secs(60);
    for times in [1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 5.0] {
        let mut outcome = one.load(capacity() * times, time).await;
        let goodput = outcome.per_second(time);
        assert!(
            goodput >= 0.9 * capacity(),
            "{times}: {goodput} of {}",
            capacity()
        );
        let (p99, usual) = (outcome.p99(), unloaded.p99());
        assert!(p99 <= 3 * usual, "{times}: {p99:?} against {usual:?}");
    }
    let mut back = one.load(capacity() * 0.5, Duration::from_secs(2)).await;
    assert_eq!((back.refused, back.p99() < 2 * unloaded.p99()), (0, true));
    assert_eq!(one.limiter.stats().free, 100);
}

#[tokio::test(start_paused = true)]
async fn callers_who_wait_for_their_answers_are_not_refused() {
    let (machine, _watch) = Machine::start();
    let one = Component::new(&machine, "one", WORK, Duration::ZERO);
    let mut clients = JoinSet::new();
    // Together they wait for a fifth of a second.
    for _ in 0..40 {
        let one = Arc::clone(&one);
        clients.spawn(async move {
            let mut refused = 0;
            for _ in 0..100 {
                refused += usize::from(one.call().await.is_none());
            }
            refused
        });
    }
    assert_eq!(clients.join_all().await.iter().sum::<usize>(), 0);
}

#[tokio::test(start_paused = true)]
async fn calls_that_mostly_wait_are_not_held_up() {
    let (machine, _watch) = Machine::start();
    let patience = Duration::from_millis(100);
    let busy = Component::new(&machine, "busy", WORK, Duration::ZERO);
    let patient = Component::new(&machine, "patient", SLICE, patience);
    let flood = Arc::clone(&busy);
    let flood = tokio::spawn(async move { flood.load(3.0 * capacity(), LONG).await });
    sleep(Duration::from_secs(1)).await;
    // Fifty at a time, with a quarter of what the machine has.
    let mut outcome = patient.load(500.0, Duration::from_secs(8)).await;
    assert_eq!(outcome.refused, 0);
    assert!(outcome.p99() < 2 * patience, "{:?}", outcome.p99());
    assert!(flood.await.unwrap().refused > 0);
}

#[tokio::test(start_paused = true)]
async fn a_quiet_component_is_served_while_another_is_flooded() {
    let (machine, _watch) = Machine::start();
    let flooded = Component::new(&machine, "flooded", WORK, Duration::ZERO);
    let quiet = Component::new(&machine, "quiet", WORK, Duration::ZERO);
    let mut alone = quiet.load(20.0, LONG).await;
    let flood = tokio::spawn(async move { flooded.load(5.0 * capacity(), LONG).await });
    sleep(Duration::from_secs(1)).await;
    let mut outcome = quiet.load(20.0, Duration::from_secs(8)).await;
    assert_eq!(outcome.refused, 0);
    let (p99, usual) = (outcome.p99(), alone.p99());
    assert!(p99 <= 3 * usual, "{p99:?} against {usual:?}");
    let goodput = flood.await.unwrap().per_second(LONG);
    assert!(goodput >= 0.8 * capacity(), "{goodput}");
}
