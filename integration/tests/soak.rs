//! Many calls, clients that leave in the middle, and everything back at its start value.
//!
//! The suite runs a short form; `LATTICE_SOAK_CALLS` sets the number of calls (ten million for the
//! nightly run) and `LATTICE_SOAK_SECONDS` the length of the abort storm.

use std::time::Duration;

use anyhow::Result;
use lattice_integration::{ECHO, Monitored, STEP, call, text};
use tokio::io::AsyncWriteExt as _;
use tokio::time::Instant;

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
                    anyhow::ensure!(answer == params, "the echo differs");
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
    batch(calls).await?;
    assert_eq!(peer.stats().open_calls, 0);
    bed.subscriptions_back_at(subscriptions).await?;
    let grown = bed.resident()?.saturating_sub(resident);
    assert!(
        grown < 64 << 20,
        "the host grew by {grown} bytes in {calls} calls"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_leave_in_the_middle_leave_nothing_behind() -> Result<()> {
    let length = Duration::from_secs(setting("LATTICE_SOAK_SECONDS", 8));
    let bed = Monitored::start().await?;
    bed.lattice.run(0, "web", "http-probe", 32).await?;
    let address = bed.lattice.serve_http(0, "web").await?;
    bed.lattice.until_status(&address, "/", 200).await?;
    let start = bed.settled_subscriptions().await?;
    let until = Instant::now() + length;
    let mut tasks = tokio::task::JoinSet::new();
    for worker in 0..32u64 {
        let address = address.clone();
        tasks.spawn(async move {
            while Instant::now() < until {
                let path = ["/wait/2000", "/slow/100/50", "/stream/10000000"][worker as usize % 3];
                let mut stream = tokio::net::TcpStream::connect(&address).await?;
                let request = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\n\r\n");
                stream.write_all(request.as_bytes()).await?;
                tokio::time::sleep(Duration::from_millis(5 + worker)).await;
                // Dropping the connection is what this test is about.
            }
            Ok::<_, anyhow::Error>(())
        });
    }
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    // All 32 instances are free: as many slow requests at once are all served.
    let until = Instant::now() + STEP;
    loop {
        let requests = (0..32).map(|_| lattice_integration::get(&address, "/wait/200"));
        let answers = futures::future::join_all(requests).await;
        if answers
            .iter()
            .all(|answer| answer.as_ref().is_ok_and(|(status, _)| *status == 200))
        {
            break;
        }
        anyhow::ensure!(Instant::now() < until, "instances stay taken: {answers:?}");
    }
    bed.subscriptions_back_at(start).await
}
