//! Repeating one thing for some time, in several tasks.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use tokio::task::JoinSet;

use crate::histogram::Histogram;

/// How often something was done until a point in time, and how long each took.
#[derive(Debug)]
pub(crate) struct Tally {
    pub(crate) requests: u64,
    pub(crate) latencies: Histogram,
    until: Instant,
    last: Instant,
}

impl Tally {
    /// Starts the first one now.
    pub(crate) fn until(until: Instant) -> Self {
        Self {
            requests: 0,
            latencies: Histogram::default(),
            until,
            last: Instant::now(),
        }
    }

    /// Whether there is time for another one.
    pub(crate) fn goes_on(&self) -> bool {
        self.last < self.until
    }

    /// Counts one request that began when the one before ended: one look at the clock for each.
    pub(crate) fn done(&mut self) {
        let now = Instant::now();
        self.latencies.record(now - self.last);
        self.last = now;
        self.requests += 1;
    }

    /// Counts requests that were made in one go, whose single latencies are not known.
    pub(crate) fn done_many(&mut self, requests: u64) {
        self.last = Instant::now();
        self.requests += requests;
    }

    fn merge(&mut self, other: &Self) {
        self.requests += other.requests;
        self.latencies.merge(&other.latencies);
    }
}

/// Runs `one` in `workers` tasks, each with a tally that ends after `time`.
pub(crate) async fn closed_loop<F, Fut>(workers: usize, time: Duration, one: F) -> Result<Tally>
where
    F: Fn(Tally) -> Fut,
    Fut: Future<Output = Result<Tally>> + Send + 'static,
{
    let until = Instant::now() + time;
    let mut tasks = JoinSet::new();
    for _ in 0..workers {
        tasks.spawn(one(Tally::until(until)));
    }
    let mut all = Tally::until(until);
    while let Some(tally) = tasks.join_next().await {
        all.merge(&tally??);
    }
    ensure!(all.requests > 0, "nothing was done in {time:?}");
    Ok(all)
}

/// Runs what makes HTTP load on a thread of its own, so that it takes no more than one of two cores
/// and moves nothing between them: what it takes beyond that is missing where it is answered.
pub(crate) async fn on_one_thread<Fut, T>(work: impl FnOnce() -> Fut + Send + 'static) -> Result<T>
where
    Fut: Future<Output = Result<T>>,
    T: Send + 'static,
{
    let thread = tokio::task::spawn_blocking(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        runtime.block_on(work())
    });
    thread.await.context("the load generator broke off")?
}
