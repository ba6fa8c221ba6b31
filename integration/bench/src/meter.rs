//! One measurement: requests made, CPU time used, messages passed.

use std::time::Instant;

use anyhow::{Context as _, Result};
use lattice_integration::{HttpClient, usage};
use serde_json::Value;

use crate::load::Tally;
use crate::report::{Figure, median};

/// What one measurement gave.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sample {
    pub(crate) per_second: f64,
    pub(crate) cpu_us: f64,
    pub(crate) messages: f64,
    pub(crate) subscriptions: f64,
    pub(crate) p99_us: Option<f64>,
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

    /// Runs `work` and measures it.
    pub(crate) async fn measure(
        &self,
        pids: &[u32],
        work: impl Future<Output = Result<Tally>>,
    ) -> Result<Sample> {
        let (messages, subscriptions) = self.read().await?;
        let before = cpu(pids)?;
        let start = Instant::now();
        let tally = work.await?;
        let time = start.elapsed();
        let used = cpu(pids)?.saturating_sub(before) as f64;
        let after = self.read().await?;
        let requests = tally.requests.max(1) as f64;
        Ok(Sample {
            per_second: requests / time.as_secs_f64(),
            cpu_us: used / requests,
            messages: (after.0 - messages) / requests,
            subscriptions: (after.1 - subscriptions).abs() / requests,
            p99_us: tally.latencies.percentile(0.99),
        })
    }
}

fn cpu(pids: &[u32]) -> Result<u64> {
    pids.iter().map(|pid| Ok(usage(*pid)?.cpu_us)).sum()
}

/// The medians of samples as a figure in requests per second.
pub(crate) fn throughput(name: &str, samples: &[Sample]) -> Figure {
    let mut figure = Figure::new(name, middle(samples, |s| s.per_second), "req/s");
    figure.cpu_us = Some(middle(samples, |s| s.cpu_us));
    figure.messages = Some(middle(samples, |s| s.messages));
    figure.subscriptions = Some(middle(samples, |s| s.subscriptions));
    let tails: Vec<f64> = samples.iter().filter_map(|s| s.p99_us).collect();
    figure.p99_us = (!tails.is_empty()).then(|| median(tails));
    figure
}

/// The medians of samples as a figure in CPU microseconds per call.
pub(crate) fn cpu_per_call(name: &str, samples: &[Sample]) -> Figure {
    let mut figure = throughput(name, samples);
    figure.value = middle(samples, |s| s.cpu_us);
    figure.unit = "us".to_owned();
    figure
}

fn middle(samples: &[Sample], get: fn(&Sample) -> f64) -> f64 {
    median(samples.iter().map(get).collect())
}
