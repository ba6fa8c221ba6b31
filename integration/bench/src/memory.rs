//! What an idle host and idle components take.

use std::time::Duration;

use anyhow::{Context as _, Result};
use lattice_integration::{Event, Lattice, STEP, component, usage};
use serde_json::json;

use crate::meter;
use crate::report::{Figure, Report};
use crate::spread::Spread;

/// What [`idle`] adds.
pub(crate) const IDLE: &[&str] = &["idle_host", "idle_component"];
/// What [`idle_10000`] adds.
pub(crate) const IDLE_10000: &[&str; 4] = &[
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
    report.add(Figure::new(IDLE[0], before / MIB, "MiB"));
    let count = 1000;
    deploy(&lattice, count).await?;
    let each = (resident(&lattice)? - before) / count as f64;
    report.add(Figure::new(IDLE[1], each / KIB, "KiB"));
    Ok(())
}

/// Measures ten thousand of them, and how fast another component is beside them: in turn with one
/// on a host without them, in a lattice of its own, so that both meet the same machine.
pub(crate) async fn idle_10000(report: &mut Report, rounds: usize, time: Duration) -> Result<()> {
    let alone = Spread::start(1).await?;
    let beside = Spread::start(1).await?;
    beside.lattice.run(0, "first", "http-hello", 1).await?;
    for spread in [&alone, &beside] {
        spread.sample(time).await?;
    }
    let before = resident(&beside.lattice)?;
    let count = 10_000;
    deploy(&beside.lattice, count).await?;
    let after = resident(&beside.lattice)?;
    // Once more, as the first calls after so many starts find everything cold.
    beside.sample(time).await?;
    let (mut without, mut with) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        without.push(alone.sample(time).await?);
        with.push(beside.sample(time).await?);
    }
    let [each, total, alone, beside] = *IDLE_10000;
    let grown = (after - before) / count as f64;
    report.add_against(Figure::new(each, grown / KIB, "KiB"), &IDLE[1..]);
    report.add_against(Figure::new(total, after / MIB, "MiB"), &IDLE[..1]);
    report.add(meter::throughput(alone, &without));
    report.add_against(meter::throughput(beside, &with), &[alone]);
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
