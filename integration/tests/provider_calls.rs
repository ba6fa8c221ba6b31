//! Calls of providers that fail: their callers are told in time, and whoever watches the lattice hears of
//! it once.

use std::time::Duration;

use anyhow::{Result, ensure};
use lattice_core::Locality;
use lattice_integration::{Event, HANDLE, HostOptions, Lattice, STEP, get};
use serde_json::Value;
use tokio::time::{Instant, sleep};

/// Nobody is asked for longer than this.
const LIMIT: Duration = Duration::from_millis(1500);

/// So many hosts; calls over links that are put take the bus.
async fn lattice(hosts: usize, inside: bool) -> Result<Lattice> {
    let mut lattice = Lattice::start(0).await?;
    for _ in 0..hosts {
        let limit = LIMIT.as_millis().to_string();
        let options = HostOptions {
            arguments: vec!["--call-timeout-ms".to_owned(), limit],
            ..HostOptions::default()
        };
        lattice.add_host(options).await?;
    }
    (lattice.inside, lattice.locality) = (inside, Locality::Spread);
    Ok(lattice)
}

/// The failed calls of the HTTP server that were told.
fn told(lattice: &Lattice) -> Vec<Event> {
    let events = lattice.events.all().into_iter();
    let of_http = |event: &Event| {
        event.name == "invocation_failed" && event.data("source_id") == "httpserver"
    };
    events.filter(of_http).collect()
}

/// The one event of a call that has failed, told by the host `by`.
async fn the_one(lattice: &Lattice, by: usize, component: &str, code: &str) -> Result<Event> {
    let failed = |event: &Event| event.name == "invocation_failed";
    lattice.events.wait(failed, STEP).await?;
    // Whatever else is told comes soon.
    sleep(Duration::from_secs(2)).await;
    let all = told(lattice);
    ensure!(all.len() == 1, "{all:#?}");
    let event = all[0].clone();
    let shown = (event.data("component_id"), event.data("code"));
    ensure!(shown == (component, code), "{event:?}");
    ensure!(event.data("host_id") == lattice.host(by), "{event:?}");
    ensure!(!event.data("error").is_empty(), "{event:?}");
    Ok(event)
}

async fn runs_nowhere(inside: bool) -> Result<()> {
    let lattice = lattice(1, inside).await?;
    let address = lattice.serve_http(0, "nowhere").await?;
    let (status, text) = get(&address, "/").await?;
    assert_eq!(status, 503, "{text}");
    let event = the_one(&lattice, 0, "nowhere", "unreachable").await?;
    assert!(event.data("error").contains("nobody serves"), "{event:?}");
    assert!(event.data("operation").ends_with(".handle"), "{event:?}");
    Ok(())
}

#[tokio::test]
async fn a_target_that_runs_nowhere_is_told_by_the_host_of_a_process() -> Result<()> {
    runs_nowhere(false).await
}

#[tokio::test]
async fn a_target_that_runs_nowhere_is_told_of_a_provider_inside() -> Result<()> {
    runs_nowhere(true).await
}

async fn host_is_killed(inside: bool) -> Result<()> {
    let mut lattice = lattice(2, inside).await?;
    lattice.run(0, "probe", "http-probe", 10).await?;
    let address = lattice.serve_http(1, "probe").await?;
    lattice.until_status(&address, "/", 200).await?;
    let mark = told(&lattice).len();
    ensure!(mark == 0, "failed before");
    let mut calls = lattice.calls("probe", HANDLE).await?;
    // A body that ends at once, as far as the link is concerned: the head may take its time.
    let waiting = tokio::spawn(async move { get(&address, "/wait/60000").await });
    calls.begun(1).await?;
    lattice.hosts[0].kill().await?;
    let (status, text) = waiting.await??;
    // What the caller learns first: that the host is gone, or that its time is over.
    ensure!([502, 504].contains(&status), "{status} {text}");
    let code = if status == 502 {
        "unreachable"
    } else {
        "timeout"
    };
    the_one(&lattice, 1, "probe", code).await.map(drop)
}

#[tokio::test]
async fn a_host_that_dies_in_mid_call_is_told_by_that_of_a_process() -> Result<()> {
    host_is_killed(false).await
}

#[tokio::test]
async fn a_host_that_dies_in_mid_call_is_told_of_a_provider_inside() -> Result<()> {
    host_is_killed(true).await
}
