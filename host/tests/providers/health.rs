//! How a provider is watched, and what happens when it ends or falls silent.

use std::time::Duration;

use serde_json::json;

use crate::common::provider::Program;
use crate::common::{Lattice, until};
use crate::{WAIT, answer_health, answer_on, healthy, link, listed, next, start};

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_ends_is_started_again_with_growing_pauses() {
    let (lattice, host, mut events) = Lattice::running_with(|config| {
        config.providers.first_restart = Duration::from_millis(50);
    })
    .await;
    let program = Program::new(&lattice, "kv", "exit 3");
    lattice.provide(&host, &start(&host, &program)).await;
    let mut pauses = Vec::new();
    for expected in 1..=6 {
        let data = events.data("provider_exited").await;
        assert_eq!(data["restarts"], expected);
        assert!(data["status"].as_str().unwrap().contains("exit status: 3"));
        pauses.push(data["restart_in_ms"].as_u64().unwrap());
        events.data("health_check_failed").await;
    }
    assert_eq!(pauses, [50, 100, 200, 400, 800, 1600]);
    let problem = listed(&lattice, &host).await[0]["problem"].to_string();
    assert!(
        problem.contains("crash loop") && problem.contains("exit status: 3"),
        "{problem}"
    );
    let (first, second) = (program.host_data(0).await, program.host_data(1).await);
    assert_ne!(first["instance_id"], second["instance_id"]);
    assert_eq!(
        first["provider_xkey_private_key"],
        second["provider_xkey_private_key"]
    );
    // It can be stopped in the middle of a pause.
    lattice
        .done(
            &format!("provider.stop.{}", host.id()),
            &json!({"provider_id": "kv"}),
        )
        .await;
    events.data("provider_stopped").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_falls_silent_counts_as_failed() {
    let (lattice, host, mut events, _program, health) = healthy(|config| {
        config.providers.health_interval = Duration::from_millis(200);
        config.rpc_timeout = Duration::from_millis(200);
    })
    .await;
    events.data("health_check_status").await;
    health.abort();
    let failed = events.data("health_check_failed").await;
    assert!(
        failed["message"]
            .as_str()
            .unwrap()
            .contains("no answer to 3 health requests")
    );
    assert!(listed(&lattice, &host).await[0]["problem"].is_string());
    let _health = answer_health(&lattice, json!({"healthy": true})).await;
    events.data("health_check_passed").await;
    until("the problem to be gone", async || {
        listed(&lattice, &host).await[0]
            .get("problem")
            .is_none()
            .then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_health_of_another_process_with_the_same_id_counts_for_nothing() {
    let (lattice, host, mut events) = Lattice::running().await;
    let program = Program::new(&lattice, "kv", WAIT);
    let other = json!({"healthy": true, "host_id": "another"});
    let _other = answer_health(&lattice, other).await;
    lattice.provide(&host, &start(&host, &program)).await;
    let host_data = program.host_data(0).await;
    let key = {
        let seed = host_data["provider_xkey_private_key"].as_str().unwrap();
        lattice_claims::CurveKey::from_seed(seed)
            .unwrap()
            .public_key()
    };
    let seen = events.drain().await;
    assert!(seen.is_empty(), "{seen:?}");
    // A link that is put before the process listens is told again when it does.
    lattice.done("link.put", &link(&[])).await;
    let put = format!("wasmbus.rpc.default.{key}.linkdefs.put");
    let mut puts = lattice.client.subscribe(put).await.unwrap();
    let own = format!("wasmbus.rpc.default.{key}.health");
    let _own = answer_on(&lattice, &own, json!({"healthy": true})).await;
    events.data("health_check_passed").await;
    assert_eq!(next(&mut puts).await.1["source_id"], "counter");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_provider_is_heard_beside_somebody_who_listens_to_everything() {
    let (lattice, host, mut events) = Lattice::running().await;
    let _recorder = lattice.client.subscribe(">").await.unwrap();
    let program = Program::new(&lattice, "kv", WAIT);
    let _health = answer_health(&lattice, json!({"healthy": true})).await;
    lattice.provide(&host, &start(&host, &program)).await;
    events.data("provider_started").await;
    events.data("health_check_passed").await;
}
