//! Instances that serve one request after the other, and those that do not, over HTTP.

use anyhow::Result;
use lattice_integration::{Lattice, get};

async fn counted(lattice: &Lattice, address: &str, expected: impl Fn(u32) -> u32) -> Result<()> {
    lattice.until_status(address, "/", 200).await?;
    for n in 1..=50 {
        let answer = get(address, "/calls").await?;
        assert_eq!(answer, (200, expected(n).to_string()));
    }
    Ok(())
}

#[tokio::test]
async fn what_a_component_remembers_reaches_no_other_caller() -> Result<()> {
    let mut lattice = Lattice::start(1).await?;
    lattice.inside = true;
    lattice.run(0, "probe", "http-probe", 10).await?;
    let address = lattice.serve_http(0, "probe").await?;
    counted(&lattice, &address, |_| 1).await
}

#[tokio::test]
async fn a_component_remembers_when_it_asks_for_it() -> Result<()> {
    let mut lattice = Lattice::start(1).await?;
    lattice.inside = true;
    lattice.run_reused(0, "probe", "http-probe", 10).await?;
    let address = lattice.serve_http(0, "probe").await?;
    // The request that found out whether it is up does not count; only those to `/calls` do.
    counted(&lattice, &address, |n| n).await
}
