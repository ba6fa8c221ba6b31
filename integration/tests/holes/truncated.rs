//! Calls whose parameters never arrive in full (R3, A2).

use std::time::Duration;

use anyhow::Result;
use bytes::Bytes;
use lattice_integration::{ECHO, Lattice, call, subject, texts, until};
use tokio::time::Instant;

use crate::support::{answers_at_once, forget};

/// Says that a text of five bytes follows, and brings one of them.
const CUT: &[u8] = &[0x05, b'h'];

#[tokio::test]
async fn truncated_calls_of_a_component_hold_up_nobody_else() -> Result<()> {
    let lattice = Lattice::start(1).await?;
    lattice.run(0, "probe", "probe", 1).await?;
    let peer = lattice.peer().await?;
    answers_at_once(&peer, "probe").await?;
    for _ in 0..100 {
        forget(&lattice, subject("probe", ECHO), Bytes::from_static(CUT)).await?;
    }
    lattice.client.flush().await?;
    // There is one instance, and none of them holds it.
    for _ in 0..5 {
        answers_at_once(&peer, "probe").await?;
    }
    Ok(())
}

#[tokio::test]
async fn truncated_calls_of_a_provider_hold_up_nobody_else() -> Result<()> {
    const GET: &str = "wrpc:keyvalue/store@0.2.0-draft.get";
    let lattice = Lattice::start(1).await?;
    lattice.provide_store(0).await?;
    lattice
        .link("test", "kv", "wasi:keyvalue/store", &[], &[])
        .await?;
    let peer = lattice.peer().await?;
    let get = async || call(&peer, "kv", GET, texts(&["", "key"]), 5000).await;
    // Absent, as a value, once the link has arrived.
    until(async || {
        anyhow::ensure!(get().await? == Bytes::from_static(&[0, 0]), "no link yet");
        Ok(())
    })
    .await?;
    for _ in 0..200 {
        forget(&lattice, subject("kv", GET), Bytes::from_static(CUT)).await?;
    }
    lattice.client.flush().await?;
    let before = Instant::now();
    for _ in 0..5 {
        assert_eq!(get().await?, Bytes::from_static(&[0, 0]));
    }
    assert!(
        before.elapsed() < Duration::from_secs(2),
        "{:?}",
        before.elapsed()
    );
    Ok(())
}
