//! A host with more to do than it can: what it refuses, what it goes on serving, what is left after.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Result, ensure};
use lattice_integration::{HttpClient, Lattice, SLEEP, STEP, call, echo, number, until};
use lattice_rpc::{CallError, Peer, RemoteError};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

/// The function of the probe that computes for as many milliseconds as it is told.
const BURN: &str = "test:probe/behave@0.1.0.burn";

/// How long a call of the flood computes, and the time between two of them: more than three times
/// what two cores can do, and still more than four.
const WORK_MS: u64 = 40;
const PACE: Duration = Duration::from_millis(6);
/// For how long they come.
const FLOOD: Duration = Duration::from_secs(4);

/// What became of calls, by `served` or the code of the refusal.
type Outcomes = BTreeMap<String, usize>;

fn outcome<T>(answer: Result<T, CallError>) -> String {
    match answer {
        Ok(_) => "served".to_owned(),
        Err(CallError::Remote(error)) => error.code,
        Err(other) => other.to_string(),
    }
}

/// Calls that come at an even pace, whether or not answers come.
async fn flood(peer: Peer, id: &'static str) -> Result<Outcomes> {
    let begin = Instant::now();
    let mut calls = JoinSet::new();
    for count in 0..(FLOOD.as_millis() / PACE.as_millis()) as u32 {
        sleep_until(begin + count * PACE).await;
        let peer = peer.clone();
        calls.spawn(async move { outcome(call(&peer, id, BURN, number(WORK_MS), 20_000).await) });
    }
    let mut outcomes = Outcomes::new();
    while let Some(outcome) = calls.join_next().await {
        *outcomes.entry(outcome?).or_default() += 1;
    }
    Ok(outcomes)
}

/// Waits until so many calls run at once again, which tells that all permits are back.
async fn until_all_permits_are_back(peer: &Peer, id: &str, permits: usize) -> Result<()> {
    until(async || {
        let before = Instant::now();
        let calls = (0..permits).map(|_| call(peer, id, SLEEP, number(300), 5000));
        for done in futures::future::join_all(calls).await {
            done?;
        }
        let took = before.elapsed();
        ensure!(
            took < Duration::from_millis(590),
            "not at the same time: {took:?}"
        );
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_flooded_host_serves_another_component_promptly_and_is_well_afterwards() -> Result<()> {
    let lattice = Lattice::start(1).await?;
    lattice.run(0, "flooded", "probe", 20).await?;
    lattice.run(0, "quiet", "probe", 20).await?;
    let peer = lattice.peer().await?;
    echo(&peer, "flooded").await?;
    echo(&peer, "quiet").await?;
    let flood = tokio::spawn(flood(lattice.peer().await?, "flooded"));
    tokio::time::sleep(FLOOD / 4).await;
    let mut waits = Vec::new();
    while !flood.is_finished() && waits.len() < 100 {
        waits.push(echo(&peer, "quiet").await?);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    waits.sort_unstable();
    let (median, longest) = (waits[waits.len() / 2], waits[waits.len() - 1]);
    assert!(
        median < Duration::from_millis(100) && longest < Duration::from_secs(1),
        "{median:?} {longest:?}"
    );
    let outcomes = flood.await??;
    let expected = ["served", RemoteError::OVERLOADED];
    assert_eq!(outcomes.keys().collect::<Vec<_>>(), {
        let mut keys = expected.to_vec();
        keys.sort_unstable();
        keys
    });
    for id in ["flooded", "quiet"] {
        until_all_permits_are_back(&peer, id, 20).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_refusal_over_http_says_when_to_come_again() -> Result<()> {
    let lattice = Lattice::start_host(&["--max-queued-calls", "2"]).await?;
    lattice.run(0, "web", "http-probe", 1).await?;
    let address = lattice.serve_http(0, "web").await?;
    lattice.until_status(&address, "/", 200).await?;
    let mut requests = JoinSet::new();
    for _ in 0..10 {
        let mut client = HttpClient::connect(&address).await?;
        requests.spawn(async move { client.get("/wait/1500").await });
    }
    let mut refused = 0;
    while let Some(response) = requests.join_next().await {
        let response = response??;
        if response.status() == 503 {
            refused += 1;
            let wait: u64 = response.headers()["retry-after"].to_str()?.parse()?;
            assert!((1..=10).contains(&wait), "{wait}");
            assert!(response.body().starts_with(b"overloaded: "), "{response:?}");
        } else {
            assert_eq!(response.status(), 200);
        }
    }
    assert!((7..10).contains(&refused), "{refused}");
    let before = Instant::now();
    lattice.until_status(&address, "/", 200).await?;
    assert!(before.elapsed() < STEP);
    Ok(())
}
