//! A full host leaves its queue groups to a host of 1.9, which cannot be handed calls, and to
//! nobody else.

use std::time::Duration;

use anyhow::{Result, bail, ensure};
use lattice_integration::{Lattice, OldHost, SLEEP, STEP, call, number, until};
use lattice_rpc::{CallError, Peer, RemoteError};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

/// How long calls keep both instances, so that the host is away for long; and how long they do
/// where it stays.
const LONG_MS: u64 = 4000;
const SHORT_MS: u64 = 300;

/// What became of calls that were made for a while.
#[derive(Debug, Default)]
struct Outcomes {
    served: usize,
    refused: usize,
}

/// Makes a hundred calls a second for `time`, none of which may fail but by a refusal.
async fn load(peer: &Peer, work_ms: u64, time: Duration) -> Result<Outcomes> {
    let end = Instant::now() + time;
    let mut calls = JoinSet::new();
    while Instant::now() < end {
        let peer = peer.clone();
        calls.spawn(async move { call(&peer, "probe", SLEEP, number(work_ms), 20_000).await });
        sleep(Duration::from_millis(10)).await;
    }
    let mut outcomes = Outcomes::default();
    for outcome in calls.join_all().await {
        match outcome {
            Ok(_) => outcomes.served += 1,
            Err(CallError::Remote(error)) if error.code == RemoteError::OVERLOADED => {
                outcomes.refused += 1;
            }
            Err(other) => bail!("{other}"),
        }
    }
    Ok(outcomes)
}

/// Hosts with two instances of the probe each.
async fn narrow(hosts: usize) -> Result<Lattice> {
    let lattice = Lattice::start(hosts).await?;
    for host in 0..hosts {
        lattice.run(host, "probe", "probe", 2).await?;
    }
    Ok(lattice)
}

/// Calls until all that is new goes to the host of 1.9, and gives what has not been answered yet.
async fn until_all_go_there(peer: &Peer, old: &OldHost) -> Result<JoinSet<()>> {
    let mut calls = JoinSet::new();
    let mut row = 0;
    until(async || {
        for _ in 0..5 {
            let peer = peer.clone();
            calls.spawn(async move {
                // Before the host has left it refuses some.
                _ = call(&peer, "probe", SLEEP, number(LONG_MS), 20_000).await;
            });
        }
        let before = old.served();
        // Where this one has to wait it is given up.
        let answer = call(peer, "probe", SLEEP, number(LONG_MS), 200).await;
        let went_there = answer.is_ok() && old.served() > before;
        row = if went_there { row + 1 } else { 0 };
        ensure!(row >= 20, "{row} calls in a row went to the other");
        Ok(())
    })
    .await?;
    Ok(calls)
}

#[tokio::test]
async fn a_full_host_leaves_to_one_of_1_9_and_serves_again_later() -> Result<()> {
    let lattice = narrow(1).await?;
    let peer = lattice.peer().await?;
    let old = lattice.old_host("probe", "probe", SLEEP).await?;
    let calls = until_all_go_there(&peer, &old).await?;
    // As long as its instances are busy nothing comes here, so that nothing is refused.
    let before = old.served();
    let outcomes = load(&peer, LONG_MS, Duration::from_millis(300)).await?;
    assert_eq!(outcomes.refused, 0, "{outcomes:?}");
    assert_eq!(old.served() - before, outcomes.served);
    calls.join_all().await;
    // It comes back by itself, and has its part again.
    until(async || {
        let before = old.served();
        call(&peer, "probe", SLEEP, number(0), 5000).await?;
        ensure!(old.served() == before, "it went to the other");
        Ok(())
    })
    .await?;
    // Nobody else is there any more, once NATS has heard that it went.
    drop(old);
    until(async || {
        for _ in 0..20 {
            call(&peer, "probe", SLEEP, number(0), 1000).await?;
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn full_hosts_of_ours_alone_go_on_refusing() -> Result<()> {
    for hosts in [1, 2] {
        let lattice = narrow(hosts).await?;
        let peer = lattice.peer().await?;
        // One that runs something else is no reason to leave.
        let _old = lattice.old_host("other", "probe", SLEEP).await?;
        let outcomes = load(&peer, SHORT_MS, Duration::from_secs(4)).await?;
        assert!(
            outcomes.served > 10 && outcomes.refused > 100,
            "{outcomes:?}"
        );
    }
    Ok(())
}

#[tokio::test]
async fn a_host_that_is_away_comes_back_when_the_other_is_gone_and_stops_in_good_time() -> Result<()>
{
    let mut lattice = narrow(1).await?;
    let peer = lattice.peer().await?;
    let old = lattice.old_host("probe", "probe", SLEEP).await?;
    let _calls = until_all_go_there(&peer, &old).await?;
    drop(old);
    until(async || Ok(call(&peer, "probe", SLEEP, number(0), 5000).await?)).await?;
    let old = lattice.old_host("probe", "probe", SLEEP).await?;
    let calls = until_all_go_there(&peer, &old).await?;
    let began = Instant::now();
    let status = lattice.hosts[0].terminate(STEP).await?;
    // Calls under way are waited for, and nothing else is.
    assert!(status.success() && began.elapsed() < Duration::from_secs(10));
    calls.join_all().await;
    let before = old.served();
    for _ in 0..20 {
        call(&peer, "probe", SLEEP, number(0), 5000).await?;
    }
    assert_eq!(old.served(), before + 20);
    Ok(())
}
