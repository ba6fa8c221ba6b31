//! More requests than a host can answer, whether or not answers come: what it still gets done, and
//! how soon it is well again.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use lattice_core::Locality;
use lattice_integration::Lattice;
use tokio::task::JoinSet;
use tokio::time::{sleep_until, timeout_at};

use crate::bed;
use crate::histogram::Histogram;
use crate::http_load::{self, Connection};
use crate::load::on_one_thread;
use crate::meter::{self, Meter, Sample};
use crate::report::{Figure, Report};

/// What this adds.
pub(crate) const NAMES: &[&str] = &[
    "overload_capacity",
    "overload_peak",
    "overload_goodput",
    "overload_p99_unloaded",
    "overload_p99",
    "overload_recovery",
    "overload_at_0.5",
    "overload_at_1",
    "overload_at_2",
    "overload_at_3",
    "overload_at_4",
    "overload_at_5",
];
const CAPACITY: &str = NAMES[0];
const PEAK: &str = NAMES[1];
const GOODPUT: &str = NAMES[2];
const P99_UNLOADED: &str = NAMES[3];
const P99: &str = NAMES[4];
const RECOVERY: &str = NAMES[5];

/// A request that costs the host much more than it costs the load generator, or that would be what
/// is measured.
const PATH: &str = "/stream/65536";
/// How many requests the load generator can have open. Beyond it, those that find no connection in
/// time are given up without being sent.
const CLIENTS: usize = 512;
/// How long a request waits for a connection: what waits longer waits for the load generator, and would
/// reach the host when its client is about to give up.
const LATEST: Duration = Duration::from_millis(100);
/// How many connections measure the capacity.
const CLOSED: usize = 32;
/// When a client gives up.
const PATIENCE: Duration = Duration::from_secs(1);
/// How finely recovery is looked at.
const SLOT: Duration = Duration::from_millis(100);

/// Loads as shares of the capacity, and how they are called.
const LOADS: [(f64, &str); 6] = [
    (0.5, NAMES[6]),
    (1.0, NAMES[7]),
    (2.0, NAMES[8]),
    (3.0, NAMES[9]),
    (4.0, NAMES[10]),
    (5.0, NAMES[11]),
];
/// The first of [`LOADS`] that leaves nothing to spare: the host is judged by the worst from here.
const LOADED: usize = 1;
/// How long a load lasts at least in a full run: all of them take a minute.
const FULL: Duration = Duration::from_secs(10);
/// How long the way back is looked at, at least: longer than it may take.
const BACK: Duration = Duration::from_secs(5);

/// What came of a load.
#[derive(Debug, Default)]
struct Outcome {
    good: u64,
    latencies: Histogram,
    /// Requests due in each [`SLOT`], and those of them that were answered in time.
    slots: Vec<(u64, u64)>,
}

impl Outcome {
    fn count(&mut self, due: Duration, took: Option<Duration>) {
        let slot = (due.as_millis() / SLOT.as_millis()) as usize;
        if self.slots.len() <= slot {
            self.slots.resize(slot + 1, (0, 0));
        }
        self.slots[slot].0 += 1;
        if let Some(took) = took {
            self.slots[slot].1 += 1;
            self.good += 1;
            self.latencies.record(took);
        }
    }

    fn merge(&mut self, other: &Self) {
        self.good += other.good;
        self.latencies.merge(&other.latencies);
        if self.slots.len() < other.slots.len() {
            self.slots.resize(other.slots.len(), (0, 0));
        }
        for (own, other) in self.slots.iter_mut().zip(&other.slots) {
            *own = (own.0 + other.0, own.1 + other.1);
        }
    }

    /// Microseconds that one good answer in a hundred exceeds; as long as clients wait when there is
    /// none.
    fn tail(&self) -> f64 {
        let none = PATIENCE.as_micros() as f64;
        self.latencies.percentile(0.99).unwrap_or(none)
    }

    /// The end of the last slot in which fewer than nine in ten were answered.
    fn recovery(&self) -> Duration {
        let bad = |(due, good): &(u64, u64)| good * 10 < due * 9;
        let slots = self.slots.iter().rposition(bad).map_or(0, |at| at + 1);
        SLOT * slots as u32
    }
}

/// So many requests for some time.
#[derive(Debug, Clone, Copy)]
struct Phase {
    per_second: f64,
    time: Duration,
}

impl Phase {
    fn requests(self) -> u64 {
        (self.per_second * self.time.as_secs_f64()).ceil() as u64
    }
}

/// When a request is due.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Due {
    /// After the start of the first phase.
    at: Duration,
    /// Which phase it belongs to, and when it is due after the start of that.
    phase: usize,
    within: Duration,
}

/// Requests that become due at an even pace in each phase, one phase right after the other.
#[derive(Debug)]
struct Pace {
    start: Instant,
    phases: Vec<Phase>,
    next: AtomicU64,
}

impl Pace {
    /// The next request; nothing at the end.
    fn next(&self) -> Option<Due> {
        let mut index = self.next.fetch_add(1, Ordering::Relaxed);
        let mut before = Duration::ZERO;
        for (number, phase) in self.phases.iter().enumerate() {
            if index < phase.requests() {
                let within = Duration::from_secs_f64(index as f64 / phase.per_second);
                return Some(Due {
                    at: before + within,
                    phase: number,
                    within,
                });
            }
            index -= phase.requests();
            before += phase.time;
        }
        None
    }
}

/// Measures the capacity, then goodput at each load, then how long the way back takes.
pub(crate) async fn run(report: &mut Report, time: Duration, full: bool) -> Result<()> {
    let (mut lattice, meter) = bed::metered(1).await?;
    let address = open(&mut lattice).await?;
    let measured = capacity(&lattice, &meter, &address, time).await?;
    let capacity = measured.value;
    report.add(measured);
    // Longer than a closed loop runs: a queue takes its time to fill.
    let step = if full { FULL.max(time * 3) } else { time * 3 };
    let phase = |load: f64, time| Phase {
        per_second: capacity * load,
        time,
    };
    let mut phases: Vec<_> = LOADS.iter().map(|(load, _)| phase(*load, step)).collect();
    phases.push(phase(LOADS[0].0, step.max(BACK)));
    let mut outcomes = on_one_thread(move || open_loop(address, phases)).await?;
    let back = outcomes.pop().context("no way back")?;
    tell_loads(report, &outcomes, step);
    summarize(report, &outcomes, step);
    let ms = back.recovery().as_secs_f64() * 1000.0;
    report.add(Figure::new(RECOVERY, ms, "ms"));
    Ok(())
}

/// What a closed loop gets done: enough connections to keep all cores at work, and few enough that
/// nothing is refused.
async fn capacity(
    lattice: &Lattice,
    meter: &Meter,
    address: &str,
    time: Duration,
) -> Result<Figure> {
    let pids = [lattice.hosts[0].pid().context("the host has exited")?];
    let mut best: Option<Sample> = None;
    // The first is to warm up.
    for _ in 0..3 {
        let closed = http_load::get(address, PATH, CLOSED, time);
        let sample = meter.measure(&pids, closed).await?;
        if best.is_none_or(|best| best.per_second < sample.per_second) {
            best = Some(sample);
        }
    }
    Ok(meter::throughput(CAPACITY, best.as_slice()))
}

async fn open(lattice: &mut Lattice) -> Result<String> {
    bed::provide_inside(lattice, "inside", "http-server").await?;
    lattice.run(0, "busy", "http-probe", 100).await?;
    let address = bed::serve(lattice, "inside", "busy", Locality::LocalOnly).await?;
    lattice.until_status(&address, PATH, 200).await?;
    Ok(address)
}

fn goodput(outcome: &Outcome, time: Duration) -> f64 {
    outcome.good as f64 / time.as_secs_f64()
}

fn tell_loads(report: &mut Report, outcomes: &[Outcome], step: Duration) {
    for ((_, name), outcome) in LOADS.iter().zip(outcomes) {
        let mut figure = Figure::new(name, goodput(outcome, step), "req/s").over(step);
        figure.p99_us = outcome.latencies.percentile(0.99);
        report.add_against(figure, &[CAPACITY]);
    }
}

/// Adds the worst of the loads from the capacity on, beside the best that was ever got done and
/// the latency of a host that has time to spare.
fn summarize(report: &mut Report, outcomes: &[Outcome], step: Duration) {
    let all = step * outcomes.len() as u32;
    let goodputs = || outcomes.iter().map(|outcome| goodput(outcome, step));
    let capacity = report.get(CAPACITY).map_or(0.0, |figure| figure.value);
    let peak = goodputs().fold(capacity, f64::max);
    report.add(Figure::new(PEAK, peak, "req/s"));
    let least = goodputs().skip(LOADED).fold(f64::INFINITY, f64::min);
    report.add_against(Figure::new(GOODPUT, least, "req/s").over(all), &[PEAK]);
    let tails: Vec<f64> = outcomes.iter().map(Outcome::tail).collect();
    report.add(Figure::new(P99_UNLOADED, tails[0], "us"));
    let most = tails.into_iter().skip(LOADED).fold(0.0, f64::max);
    report.add_against(Figure::new(P99, most, "us").over(all), &[P99_UNLOADED]);
}

/// Sends requests when they are due; gives what came of each phase. An answer is good when it is
/// 200 and comes in time; its latency counts from when the request was due, not from when there
/// was a connection for it. A phase begins with what the one before has left undone, and leaves
/// its own to the next: nobody waits for a host to have caught up.
async fn open_loop(address: String, phases: Vec<Phase>) -> Result<Vec<Outcome>> {
    let paced = phases.iter().all(|phase| phase.per_second >= 1.0);
    ensure!(paced, "no capacity to speak of");
    let mut all: Vec<_> = phases.iter().map(|_| Outcome::default()).collect();
    let pace = Arc::new(Pace {
        start: Instant::now(),
        phases,
        next: AtomicU64::new(0),
    });
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        clients.spawn(client(address.clone(), pace.clone()));
    }
    while let Some(outcomes) = clients.join_next().await {
        for (all, outcome) in all.iter_mut().zip(outcomes?) {
            all.merge(&outcome);
        }
    }
    Ok(all)
}

async fn client(address: String, pace: Arc<Pace>) -> Vec<Outcome> {
    let mut outcomes: Vec<_> = pace.phases.iter().map(|_| Outcome::default()).collect();
    let mut connection = None;
    while let Some(due) = pace.next() {
        let at = pace.start + due.at;
        if at.elapsed() > LATEST {
            outcomes[due.phase].count(due.within, None);
            continue;
        }
        sleep_until(at.into()).await;
        let exchange = timeout_at((at + PATIENCE).into(), exchange(&mut connection, &address));
        let status = match exchange.await {
            Ok(Ok(status)) => status,
            // Late or broken: what comes over this connection next belongs to the lost request.
            Ok(Err(_)) | Err(_) => {
                connection = None;
                0
            }
        };
        outcomes[due.phase].count(due.within, (status == 200).then(|| at.elapsed()));
    }
    outcomes
}

async fn exchange(connection: &mut Option<Connection>, address: &str) -> Result<u16> {
    let open = match connection {
        Some(open) => open,
        None => connection.insert(Connection::open(address, PATH).await?),
    };
    open.exchange().await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::report;

    #[test]
    fn recovery_ends_with_the_last_bad_slot() {
        let mut outcome = Outcome::default();
        assert_eq!(outcome.recovery(), Duration::ZERO);
        outcome.slots = vec![(10, 10), (10, 8), (10, 9), (0, 0)];
        assert_eq!(outcome.recovery(), SLOT * 2);
    }

    #[test]
    fn phases_follow_each_other_and_the_last_one_ends() {
        let phase = |per_second| Phase {
            per_second,
            time: Duration::from_secs(1),
        };
        let pace = Pace {
            start: Instant::now(),
            phases: vec![phase(4.0), phase(2.0)],
            next: AtomicU64::new(0),
        };
        let due: Vec<_> = std::iter::from_fn(|| pace.next()).collect();
        let at: Vec<_> = due.iter().map(|due| due.at.as_millis()).collect();
        assert_eq!(at, [0, 250, 500, 750, 1000, 1500]);
        let last = Due {
            at: Duration::from_millis(1500),
            phase: 1,
            within: Duration::from_millis(500),
        };
        assert_eq!(due[5], last);
    }

    /// One second of so many good answers, each after so long.
    fn outcome(good: u64, took: Duration) -> Outcome {
        let mut outcome = Outcome::default();
        (0..good).for_each(|_| outcome.count(Duration::ZERO, Some(took)));
        outcome
    }

    #[test]
    fn the_worst_load_is_judged_against_the_best() {
        let ms = Duration::from_millis;
        let mut outcomes: Vec<_> = [(50, 2), (90, 3), (40, 9), (80, 4), (85, 5), (70, 6)]
            .map(|(good, took)| outcome(good, ms(took)))
            .into();
        let mut report = report(&[("overload_capacity", 100.0)]);
        summarize(&mut report, &outcomes, ms(1000));
        let value = |report: &Report, name: &str| report.get(name).unwrap().value;
        assert_eq!(value(&report, "overload_peak"), 100.0);
        assert_eq!(report.get("overload_goodput").unwrap().ratio, Some(0.4));
        assert_eq!(report.get("overload_goodput").unwrap().seconds, Some(6.0));
        assert!((8900.0..9400.0).contains(&value(&report, "overload_p99")));
        assert!((1900.0..2100.0).contains(&value(&report, "overload_p99_unloaded")));

        outcomes[3] = Outcome::default();
        let mut report = crate::report::tests::report(&[("overload_capacity", 60.0)]);
        summarize(&mut report, &outcomes, ms(1000));
        assert_eq!(value(&report, "overload_peak"), 90.0);
        assert_eq!(value(&report, "overload_goodput"), 0.0);
        assert_eq!(value(&report, "overload_p99"), 1_000_000.0);
    }

    #[test]
    fn outcomes_of_clients_are_added_up() {
        let (mut one, mut other) = (Outcome::default(), Outcome::default());
        one.count(Duration::ZERO, Some(Duration::from_millis(1)));
        other.count(SLOT, None);
        other.count(SLOT, Some(Duration::from_millis(2)));
        one.merge(&other);
        assert_eq!((one.good, one.slots), (2, vec![(1, 1), (2, 1)]));
    }
}
