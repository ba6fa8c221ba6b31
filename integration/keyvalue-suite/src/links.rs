//! What becomes of a link whose server goes away, for providers whose servers are processes.

use std::time::Duration;

use lattice_core::link::LinkState;
use lattice_provider_sdk::keyvalue::KeyValueError;
use lattice_services::Service;
use tokio::time::Instant;

use crate::{Component, Lattice, PATIENCE, cases};

/// Waits until the value that was there before an outage is there again.
pub async fn until_back(kv: &Component) {
    let back = async { while kv.get("default", "a").await != Ok(Some("x".into())) {} };
    let waited = tokio::time::timeout(PATIENCE, back).await;
    waited.expect("the value is there again in time");
}

/// Waits until a server that was killed is gone: a process of it may still answer what it is asked in that moment.
async fn until_away(kv: &Component) {
    let away = async { while kv.get("default", "a").await.is_ok() {} };
    let waited = tokio::time::timeout(PATIENCE, away).await;
    waited.expect("the server is gone in time");
}

/// Reads without a server, which has to be an error soon.
pub async fn fails_soon(kv: &Component) {
    let asked = Instant::now();
    let answer = kv.get("default", "a").await;
    assert!(matches!(answer, Err(KeyValueError::Other(_))), "{answer:?}");
    assert!(asked.elapsed() < Duration::from_secs(5));
}

/// A server that is killed is an error with its address until it is back; nothing is lost then.
pub async fn a_server_that_is_away_is_an_error_until_it_is_back(
    server: &mut Service,
    lattice: &mut Lattice,
) {
    let url = server.url();
    let kv = lattice.link("counter", "default", &[("url", &url)]).await;
    assert_eq!(kv.set("default", "a", "x").await, Ok(()));
    server.kill();
    until_away(&kv).await;
    for _ in 0..3 {
        fails_soon(&kv).await;
    }
    let reason = lattice.report_of(LinkState::Failed).await.reason;
    let reason = reason.expect("a failed link says why");
    assert!(reason.contains(&server.port().to_string()), "{reason}");
    server.start_again().await.expect("the server");
    until_back(&kv).await;
    lattice.report_of(LinkState::Ready).await;
    cases::count_at_once(&kv, "n", 16).await;
}
