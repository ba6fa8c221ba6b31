//! NATS goes away and comes back; the lattice goes on.

use anyhow::Result;
use lattice_integration::{Lattice, STEP};
use serde_json::Value;
use tokio::time::Instant;

#[tokio::test]
async fn a_host_outlives_a_restart_of_nats() -> Result<()> {
    let mut lattice = Lattice::start(1).await?;
    lattice.run(0, "hello", "http-hello", 10).await?;
    let address = lattice.serve_http(0, "hello").await?;
    lattice.until_status(&address, "/", 200).await?;
    lattice.nats.stop();
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    lattice.nats.restart().await?;
    lattice.until_status(&address, "/", 200).await?;
    let until = Instant::now() + STEP;
    loop {
        match lattice
            .ctl(&format!("host.get.{}", lattice.host(0)), Value::Null)
            .await
        {
            Ok(inventory) => {
                assert_eq!(inventory["response"]["components"][0]["id"], "hello");
                break;
            }
            Err(error) => assert!(Instant::now() < until, "{error:#}"),
        }
    }
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
