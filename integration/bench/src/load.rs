//! One measurement: requests made, CPU time used, messages passed.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use lattice_integration::{HttpClient, usage};
use serde_json::Value;

use crate::report::{Figure, median};

/// What one measurement gave.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sample {
    pub(crate) per_second: f64,
    pub(crate) cpu_us: f64,
    pub(crate) messages: f64,
    pub(crate) subscriptions: f64,
}

/// Counters of the NATS server, by its monitoring port.
#[derive(Debug, Clone)]
pub(crate) struct Meter {
    pub(crate) monitor: String,
}

impl Meter {
    async fn read(&self) -> Result<(f64, f64)> {
        let response = HttpClient::connect(&self.monitor)
            .await?
            .get("/varz")
            .await?;
        let varz: Value = serde_json::from_slice(response.body())?;
        let number = |name: &str| varz[name].as_f64().with_context(|| format!("no {name}"));
        Ok((number("in_msgs")?, number("subscriptions")?))
    }

    /// Runs `work`, which gives how many requests it made, and measures it.
    pub(crate) async fn measure(
        &self,
        pids: &[u32],
        work: impl Future<Output = Result<u64>>,
    ) -> Result<Sample> {
        let (messages, subscriptions) = self.read().await?;
        let cpu = cpu(pids)?;
        let start = Instant::now();
        let requests = work.await?.max(1) as f64;
        let time = start.elapsed();
        let used = cpu_since(pids, cpu)?;
        let after = self.read().await?;
        Ok(Sample {
            per_second: requests / time.as_secs_f64(),
            cpu_us: used / requests,
            messages: (after.0 - messages) / requests,
            subscriptions: (after.1 - subscriptions).abs() / requests,
        })
    }
}

fn cpu(pids: &[u32]) -> Result<u64> {
    pids.iter().map(|pid| Ok(usage(*pid)?.cpu_us)).sum()
}

fn cpu_since(pids: &[u32], before: u64) -> Result<f64> {
    Ok(cpu(pids)?.saturating_sub(before) as f64)
}

/// The medians of samples as a figure.
pub(crate) fn figure(name: &str, samples: &[Sample]) -> Figure {
    let of = |get: fn(&Sample) -> f64| median(samples.iter().map(get).collect());
    let mut figure = Figure::new(name, of(|s| s.per_second), "req/s");
    figure.cpu_us = Some(of(|s| s.cpu_us));
    figure.messages = Some(of(|s| s.messages));
    figure.subscriptions = Some(of(|s| s.subscriptions));
    figure
}

/// Repeats `one` in `workers` tasks until `time` is over; gives how often it ran.
pub(crate) async fn closed_loop<F, Fut>(workers: usize, time: Duration, one: F) -> Result<u64>
where
    F: Fn(usize) -> Fut,
    Fut: Future<Output = Result<u64>> + Send + 'static,
{
    let mut tasks = tokio::task::JoinSet::new();
    for worker in 0..workers {
        tasks.spawn(one(worker));
    }
    let mut done = 0;
    while let Some(result) = tasks.join_next().await {
        done += result??;
    }
    anyhow::ensure!(done > 0, "nothing was done in {time:?}");
    Ok(done)
}
