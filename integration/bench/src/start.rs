//! From a file to the first answer.

use std::time::Instant;

use anyhow::Result;
use lattice_integration::{HostOptions, Lattice, component};
use lattice_rpc::Peer;
use serde_json::json;

use crate::calls::{self, PROBE};
use crate::report::{Figure, Report, median};

/// What [`cold_start`] adds.
pub(crate) const COLD_START: &[&str] = &["cold_start", "cold_start_cached"];

/// Measures the start of a component with and without its compiled code in the cache.
pub(crate) async fn cold_start(report: &mut Report, rounds: usize) -> Result<()> {
    let mut fresh = Vec::new();
    let mut cached = Vec::new();
    for _ in 0..rounds {
        // A box of its own has an empty cache; the second host of it finds the code of the first.
        let mut lattice = Lattice::start(1).await?;
        let peer = lattice.peer().await?;
        fresh.push(first_answer(&lattice, &peer, 0, "first").await?);
        let second = lattice.add_host(HostOptions::default()).await?;
        cached.push(first_answer(&lattice, &peer, second, "second").await?);
    }
    report.add(Figure::new(COLD_START[0], median(fresh), "ms"));
    let cached = Figure::new(COLD_START[1], median(cached), "ms");
    report.add_against(cached, &COLD_START[..1]);
    Ok(())
}

/// Milliseconds from the command to the first answer of the component.
async fn first_answer(lattice: &Lattice, peer: &Peer, host: usize, id: &str) -> Result<f64> {
    let host_id = lattice.host(host);
    let command = json!({
        "component_ref": component("probe")?, "component_id": id, "count": 10, "host_id": host_id,
    });
    let start = Instant::now();
    lattice
        .ctl_ok(&format!("component.scale.{host_id}"), command)
        .await?;
    calls::until_answer(peer, id, PROBE).await?;
    Ok(start.elapsed().as_secs_f64() * 1000.0)
}
