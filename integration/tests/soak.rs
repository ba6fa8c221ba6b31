//! Many calls, clients that leave in the middle, and everything back at its start value.
//!
//! The suite runs a short form; `LATTICE_SOAK_CALLS` sets the number of calls and
//! `LATTICE_SOAK_SECONDS` the length of the abort storm. `cargo xtask test --nightly` sets both, to
//! ten million and ten minutes.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lattice_core::Locality;
use lattice_integration::{ECHO, Monitored, begin, call, get, growth_allowed, text, until, usage};
use tokio::time::Instant;

/// How long the storm is that warms up: as long as the pools still grow.
const WARM_UP: Duration = Duration::from_secs(8);

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(default)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_calls_none_of_which_hangs() -> Result<()> {
    let calls = setting("LATTICE_SOAK_CALLS", 20_000);
    let bed = Monitored::start().await?;
    bed.lattice.run(0, "probe", "probe", 1000).await?;
    let peer = bed.lattice.peer().await?;
    let params = text("hello");
    let batch = async |count: u64| -> Result<()> {
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..64 {
            let (peer, params) = (peer.clone(), params.clone());
            tasks.spawn(async move {
                for _ in 0..count / 64 {
                    let answer = call(&peer, "probe", ECHO, params.clone(), 20_000).await?;
                    ensure!(answer == params, "the echo differs");
                }
                Ok(())
            });
        }
        while let Some(done) = tasks.join_next().await {
            done??;
        }
        Ok(())
    };
    // The first calls fill pools and caches that stay.
    batch(6400).await?;
    let (subscriptions, resident) = (bed.settled_subscriptions().await?, bed.resident()?);
    let tasks = bed.tasks().await?;
    batch(calls).await?;
    assert_eq!(peer.stats().open_calls, 0);
    bed.subscriptions_back_at(subscriptions).await?;
    bed.tasks_back_at(tasks).await?;
    let grown = bed.resident()?.saturating_sub(resident);
    assert!(
        grown < growth_allowed(calls),
        "the host grew by {grown} bytes in {calls} calls"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_leave_in_the_middle_leave_nothing_behind() -> Result<()> {
    let length = Duration::from_secs(setting("LATTICE_SOAK_SECONDS", 8));
    let mut bed = Monitored::start().await?;
    // Over the bus, though both processes are of one machine.
    bed.lattice.locality = Locality::Spread;
    bed.lattice.run(0, "web", "http-probe", 32).await?;
    let address = bed.lattice.serve_http(0, "web").await?;
    bed.lattice.until_status(&address, "/", 200).await?;
    let subscriptions = bed.settled_subscriptions().await?;
    let host = &bed.lattice.hosts[0];
    let pids = [
        host.pid().context("the host has exited")?,
        host.provider_pid("http-server-provider")?,
    ];
    // The first storm fills pools and caches that stay. What the allocator holds differs by more
    // between two quiet moments than storms do, so its highest counts.
    let resident = highest(pids, storm(&address, WARM_UP)).await?;
    all_instances_are_free(&address).await?;
    bed.subscriptions_back_at(subscriptions).await?;
    let tasks = bed.tasks().await?;
    let left = storm(&address, length).await?;
    all_instances_are_free(&address).await?;
    bed.subscriptions_back_at(subscriptions).await?;
    bed.tasks_back_at(tasks).await?;
    for (pid, resident) in pids.into_iter().zip(resident) {
        // The allocator gives back a little later what the last clients took.
        until(async || {
            let grown = usage(pid)?.resident.saturating_sub(resident);
            ensure!(
                grown < growth_allowed(left),
                "process {pid} grew by {grown} bytes while {left} clients left"
            );
            Ok(())
        })
        .await?;
    }
    Ok(())
}

/// The most memory that each process holds while `load` runs.
async fn highest(pids: [u32; 2], load: impl Future<Output = Result<u64>>) -> Result<[u64; 2]> {
    let mut highest = [0; 2];
    let mut looks = tokio::time::interval(Duration::from_millis(50));
    let mut load = std::pin::pin!(load);
    loop {
        tokio::select! {
            done = &mut load => return done.map(|_| highest),
            _ = looks.tick() => for (pid, highest) in pids.into_iter().zip(&mut highest) {
                *highest = usage(pid)?.resident.max(*highest);
            },
        }
    }
}

/// Lets 32 clients at a time ask and leave, and returns how many did.
async fn storm(address: &str, length: Duration) -> Result<u64> {
    let until = Instant::now() + length;
    let mut tasks = tokio::task::JoinSet::new();
    for worker in 0..32u64 {
        let address = address.to_owned();
        tasks.spawn(async move {
            let mut left = 0;
            while Instant::now() < until {
                let path = ["/wait/2000", "/slow/100/50", "/stream/10000000"][worker as usize % 3];
                let _stream = begin(&address, &format!("GET {path} HTTP/1.1")).await?;
                tokio::time::sleep(Duration::from_millis(5 + worker)).await;
                // Dropping the connection is what this test is about.
                left += 1;
            }
            Ok::<_, anyhow::Error>(left)
        });
    }
    let mut left = 0;
    while let Some(done) = tasks.join_next().await {
        left += done??;
    }
    Ok(left)
}

/// As many slow requests at once as there are instances are all served.
async fn all_instances_are_free(address: &str) -> Result<()> {
    until(async || {
        let requests = (0..32).map(|_| get(address, "/wait/200"));
        let answers = futures::future::join_all(requests).await;
        let served = |answer: &Result<_>| answer.as_ref().is_ok_and(|(status, _)| *status == 200);
        ensure!(
            answers.iter().all(served),
            "instances stay taken: {answers:?}"
        );
        Ok(())
    })
    .await
}
