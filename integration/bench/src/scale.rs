//! The same component on more and more hosts: what each host costs that is not needed.

use std::time::Duration;

use anyhow::Result;

use crate::meter::{self, Sample};
use crate::report::{Figure, Report};
use crate::spread::Spread;

/// What this adds: for each number of hosts one figure.
pub(crate) const NAMES: &[&str] = &[
    "scale_1_host",
    "scale_2_hosts",
    "scale_4_hosts",
    "scale_8_hosts",
];
const HOSTS: [usize; 4] = [1, 2, 4, 8];

/// Measures calls per second of CPU time of hosts and server, in interleaved rounds.
pub(crate) async fn run(report: &mut Report, rounds: usize, time: Duration) -> Result<()> {
    let mut spreads = Vec::new();
    for hosts in HOSTS {
        let spread = Spread::start(hosts).await?;
        spread.sample(time).await?;
        spreads.push((spread, Vec::new()));
    }
    for _ in 0..rounds {
        for (spread, samples) in &mut spreads {
            samples.push(spread.sample(time).await?);
        }
    }
    for (name, (_, samples)) in NAMES.iter().zip(&spreads) {
        report.add_against(per_cpu_second(name, samples), &NAMES[..1]);
    }
    Ok(())
}

fn per_cpu_second(name: &str, samples: &[Sample]) -> Figure {
    let mut figure = meter::throughput(name, samples);
    figure.value = 1_000_000.0 / figure.cpu_us.unwrap_or(f64::NAN);
    figure.unit = "req/cpu-s".to_owned();
    figure
}
