//! The same component on more and more hosts: what each host costs that is not needed.

use std::time::Duration;

use anyhow::{Context as _, Result};
use lattice_integration::Lattice;
use lattice_rpc::Peer;

use crate::calls::{self, SMALL};
use crate::meter::{self, Meter, Sample};
use crate::report::{Figure, Report};
use crate::{bed, processes};

/// What this adds: for each number of hosts one figure.
pub(crate) const NAMES: &[&str] = &[
    "scale_1_host",
    "scale_2_hosts",
    "scale_4_hosts",
    "scale_8_hosts",
];
const HOSTS: [usize; 4] = [1, 2, 4, 8];

/// Calls in flight for each host: spread over more of them, the same load would leave each with less
/// to do at a time, which costs more per call whatever the number of hosts.
const IN_FLIGHT: usize = 64;

/// A lattice with one component on all its hosts.
struct Spread {
    // Before the lattice, whose server it is connected to.
    peer: Peer,
    meter: Meter,
    pids: Vec<u32>,
    in_flight: usize,
    _lattice: Lattice,
}

impl Spread {
    async fn start(hosts: usize) -> Result<Self> {
        let servers = processes::named("nats-server")?;
        let (lattice, meter) = bed::metered(hosts).await?;
        let mut pids = processes::named("nats-server")?;
        pids.retain(|pid| !servers.contains(pid));
        for (index, host) in lattice.hosts.iter().enumerate() {
            lattice.run(index, SMALL.id, "echo", 1000).await?;
            pids.push(host.pid().context("a host has exited")?);
        }
        Ok(Self {
            peer: lattice.peer().await?,
            meter,
            pids,
            in_flight: IN_FLIGHT * hosts,
            _lattice: lattice,
        })
    }

    async fn sample(&self, time: Duration) -> Result<Sample> {
        let calls = calls::echo(&self.peer, SMALL, self.in_flight, 64, time);
        self.meter.measure(&self.pids, calls).await
    }
}

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
