//! Every failure is seen: by the caller as a typed error in time, by the operator in the log.

use std::time::Duration;

use anyhow::{Result, ensure};
use bytes::Bytes;
use lattice_core::Locality;
use lattice_integration::{Lattice, SLEEP, STEP, call, echo, get, number, text, until};
use lattice_rpc::{CallError, RemoteError};
use serde_json::json;
use tokio::time::Instant;

fn remote(error: CallError) -> RemoteError {
    match error {
        CallError::Remote(error) => error,
        other => panic!("not an error of the called side: {other}"),
    }
}

#[tokio::test]
async fn a_trap_reaches_caller_and_log() -> Result<()> {
    let lattice = Lattice::start(1).await?;
    lattice.run(0, "probe", "probe", 10).await?;
    let peer = lattice.peer().await?;
    let params = text("on purpose");
    let error = call(&peer, "probe", "test:probe/behave@0.1.0.trap", params, 5000).await;
    let error = remote(error.unwrap_err());
    assert!(error.message.contains("trapped"), "{error:?}");
    // What the guest wrote to its standard error, and how the call ended.
    until(async || {
        let log = lattice.hosts[0].log();
        let has_both = log.contains("on purpose") && log.contains("unreachable");
        ensure!(has_both, "{log}");
        Ok(())
    })
    .await?;
    echo(&peer, "probe").await.map(drop)
}

#[tokio::test]
async fn a_void_function_that_traps_is_an_error_too() -> Result<()> {
    let lattice = Lattice::start(1).await?;
    lattice.run(0, "probe", "probe", 10).await?;
    lattice.run_caller("probe", 10).await?;
    let peer = lattice.peer().await?;
    let params = text("on purpose");
    let error = call(
        &peer,
        "caller",
        "test:caller/relay@0.1.0.trap",
        params,
        5000,
    )
    .await;
    remote(error.unwrap_err());
    echo(&peer, "probe").await.map(drop)
}

#[tokio::test]
async fn a_missing_link_and_a_target_nowhere_are_named() -> Result<()> {
    let lattice = Lattice::start(1).await?;
    lattice.run(0, "caller", "caller", 10).await?;
    let peer = lattice.peer().await?;
    let function = "test:caller/relay@0.1.0.text";
    let error = remote(
        call(&peer, "caller", function, text("x"), 5000)
            .await
            .unwrap_err(),
    );
    assert!(
        error.message.contains("link `default` not found"),
        "{error:?}"
    );
    lattice
        .link("caller", "nowhere", "test:probe/echo", &[], &[])
        .await?;
    // The host learns of the link through its watch.
    until(async || {
        let before = Instant::now();
        let answer = call(&peer, "caller", function, text("x"), 5000).await;
        let error = remote(answer.unwrap_err());
        assert!(before.elapsed() < Duration::from_secs(5));
        ensure!(error.message.contains("nowhere"), "{error:?}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_keyvalue_call_without_a_store_is_a_value_not_a_trap() -> Result<()> {
    let lattice = Lattice::start(1).await?;
    lattice
        .run(0, "counter", "http-keyvalue-counter", 10)
        .await?;
    let address = lattice.serve_http(0, "counter").await?;
    let body = lattice.until_status(&address, "/x", 500).await?;
    assert!(body.starts_with("could not count /x"), "{body}");
    lattice
        .link(
            "counter",
            "nowhere",
            "wasi:keyvalue/store,atomics",
            &[],
            &[],
        )
        .await?;
    until(async || {
        let (_, body) = get(&address, "/x").await?;
        ensure!(body.contains("nowhere"), "{body}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_deadline_holds_end_to_end() -> Result<()> {
    let lattice = Lattice::start(1).await?;
    lattice.run(0, "probe", "probe", 1).await?;
    lattice.run_caller("probe", 1).await?;
    let peer = lattice.peer().await?;
    // Both have one instance: while a call held it, this one would be refused.
    let both_are_free = async || {
        echo(&peer, "probe").await?;
        let relayed = "test:caller/relay@0.1.0.text";
        let answer = call(&peer, "caller", relayed, text("x"), 5000).await?;
        ensure!(answer == text("x"), "{answer:?}");
        Ok(())
    };
    until(async || both_are_free().await).await?;
    let (sleep, spin) = (
        "test:caller/relay@0.1.0.sleep",
        "test:caller/relay@0.1.0.spin",
    );
    for (function, params) in [(sleep, number(60_000)), (spin, Bytes::new())] {
        let before = Instant::now();
        let error = call(&peer, "caller", function, params, 700)
            .await
            .unwrap_err();
        assert_eq!(error.refusal().code, RemoteError::DEADLINE, "{error}");
        assert!(before.elapsed() < Duration::from_millis(1700), "{error}");
        until(async || both_are_free().await).await?;
        assert!(before.elapsed() < Duration::from_secs(5), "{function}");
    }
    Ok(())
}

#[tokio::test]
async fn a_provider_that_dies_in_mid_call_fails_the_call_in_time() -> Result<()> {
    let mut lattice = Lattice::start(1).await?;
    // Over NATS, where nothing tells of the end of a process.
    lattice.locality = Locality::Spread;
    lattice.run_counter(0, &[0], 10).await?;
    let address = lattice.serve_http(0, "counter").await?;
    lattice.until_status(&address, "/x", 200).await?;
    let mark = lattice.events.len();
    let pid = lattice.hosts[0].provider_pid("keyvalue-nats-provider")?;
    let pid = pid.to_string();
    std::process::Command::new("kill")
        .args(["-STOP", &pid])
        .status()?;
    let increment = "wrpc:keyvalue/atomics@0.2.0-draft.increment";
    let mut calls = lattice.calls("kv", increment).await?;
    let before = Instant::now();
    let stuck = tokio::spawn({
        let address = address.clone();
        async move { get(&address, "/x").await }
    });
    calls.begun(1).await?;
    std::process::Command::new("kill")
        .args(["-KILL", &pid])
        .status()?;
    let (status, text) = stuck.await??;
    assert!(
        status >= 500 && before.elapsed() < Duration::from_secs(8),
        "{status} {text}"
    );
    // The host says so, starts it again, and the counter goes on where it was.
    let failed = |event: &lattice_integration::Event| {
        event.name == "health_check_failed" && event.data("provider_id") == "kv"
    };
    lattice.events.wait_after(mark, failed, STEP).await?;
    let text = lattice.until_status(&address, "/x", 200).await?;
    assert!(text.starts_with("Counter /x: "), "{text}");
    Ok(())
}

#[tokio::test]
async fn a_refused_link_shows_its_reason() -> Result<()> {
    let lattice = Lattice::start(1).await?;
    lattice.run(0, "web", "http-hello", 10).await?;
    lattice
        .provide(0, "httpserver", "http-server-provider", &[])
        .await?;
    // The port belongs to somebody else.
    let taken = std::net::TcpListener::bind("127.0.0.1:0")?;
    let address = taken.local_addr()?.to_string();
    lattice
        .config("taken", json!({ "address": address }))
        .await?;
    lattice
        .link(
            "httpserver",
            "web",
            "wasi:http/incoming-handler",
            &["taken"],
            &[],
        )
        .await?;
    let state = async |wanted: &str| -> Result<serde_json::Value> {
        until(async || {
            let links = lattice.ctl_ok("link.get", json!(null)).await?;
            let status = links["response"][0]["status"].clone();
            let found = status.to_string().contains(&format!("\"{wanted}\""));
            ensure!(found, "the link never gets {wanted}: {links}");
            Ok(status)
        })
        .await
    };
    let failed = state("failed").await?;
    assert!(
        failed.to_string().to_lowercase().contains("in use"),
        "{failed}"
    );
    drop(taken);
    state("ready").await?;
    assert_eq!(get(&address, "/").await?.0, 200);
    Ok(())
}

#[tokio::test]
async fn an_overloaded_component_refuses_and_recovers() -> Result<()> {
    // A call waits a second at most for its turn, which comes after two.
    let lattice = Lattice::start(1).await?;
    lattice.run(0, "probe", "probe", 1).await?;
    let peer = lattice.peer().await?;
    let calls = (0..10).map(|_| call(&peer, "probe", SLEEP, number(2000), 10_000));
    let outcomes = futures::future::join_all(calls).await;
    let (done, failed): (Vec<_>, Vec<_>) = outcomes.into_iter().partition(Result::is_ok);
    let codes: Vec<String> = failed
        .into_iter()
        .map(|outcome| remote(outcome.unwrap_err()).code)
        .collect();
    assert!(!done.is_empty() && !codes.is_empty(), "{codes:?}");
    assert!(
        codes.iter().all(|code| code == RemoteError::OVERLOADED),
        "{codes:?}"
    );
    let before = Instant::now();
    echo(&peer, "probe").await?;
    assert!(before.elapsed() < Duration::from_secs(1));
    Ok(())
}
