//! What an idle host and idle components take.

use anyhow::{Context as _, Result};
use lattice_integration::{Lattice, component, usage};
use serde_json::json;

use crate::report::{Figure, Report};

/// How many idle components to start.
const COMPONENTS: usize = 1000;

/// Measures the resident memory of a host, then of a thousand idle components in it.
pub(crate) async fn idle(report: &mut Report) -> Result<()> {
    let lattice = Lattice::start(1).await?;
    // Compiled code and the allocator's first pages belong to the host, not to each component.
    lattice.run(0, "first", "http-hello", 1).await?;
    let before = resident(&lattice)?;
    report.add(Figure::new("idle_host", before / (1024.0 * 1024.0), "MiB"));
    let reference = component("http-hello")?;
    for i in 0..COMPONENTS {
        let command = json!({
            "component_ref": reference, "component_id": format!("idle-{i}"), "count": 10,
            "host_id": lattice.host(0),
        });
        lattice
            .ctl_ok(&format!("component.scale.{}", lattice.host(0)), command)
            .await?;
    }
    for i in 0..COMPONENTS {
        let id = format!("idle-{i}");
        let scaled = |event: &lattice_integration::Event| event.data("component_id") == id;
        lattice
            .events
            .wait(scaled, lattice_integration::STEP)
            .await?;
    }
    let each = (resident(&lattice)? - before) / COMPONENTS as f64;
    report.add(Figure::new("idle_component", each / 1024.0, "KiB"));
    Ok(())
}

fn resident(lattice: &Lattice) -> Result<f64> {
    let pid = lattice.hosts[0].pid().context("the host has exited")?;
    Ok(usage(pid)?.resident as f64)
}
