//! Calls from `twice` to `sums`, the components of [`wat`](super::wat) that a link connects.

use std::time::Duration;

use lattice_rpc::{CallError, Invocation, Peer};
use serde_json::{Value, json};
use tokio::time::Instant;

/// A link for `test:add/sums`.
pub(crate) fn link(source: &str, target: &str) -> Value {
    json!({
        "source_id": source, "target": target, "name": "default", "wit_namespace": "test",
        "wit_package": "add", "interfaces": ["sums"], "source_config": [], "target_config": [],
    })
}

/// Calls `twice`.
pub(crate) async fn twice(peer: &Peer, value: u8, within: Duration) -> Result<Vec<u8>, CallError> {
    let deadline = Instant::now() + within;
    let invocation = Invocation::new("default.twice.wrpc.0.0.1.twice", deadline);
    let answer = peer.call(invocation, vec![value].into()).await?;
    Ok(answer.to_vec())
}
