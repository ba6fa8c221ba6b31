//! Calls of providers that fail: who waits for the answer gets an error in time, and whoever watches the
//! lattice one event with the cause.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lattice_core::Locality;
use lattice_integration::{Event, HANDLE, HostOptions, Lattice, STEP, begin, get};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::sleep;

/// How long calls may take where that is to be over soon.
const SOON: u64 = 1_500;
/// And where it is not.
const LATE: u64 = 30_000;

/// So many hosts; calls over links that are put take the bus, and so many milliseconds at most.
async fn lattice(hosts: usize, inside: bool, limit: u64) -> Result<Lattice> {
    let mut lattice = Lattice::start(0).await?;
    for _ in 0..hosts {
        let options = HostOptions {
            arguments: vec!["--call-timeout-ms".to_owned(), limit.to_string()],
            ..HostOptions::default()
        };
        lattice.add_host(options).await?;
    }
    (lattice.inside, lattice.locality) = (inside, Locality::Spread);
    Ok(lattice)
}

/// The same with a component on the first host and the HTTP server on the second; gives its address.
async fn apart(inside: bool, limit: u64) -> Result<(Lattice, String)> {
    let lattice = lattice(2, inside, limit).await?;
    lattice.run(0, "probe", "http-probe", 10).await?;
    let address = lattice.serve_http(1, "probe").await?;
    lattice.until_status(&address, "/", 200).await?;
    // What was asked before anybody knew of the link or the component has failed, too.
    sleep(Duration::from_secs(2)).await;
    Ok((lattice, address))
}

/// The one event of a failed call of the HTTP server that has come since `mark`, told by the host `by`.
async fn the_one(lattice: &Lattice, mark: usize, by: usize) -> Result<Event> {
    let failed = |event: &Event| event.name == "invocation_failed";
    lattice.events.wait_after(mark, failed, STEP).await?;
    // Whatever else is told comes soon.
    sleep(Duration::from_secs(2)).await;
    let mut all = lattice.events.all().split_off(mark);
    all.retain(failed);
    ensure!(all.len() == 1, "{all:#?}");
    let event = all.remove(0);
    ensure!(event.data("source_id") == "httpserver", "{event:?}");
    ensure!(event.data("host_id") == lattice.host(by), "{event:?}");
    ensure!(!event.data("error").is_empty(), "{event:?}");
    Ok(event)
}

fn is_of(event: &Event, component: &str, code: &str) {
    let shown = (event.data("component_id"), event.data("code"));
    assert_eq!(shown, (component, code), "{event:?}");
}

async fn runs_nowhere(inside: bool) -> Result<()> {
    let lattice = lattice(1, inside, LATE).await?;
    let address = lattice.serve_http(0, "nowhere").await?;
    let mark = lattice.events.len();
    let (status, text) = get(&address, "/").await?;
    assert_eq!(status, 503, "{text}");
    let event = the_one(&lattice, mark, 0).await?;
    is_of(&event, "nowhere", "unreachable");
    assert!(event.data("error").contains("nobody serves"), "{event:?}");
    assert_eq!(event.data("operation"), HANDLE);
    Ok(())
}

#[tokio::test]
async fn a_process_whose_target_runs_nowhere_has_its_host_tell() -> Result<()> {
    runs_nowhere(false).await
}

#[tokio::test]
async fn a_provider_inside_whose_target_runs_nowhere_has_its_host_tell() -> Result<()> {
    runs_nowhere(true).await
}

#[tokio::test]
async fn many_that_fail_are_a_few_events_that_count_them_all() -> Result<()> {
    const REQUESTS: usize = 50;
    let lattice = lattice(1, false, LATE).await?;
    let address = lattice.serve_http(0, "nowhere").await?;
    for _ in 0..REQUESTS {
        assert_eq!(get(&address, "/").await?.0, 503);
    }
    sleep(Duration::from_secs(4)).await;
    let mut all = lattice.events.all();
    all.retain(|event| event.name == "invocation_failed");
    let more = |event: &Event| event.body["data"]["suppressed"].as_u64().unwrap_or(0);
    let count: u64 = all.iter().map(|event| 1 + more(event)).sum();
    assert_eq!(count, REQUESTS as u64, "{all:#?}");
    assert!(all.len() < REQUESTS / 4, "{all:#?}");
    Ok(())
}

async fn host_is_killed(inside: bool) -> Result<()> {
    let (mut lattice, address) = apart(inside, LATE).await?;
    let mark = lattice.events.len();
    let mut calls = lattice.calls("probe", HANDLE).await?;
    let waiting = tokio::spawn(async move { get(&address, "/wait/60000").await });
    calls.begun(1).await?;
    lattice.hosts[0].kill().await?;
    let (status, text) = waiting.await??;
    assert_eq!(status, 502, "{text}");
    let event = the_one(&lattice, mark, 1).await?;
    is_of(&event, "probe", "unreachable");
    Ok(())
}

#[tokio::test]
async fn a_process_whose_call_ends_with_a_host_has_its_host_tell() -> Result<()> {
    host_is_killed(false).await
}

#[tokio::test]
async fn a_provider_inside_whose_call_ends_with_a_host_has_its_host_tell() -> Result<()> {
    host_is_killed(true).await
}

async fn answers_too_late(inside: bool) -> Result<()> {
    let (lattice, address) = apart(inside, SOON).await?;
    let mark = lattice.events.len();
    // A host that says nothing, as one that has lost its network.
    let pid = lattice.hosts[0].pid().context("no process")?.to_string();
    Command::new("kill").args(["-STOP", &pid]).status()?;
    let (status, text) = get(&address, "/").await?;
    assert_eq!(status, 504, "{text}");
    let event = the_one(&lattice, mark, 1).await?;
    is_of(&event, "probe", "timeout");
    Ok(())
}

#[tokio::test]
async fn a_process_whose_call_is_not_answered_in_time_has_its_host_tell() -> Result<()> {
    answers_too_late(false).await
}

#[tokio::test]
async fn a_provider_inside_whose_call_is_not_answered_in_time_has_its_host_tell() -> Result<()> {
    answers_too_late(true).await
}

#[tokio::test]
async fn a_request_with_a_body_that_is_given_up_is_told() -> Result<()> {
    let (lattice, address) = apart(false, SOON).await?;
    let mark = lattice.events.len();
    let head = "POST /wait/60000 HTTP/1.1\r\ntransfer-encoding: chunked";
    let mut client = begin(&address, head).await?;
    client.write_all(b"5\r\nhello\r\n").await?;
    sleep(Duration::from_millis(500)).await;
    client.write_all(b"0\r\n\r\n").await?;
    let mut answer = [0; 12];
    client.read_exact(&mut answer).await?;
    assert_eq!(answer, *b"HTTP/1.1 504");
    let event = the_one(&lattice, mark, 1).await?;
    is_of(&event, "probe", "timeout");
    Ok(())
}

#[tokio::test]
async fn what_the_host_of_a_component_tells_is_told_once() -> Result<()> {
    let (lattice, address) = apart(false, SOON).await?;
    for (path, status, code) in [
        ("/trap", 500, "component-failed"),
        ("/wait/60000", 504, "timeout"),
    ] {
        let mark = lattice.events.len();
        let (answered, text) = get(&address, path).await?;
        assert_eq!(answered, status, "{text}");
        let event = the_one(&lattice, mark, 0).await?;
        is_of(&event, "probe", code);
    }
    Ok(())
}
