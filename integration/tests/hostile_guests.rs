//! A guest cannot hurt the host, nor other guests.

use std::time::Duration;

use anyhow::{Result, ensure};
use bytes::Bytes;
use lattice_integration::{Lattice, STEP, number, peak, text, until, usage};
use lattice_rpc::{CallError, Peer, RemoteError};
use serde_json::json;
use tokio::time::Instant;

/// The time over which the use of the processor is measured.
const MEASURED: Duration = Duration::from_millis(500);

async fn call(peer: &Peer, function: &str, params: Bytes, ms: u64) -> Result<Bytes, CallError> {
    lattice_integration::call(peer, "probe", &format!("test:probe/{function}"), params, ms).await
}

#[tokio::test]
async fn busy_guests_starve_neither_heartbeats_nor_others() -> Result<()> {
    let lattice = Lattice::start_host(&["--heartbeat-interval-seconds", "1"]).await?;
    lattice.run(0, "probe", "probe", 100).await?;
    let peer = lattice.peer().await?;
    call(&peer, "echo@0.1.0.text", text("x"), 5000).await?;
    let cores = std::thread::available_parallelism()?.get();
    let spinners = (2 * cores).max(8);
    let mut begun = lattice
        .calls("probe", "test:probe/behave@0.1.0.spin")
        .await?;
    let mut spinning = tokio::task::JoinSet::new();
    for _ in 0..spinners {
        let peer = peer.clone();
        spinning.spawn(async move { call(&peer, "behave@0.1.0.spin", Bytes::new(), 4000).await });
    }
    begun.begun(spinners).await?;
    let mark = lattice.events.len();
    let beat = |event: &lattice_integration::Event| event.name == "host_heartbeat";
    lattice
        .events
        .wait_after(mark, beat, Duration::from_millis(3500))
        .await?;
    let before = Instant::now();
    call(&peer, "echo@0.1.0.text", text("x"), 5000).await?;
    assert!(
        before.elapsed() < Duration::from_secs(2),
        "{:?}",
        before.elapsed()
    );
    let mut codes = Vec::new();
    while let Some(ended) = spinning.join_next().await {
        codes.push(ended?.unwrap_err().refusal().code);
    }
    // A host that is this busy may refuse some; as many as it has cores ran until they were stopped.
    codes.retain(|code| code != RemoteError::OVERLOADED);
    assert!(codes.len() >= cores, "{codes:?}");
    assert!(
        codes.iter().all(|code| code == RemoteError::DEADLINE),
        "{codes:?}"
    );
    // No guest is left spinning.
    let pid = lattice.hosts[0].pid().unwrap();
    until(async || {
        let before = usage(pid)?.cpu_us;
        tokio::time::sleep(MEASURED).await;
        let used = usage(pid)?.cpu_us - before;
        ensure!(used < 100_000, "the host stays busy: {used} us");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn memory_stops_at_its_limit() -> Result<()> {
    let lattice = Lattice::start(1).await?;
    lattice.run(0, "probe", "probe", 10).await?;
    let peer = lattice.peer().await?;
    call(&peer, "echo@0.1.0.text", text("x"), 5000).await?;
    let pid = lattice.hosts[0].pid().unwrap();
    let before = peak(pid)?;
    let error = call(&peer, "behave@0.1.0.allocate-forever", Bytes::new(), 20_000)
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains("more than its limit of"),
        "{error}"
    );
    // The instance is gone by now, but the most that there was at once is remembered.
    let grown = peak(pid)?.saturating_sub(before);
    assert!(grown < 400 << 20, "{grown}");
    call(&peer, "echo@0.1.0.text", text("x"), 5000).await?;
    Ok(())
}

#[tokio::test]
async fn a_components_own_memory_limit_is_enforced() -> Result<()> {
    let lattice = Lattice::start(1).await?;
    let host = lattice.host(0);
    let reference = lattice_integration::component("probe")?;
    let command = json!({
        "component_ref": reference, "component_id": "probe", "count": 10, "host_id": host,
        "component_limits": { "max_memory_limit": "16777216" },
    });
    lattice
        .ctl_ok(&format!("component.scale.{host}"), command)
        .await?;
    let scaled = |event: &lattice_integration::Event| event.name == "component_scaled";
    lattice.events.wait(scaled, STEP).await?;
    let peer = lattice.peer().await?;
    call(&peer, "behave@0.1.0.allocate", number(4 << 20), 5000).await?;
    call(&peer, "behave@0.1.0.allocate", number(64 << 20), 5000)
        .await
        .unwrap_err();
    Ok(())
}

#[tokio::test]
async fn a_stack_overflow_is_a_trap() -> Result<()> {
    let lattice = Lattice::start(1).await?;
    lattice.run(0, "probe", "probe", 10).await?;
    let peer = lattice.peer().await?;
    for _ in 0..5 {
        call(&peer, "behave@0.1.0.overflow-stack", Bytes::new(), 10_000)
            .await
            .unwrap_err();
    }
    call(&peer, "echo@0.1.0.text", text("x"), 5000).await?;
    Ok(())
}

#[tokio::test]
async fn each_call_has_an_instance_of_its_own() -> Result<()> {
    let lattice = Lattice::start(1).await?;
    lattice.run(0, "probe", "probe", 10).await?;
    let peer = lattice.peer().await?;
    for _ in 0..20 {
        let count = call(
            &peer,
            "behave@0.1.0.calls-of-this-instance",
            Bytes::new(),
            5000,
        )
        .await?;
        assert_eq!(count, Bytes::from_static(&[1]));
    }
    Ok(())
}
