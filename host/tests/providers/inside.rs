//! Providers inside the host.

use std::error::Error;

use async_trait::async_trait;
use lattice_host::builtin::{Builtin, BuiltinContext, Builtins};
use serde_json::json;

use crate::common::Lattice;

/// Panics as soon as it runs.
struct Panics;

#[async_trait]
impl Builtin for Panics {
    async fn run(&self, _: BuiltinContext) -> Result<(), Box<dyn Error + Send + Sync>> {
        panic!("no luck");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_is_told_and_the_host_goes_on() {
    let (lattice, host, mut events) = Lattice::running_with(|config| {
        config.builtins = Builtins::none().with("panics", Panics);
    })
    .await;
    let command = json!({"provider_ref": "builtin://panics", "provider_id": "unlucky"});
    lattice.provide(&host, &command).await;
    let failed = events.data("provider_start_failed").await;
    assert_eq!(failed["provider_id"], "unlucky");
    let error = failed["error"].as_str().unwrap();
    assert!(error.contains("it panicked: no luck"), "{failed}");
    let inventory = lattice.inventory(&host).await;
    assert_eq!(inventory["host_id"], host.id().as_str());
}
