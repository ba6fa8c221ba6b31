//! NATS goes away and comes back; the lattice goes on.

use std::time::Duration;

use anyhow::{Result, ensure};
use lattice_integration::{Lattice, STEP, until};
use tokio::time::Instant;

/// How long NATS is away. There is nothing to wait for: the outage is what is tested, and has to
/// outlast the first attempts to connect again, which begin after 50 ms.
const OUTAGE: Duration = Duration::from_secs(1);

#[tokio::test]
async fn a_host_outlives_a_restart_of_nats() -> Result<()> {
    let mut lattice = Lattice::start(1).await?;
    lattice.run(0, "hello", "http-hello", 10).await?;
    let address = lattice.serve_http(0, "hello").await?;
    lattice.until_status(&address, "/", 200).await?;
    lattice.nats.stop();
    tokio::time::sleep(OUTAGE).await;
    lattice.nats.restart().await?;
    lattice.until_status(&address, "/", 200).await?;
    until(async || {
        let inventory = lattice.inventory(0).await?;
        let id = &inventory["components"][0]["id"];
        ensure!(id == "hello", "{inventory}");
        Ok(())
    })
    .await?;
    // Links put after the outage still reach the host.
    lattice.run_counter(0, &[0], 10).await?;
    Ok(())
}

#[tokio::test]
async fn a_wrong_nats_address_is_named() -> Result<()> {
    let port = lattice_integration::free_port()?;
    let before = Instant::now();
    let output = tokio::process::Command::new(lattice_integration::program("lattice-host")?)
        .args(["--nats-port", &port.to_string()])
        .output()
        .await?;
    assert!(!output.status.success() && before.elapsed() < STEP);
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(
        text.contains(&port.to_string()) && text.contains("hint"),
        "{text}"
    );
    Ok(())
}
