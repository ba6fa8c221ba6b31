//! Providers inside the host.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use lattice_host::builtin::{Builtin, BuiltinContext, Builtins};
use serde_json::json;
use tokio::sync::Notify;

use crate::answer_health;
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

/// Runs until it is told to panic, each time anew.
struct PanicsLater(Arc<Notify>);

#[async_trait]
impl Builtin for PanicsLater {
    async fn run(&self, _: BuiltinContext) -> Result<(), Box<dyn Error + Send + Sync>> {
        self.0.notified().await;
        panic!("out of luck");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_panics_in_the_middle_is_told_and_started_again() {
    let now = Arc::new(Notify::new());
    let later = PanicsLater(Arc::clone(&now));
    let (lattice, host, mut events) = Lattice::running_with(|config| {
        config.builtins = Builtins::none().with("later", later);
        config.providers.first_restart = Duration::from_millis(50);
    })
    .await;
    let _health = answer_health(&lattice, json!({"healthy": true})).await;
    let command = json!({"provider_ref": "builtin://later", "provider_id": "kv"});
    lattice.provide(&host, &command).await;
    events.data("health_check_passed").await;
    for lives in 1..=2 {
        now.notify_one();
        let exited = events.data("provider_exited").await;
        assert_eq!(exited["restarts"], lives);
        let status = exited["status"].as_str().unwrap();
        assert!(status.contains("it panicked: out of luck"), "{exited}");
        let failed = events.data("health_check_failed").await;
        assert_eq!(failed["provider_id"], "kv");
        events.data("health_check_passed").await;
    }
    let inventory = lattice.inventory(&host).await;
    assert_eq!(inventory["providers"][0]["id"], "kv");
}
