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
use crate::meter::{self, Meter, Sample};
use crate::report::{Figure, Report};

/// What this adds, beside one `overload_at_*` for each load.
pub(crate) const NAMES: &[&str] = &[
    "overload_capacity",
    "overload_peak",
    "overload_goodput",
    "overload_p99_unloaded",
    "overload_p99",
    "overload_recovery",
];

/// A request that costs the host much more than it costs the load generator, or that would be what
/// is measured.
const PATH: &str = "/stream/65536";
/// How many requests the load generator can have open. Beyond it, those whose time has passed are
/// given up without being sent.
const CLIENTS: usize = 512;
/// How many connections measure the capacity.
const CLOSED: usize = 32;
/// When a client gives up.
const PATIENCE: Duration = Duration::from_secs(1);
/// How finely recovery is looked at.
const SLOT: Duration = Duration::from_millis(100);

/// Loads as shares of the capacity, and how they are called.
const LOADS: [(f64, &str); 6] = [
    (0.5, "overload_at_0.5"),
    (1.0, "overload_at_1"),
    (2.0, "overload_at_2"),
    (3.0, "overload_at_3"),
    (4.0, "overload_at_4"),
    (5.0, "overload_at_5"),
];
/// The load whose goodput is the figure: an index into [`LOADS`].
const THREEFOLD: usize = 3;

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

    /// The end of the last slot in which fewer than nine in ten were answered.
    fn recovery(&self) -> Duration {
        let bad = |(due, good): &(u64, u64)| good * 10 < due * 9;
        let slots = self.slots.iter().rposition(bad).map_or(0, |at| at + 1);
        SLOT * slots as u32
    }
}

/// Requests that become due at an even pace.
#[derive(Debug)]
struct Pace {
    start: Instant,
    time: Duration,
    per_second: f64,
    next: AtomicU64,
}

impl Pace {
    /// When the next request is due, after the start; nothing at the end.
    fn next(&self) -> Option<Duration> {
        let index = self.next.fetch_add(1, Ordering::Relaxed);
        let due = Duration::from_secs_f64(index as f64 / self.per_second);
        (due < self.time).then_some(due)
    }
}

/// Measures the capacity, then goodput at each load, then how long the way back takes.
pub(crate) async fn run(report: &mut Report, time: Duration) -> Result<()> {
    let (mut lattice, meter) = bed::metered(1).await?;
    let address = open(&mut lattice).await?;
    let measured = capacity(&lattice, &meter, &address, time).await?;
    let capacity = measured.value;
    report.add(measured);
    let mut outcomes = Vec::new();
    // Longer than a closed loop runs: a queue takes its time to fill.
    let step = time * 3;
    for (load, name) in LOADS {
        let outcome = open_loop(&address, capacity * load, step).await?;
        let mut figure = Figure::new(name, goodput(&outcome, step), "req/s");
        figure.p99_us = outcome.latencies.percentile(0.99);
        report.add_against(figure, &NAMES[..1]);
        outcomes.push(outcome);
    }
    let back = open_loop(&address, capacity * LOADS[0].0, step).await?;
    summarize(report, &outcomes, back.recovery(), step);
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
    Ok(meter::throughput(NAMES[0], best.as_slice()))
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

fn summarize(report: &mut Report, outcomes: &[Outcome], recovery: Duration, time: Duration) {
    let peak = outcomes.iter().map(|outcome| goodput(outcome, time));
    let peak = peak.fold(0.0, f64::max);
    let threefold = &outcomes[THREEFOLD];
    report.add(Figure::new(NAMES[1], peak, "req/s"));
    let figure = Figure::new(NAMES[2], goodput(threefold, time), "req/s");
    report.add_against(figure, &NAMES[1..2]);
    let tail = |outcome: &Outcome| outcome.latencies.percentile(0.99).unwrap_or(f64::INFINITY);
    report.add(Figure::new(NAMES[3], tail(&outcomes[0]), "us"));
    let figure = Figure::new(NAMES[4], tail(threefold), "us");
    report.add_against(figure, &NAMES[3..4]);
    let ms = recovery.as_secs_f64() * 1000.0;
    report.add(Figure::new(NAMES[5], ms, "ms"));
}

/// Sends requests when they are due. An answer is good when it is 200 and comes in time; its
/// latency counts from when the request was due, not from when there was a connection for it.
async fn open_loop(address: &str, per_second: f64, time: Duration) -> Result<Outcome> {
    ensure!(per_second >= 1.0, "no capacity to speak of");
    let pace = Arc::new(Pace {
        start: Instant::now(),
        time,
        per_second,
        next: AtomicU64::new(0),
    });
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        clients.spawn(client(address.to_owned(), pace.clone()));
    }
    let mut all = Outcome::default();
    while let Some(outcome) = clients.join_next().await {
        all.merge(&outcome?);
    }
    Ok(all)
}

async fn client(address: String, pace: Arc<Pace>) -> Outcome {
    let mut outcome = Outcome::default();
    let mut connection = None;
    while let Some(due) = pace.next() {
        let at = pace.start + due;
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
        outcome.count(due, (status == 200).then(|| at.elapsed()));
    }
    outcome
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

    #[test]
    fn recovery_ends_with_the_last_bad_slot() {
        let mut outcome = Outcome::default();
        assert_eq!(outcome.recovery(), Duration::ZERO);
        outcome.slots = vec![(10, 10), (10, 8), (10, 9), (0, 0)];
        assert_eq!(outcome.recovery(), SLOT * 2);
    }

    #[test]
    fn pace_ends_with_the_time() {
        let pace = Pace {
            start: Instant::now(),
            time: Duration::from_secs(1),
            per_second: 4.0,
            next: AtomicU64::new(0),
        };
        let due: Vec<_> = std::iter::from_fn(|| pace.next()).collect();
        assert_eq!(due.len(), 4);
        assert_eq!(due[3], Duration::from_millis(750));
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
