//! What an idle host and idle components take.

use std::time::Duration;

use anyhow::{Context as _, Result};
use lattice_integration::{Event, Lattice, STEP, component, usage};
use serde_json::json;

use crate::calls::{self, SMALL};
use crate::meter::{self, Sample};
use crate::report::{Figure, Report};
use crate::{bed, processes};

/// What [`idle`] adds.
pub(crate) const IDLE: &[&str] = &["idle_host", "idle_component"];
/// What [`idle_10000`] adds.
pub(crate) const IDLE_10000: &[&str] = &[
    "idle_10000",
    "idle_10000_total",
    "idle_0_active",
    "idle_10000_active",
];

/// How many components are started before the events of them are waited for.
const AT_ONCE: usize = 100;

const KIB: f64 = 1024.0;
const MIB: f64 = 1024.0 * KIB;

/// Measures the resident memory of a host, then of a thousand idle components in it.
pub(crate) async fn idle(report: &mut Report) -> Result<()> {
    let lattice = Lattice::start(1).await?;
    // Compiled code and the allocator's first pages belong to the host, not to each component.
    lattice.run(0, "first", "http-hello", 1).await?;
    let before = resident(&lattice)?;
    report.add(Figure::new("idle_host", before / MIB, "MiB"));
    let count = 1000;
    deploy(&lattice, count).await?;
    let each = (resident(&lattice)? - before) / count as f64;
    report.add(Figure::new("idle_component", each / KIB, "KiB"));
    Ok(())
}

/// Measures ten thousand of them, and how fast another component is before and beside them.
pub(crate) async fn idle_10000(report: &mut Report, rounds: usize, time: Duration) -> Result<()> {
    let (lattice, meter) = bed::metered(1).await?;
    let pids = [
        lattice.hosts[0].pid().context("the host has exited")?,
        processes::only("nats-server")?,
    ];
    lattice.run(0, SMALL.id, "echo", 1000).await?;
    lattice.run(0, "first", "http-hello", 1).await?;
    let peer = lattice.peer().await?;
    let measure = async || -> Result<Vec<Sample>> {
        let mut samples = Vec::new();
        for _ in 0..=rounds {
            let calls = calls::echo(&peer, SMALL, 64, 64, time);
            samples.push(meter.measure(&pids, calls).await?);
        }
        // The first is to warm up.
        Ok(samples.split_off(1))
    };
    let alone = measure().await?;
    let before = resident(&lattice)?;
    let count = 10_000;
    deploy(&lattice, count).await?;
    let after = resident(&lattice)?;
    let beside = measure().await?;
    let each = (after - before) / count as f64;
    report.add(Figure::new(IDLE_10000[0], each / KIB, "KiB"));
    report.add(Figure::new(IDLE_10000[1], after / MIB, "MiB"));
    report.add(meter::throughput(IDLE_10000[2], &alone));
    let beside = meter::throughput(IDLE_10000[3], &beside);
    report.add_against(beside, &IDLE_10000[2..3]);
    Ok(())
}

/// Starts components that nobody calls.
async fn deploy(lattice: &Lattice, count: usize) -> Result<()> {
    let reference = component("http-hello")?;
    let host = lattice.host(0);
    for batch in (0..count).step_by(AT_ONCE) {
        let mark = lattice.events.len();
        let ids: Vec<_> = (batch..count.min(batch + AT_ONCE))
            .map(|index| format!("idle-{index}"))
            .collect();
        for id in &ids {
            let command = json!({
                "component_ref": reference, "component_id": id, "count": 10, "host_id": host,
            });
            lattice
                .ctl_ok(&format!("component.scale.{host}"), command)
                .await?;
        }
        for id in &ids {
            let scaled = |event: &Event| event.data("component_id") == id;
            lattice.events.wait_after(mark, scaled, STEP).await?;
        }
    }
    Ok(())
}

fn resident(lattice: &Lattice) -> Result<f64> {
    let pid = lattice.hosts[0].pid().context("the host has exited")?;
    Ok(usage(pid)?.resident as f64)
}
