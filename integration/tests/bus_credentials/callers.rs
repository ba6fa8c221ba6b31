//! Calls in another's name, by somebody who has all that a provider was given: its keys and its NATS user.

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use lattice_integration::{ECHO, Event, STEP, subject, text};
use lattice_rpc::{Auth, CallError, Invocation, Peer, PeerConfig};
use tokio::time::Instant;

use crate::attacker::Attacker;
use crate::scene::{Guarded, LONG};

/// What the probe exports.
const PROBE: &str = "test:probe/echo";

async fn call_as(peer: &Peer, source: &str) -> Result<Bytes, CallError> {
    let call = Invocation::new(subject("probe", ECHO), Instant::now() + STEP);
    peer.call(call.source(source), text("psst")).await
}

#[tokio::test]
async fn a_provider_with_its_own_user_and_keys_calls_as_nobody_else() -> Result<()> {
    let guarded = Guarded::strict(LONG).await?;
    let lattice = &guarded.lattice;
    lattice.run(0, "probe", "probe", 10).await?;
    // Without it NATS would let no call of its through.
    lattice.link("kv", "probe", PROBE, &[], &[]).await?;
    let data = guarded.store("kv").await?;
    let mut attacker = Attacker::new(&data).await?;
    let identity = data.lattice_identity.as_ref().context("no identity")?;
    let auth = Auth::of_provider(&data.lattice_rpc_prefix, identity, None)?;
    let config = PeerConfig {
        auth: Some(auth),
        ..PeerConfig::default()
    };
    let peer = Peer::new(attacker.client.clone(), config).await?;
    let foreign = call_as(&peer, "counter").await;
    let code = match &foreign {
        Err(CallError::Remote(error)) => &*error.code,
        _ => "",
    };
    ensure!(code == "foreign-source", "{foreign:?}");
    let told = |event: &Event| {
        let is_refused = event.name == "call_refused" && event.data("code") == "foreign-source";
        is_refused && event.data("target_id") == "probe" && event.data("source_id") == "counter"
    };
    lattice.events.wait(told, STEP).await?;
    // As itself it is let in where its link leads, and NATS lets it call nothing else.
    ensure!(call_as(&peer, "kv").await? == text("psst"));
    attacker.publish(&subject("counter", ECHO), "x").await?;
    attacker.told(lattice, "kv").await
}
