//! Several hosts and copies share the load; what dies or drains takes nothing else with it.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use lattice_integration::{HostOptions, Lattice, STEP, echo, free_port, get};
use lattice_nats_box::{NatsBox, NatsBoxOptions};
use lattice_rpc::Peer;

#[tokio::test]
async fn three_hosts_share_a_component_one_of_them_behind_a_leaf() -> Result<()> {
    let leaf_port = free_port()?;
    let hub = NatsBoxOptions {
        extra_config: format!("leafnodes {{ listen: \"127.0.0.1:{leaf_port}\" }}\n"),
        js_domain: Some("hub".to_owned()),
        ..NatsBoxOptions::default()
    };
    let mut lattice = Lattice::start_with(hub, 0).await?;
    let leaf = NatsBox::start_with(NatsBoxOptions {
        extra_config: format!(
            "leafnodes {{ remotes: [ {{ url: \"nats-leaf://127.0.0.1:{leaf_port}\" }} ] }}\n"
        ),
        js_domain: Some("leaf".to_owned()),
        ..NatsBoxOptions::default()
    })
    .await?;
    let domain = || ["--js-domain".to_owned(), "hub".to_owned()].to_vec();
    for nats_port in [None, None, Some(leaf.port)] {
        let options = HostOptions {
            nats_port,
            arguments: domain(),
            ..HostOptions::default()
        };
        lattice.add_host(options).await?;
    }
    for host in 0..3 {
        lattice.run(host, "hello", "http-hello", 100).await?;
    }
    lattice.provide_store(2).await?;
    let address = lattice.serve_http(0, "hello").await?;
    lattice.until_status(&address, "/", 200).await?;
    let before = cpu(&lattice)?;
    for _ in 0..300 {
        assert_eq!(get(&address, "/").await?.0, 200);
    }
    // NATS prefers queue members on the same server; the leaf gets its share once the others go.
    let after = cpu(&lattice)?;
    assert!(
        after[0] > before[0] && after[1] > before[1],
        "{before:?} {after:?}"
    );
    for host in [0, 1] {
        lattice
            .scale(
                host,
                "hello",
                &lattice_integration::component("http-hello")?,
                0,
            )
            .await?;
    }
    for _ in 0..20 {
        assert_eq!(get(&address, "/").await?.0, 200);
    }
    Ok(())
}

fn cpu(lattice: &Lattice) -> Result<Vec<u64>> {
    let used = |host: &lattice_integration::HostProcess| {
        Ok(lattice_integration::usage(host.pid().context("exited")?)?.cpu_us)
    };
    lattice.hosts.iter().map(used).collect()
}

/// Sends `total` calls, 32 at a time, and counts what became of them.
async fn storm(
    peer: &Peer,
    total: usize,
    half_way: Arc<tokio::sync::Notify>,
) -> BTreeMap<String, usize> {
    let mut outcomes = BTreeMap::new();
    let mut tasks = tokio::task::JoinSet::new();
    let mut started = 0;
    while started < total || !tasks.is_empty() {
        while started < total && tasks.len() < 32 {
            let peer = peer.clone();
            tasks.spawn(async move { echo(&peer, "probe").await });
            started += 1;
            if started == total / 4 {
                half_way.notify_one();
            }
        }
        if let Some(Ok(outcome)) = tasks.join_next().await {
            let name = match outcome {
                Ok(_) => "ok".to_owned(),
                Err(error) => error.to_string(),
            };
            *outcomes.entry(name).or_insert(0) += 1;
        }
    }
    outcomes
}

#[tokio::test]
async fn killing_a_host_fails_at_most_what_is_in_flight_on_it() -> Result<()> {
    let mut lattice = Lattice::start(3).await?;
    for host in 0..3 {
        lattice.run(host, "probe", "probe", 100).await?;
    }
    let peer = lattice.peer().await?;
    echo(&peer, "probe").await?;
    let half_way = Arc::new(tokio::sync::Notify::new());
    let storm = tokio::spawn({
        let (peer, half_way) = (peer.clone(), Arc::clone(&half_way));
        async move { storm(&peer, 2000, half_way).await }
    });
    half_way.notified().await;
    lattice.hosts[1].kill().await?;
    let outcomes = storm.await?;
    let failed: usize = outcomes
        .iter()
        .filter(|(name, _)| *name != "ok")
        .map(|(_, n)| n)
        .sum();
    assert!(failed <= 32, "{outcomes:?}");
    Ok(())
}

#[tokio::test]
async fn draining_a_host_fails_nothing() -> Result<()> {
    let mut lattice = Lattice::start(3).await?;
    for host in 0..3 {
        lattice.run(host, "probe", "probe", 100).await?;
    }
    let peer = lattice.peer().await?;
    echo(&peer, "probe").await?;
    let half_way = Arc::new(tokio::sync::Notify::new());
    let storm = tokio::spawn({
        let (peer, half_way) = (peer.clone(), Arc::clone(&half_way));
        async move { storm(&peer, 2000, half_way).await }
    });
    half_way.notified().await;
    let status = lattice.hosts[1].terminate(STEP).await?;
    assert!(status.success(), "{status}: {}", lattice.hosts[1].log());
    let outcomes = storm.await?;
    assert_eq!(outcomes, BTreeMap::from([("ok".to_owned(), 2000)]));
    let gone = lattice.hosts[1].id.clone();
    let stopped = |event: &lattice_integration::Event| {
        event.name == "host_stopped" && event.body["source"] == gone.as_str()
    };
    lattice.events.wait(stopped, STEP).await?;
    Ok(())
}

#[tokio::test]
async fn copies_of_a_provider_share_the_load() -> Result<()> {
    let lattice = Lattice::start(3).await?;
    lattice.run_counter(0, &[0, 1, 2], 32).await?;
    let address = lattice.serve_http(0, "counter").await?;
    lattice.until_status(&address, "/a", 200).await?;
    for n in 2..=60 {
        assert_eq!(get(&address, "/a").await?.1, format!("Counter /a: {n}\n"));
    }
    Ok(())
}
