//! A host that comes back with all its components.

use std::time::{Duration, Instant};

use anyhow::Result;
use futures::future::try_join_all;
use lattice_integration::{HostOptions, Lattice, component};
use lattice_rpc::Peer;
use serde_json::json;

use crate::calls::{self, PROBE};
use crate::report::{Figure, Report, median};
use crate::start::COLD_START;

/// What this adds.
pub(crate) const NAMES: &[&str] = &["restart_50", "cold_start_cached_50"];

/// How many components the host has.
const COMPONENTS: usize = 50;

/// Milliseconds from the start of the process until the last of the components answers, their code
/// being in the cache. What puts them back gives its commands as soon as the host says that it has
/// started, all at once.
pub(crate) async fn run(report: &mut Report, rounds: usize) -> Result<()> {
    let mut lattice = Lattice::start(1).await?;
    let peer = lattice.peer().await?;
    start_all(&lattice, 0, &peer).await?;
    let mut times = Vec::new();
    for round in 0..rounds {
        let before = Duration::from_secs(30);
        lattice.hosts[round].terminate(before).await?;
        let start = Instant::now();
        let host = lattice.add_host(HostOptions::default()).await?;
        start_all(&lattice, host, &peer).await?;
        times.push(start.elapsed().as_secs_f64() * 1000.0);
    }
    // What it takes to start as many one after the other on a host that is up.
    let one = report.get(COLD_START[1]).map(|figure| figure.value);
    if let Some(one) = one {
        report.add(Figure::new(NAMES[1], one * COMPONENTS as f64, "ms"));
    }
    report.add_against(Figure::new(NAMES[0], median(times), "ms"), &NAMES[1..]);
    Ok(())
}

async fn start_all(lattice: &Lattice, host: usize, peer: &Peer) -> Result<()> {
    let reference = component("probe")?;
    let host = lattice.host(host);
    let each = (0..COMPONENTS).map(|index| {
        let id = format!("restarted-{index}");
        let command = json!({
            "component_ref": reference, "component_id": id, "count": 10, "host_id": host,
        });
        async move {
            lattice
                .ctl_ok(&format!("component.scale.{host}"), command)
                .await?;
            calls::until_answer(peer, &id, PROBE).await
        }
    });
    try_join_all(each).await.map(drop)
}
