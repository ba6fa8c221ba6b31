//! Several hosts and copies share the load; what dies or drains takes nothing else with it.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use futures::StreamExt as _;
use lattice_core::Locality;
use lattice_integration::{
    HANDLE, HostOptions, Lattice, SLEEP, STEP, STORE, call, component, echo, free_port, get,
    number, program, subject, until,
};
use lattice_nats_box::{NatsBox, NatsBoxOptions};
use lattice_rpc::{CallError, Peer};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

/// A server whose monitor listens at an address, and the address.
fn monitored() -> Result<(NatsBoxOptions, String)> {
    let address = format!("127.0.0.1:{}", free_port()?);
    let options = NatsBoxOptions {
        extra_config: format!("http: \"{address}\"\n"),
        ..NatsBoxOptions::default()
    };
    Ok((options, address))
}

/// A lattice of three hosts on a monitored server, and the monitor's address.
async fn three_hosts() -> Result<(Lattice, String)> {
    let (options, monitor) = monitored()?;
    let mut lattice = Lattice::start_with(options, 3).await?;
    // What is shared here is what the server shares out.
    lattice.locality = Locality::Spread;
    Ok((lattice, monitor))
}

/// How many calls of a function the server has given to each connection that serves it, by the
/// number of the connection.
async fn taken(monitor: &str, function: &str) -> Result<BTreeMap<u64, u64>> {
    let (status, text) = get(monitor, "/connz?subs=detail&limit=1024").await?;
    ensure!(status == 200, "{status} {text}");
    let connz: Value = serde_json::from_str(&text)?;
    let mut taken = BTreeMap::new();
    let connections = connz["connections"].as_array().context("no list")?;
    // Behind a leaf connection others share; the monitor of their own server tells of them.
    for connection in connections.iter().filter(|c| c["kind"] != "Leafnode") {
        let none = Vec::new();
        let subscriptions = connection["subscriptions_list_detail"].as_array();
        for subscription in subscriptions.unwrap_or(&none) {
            // One that only watches is in no queue group.
            if subscription["subject"] == function && subscription["qgroup"].is_string() {
                let connection = connection["cid"].as_u64().context("no number")?;
                *taken.entry(connection).or_default() +=
                    subscription["msgs"].as_u64().unwrap_or_default();
            }
        }
    }
    Ok(taken)
}

/// Three hosts, the last of them behind a leaf of the server of the others.
struct Edge {
    lattice: Lattice,
    at_hub: String,
    at_leaf: String,
    _leaf: NatsBox,
}

impl Edge {
    async fn start() -> Result<Self> {
        let leaf_port = free_port()?;
        let (mut hub, at_hub) = monitored()?;
        hub.extra_config += &format!("leafnodes {{ listen: \"127.0.0.1:{leaf_port}\" }}\n");
        hub.js_domain = Some("hub".to_owned());
        let mut lattice = Lattice::start_with(hub, 0).await?;
        lattice.locality = Locality::Spread;
        let (mut leaf, at_leaf) = monitored()?;
        leaf.extra_config += &format!(
            "leafnodes {{ remotes: [ {{ url: \"nats-leaf://127.0.0.1:{leaf_port}\" }} ] }}\n"
        );
        leaf.js_domain = Some("leaf".to_owned());
        let leaf = NatsBox::start_with(leaf).await?;
        for nats_port in [None, None, Some(leaf.port)] {
            let options = HostOptions {
                nats_port,
                arguments: ["--js-domain".to_owned(), "hub".to_owned()].to_vec(),
                ..HostOptions::default()
            };
            lattice.add_host(options).await?;
        }
        Ok(Self {
            lattice,
            at_hub,
            at_leaf,
            _leaf: leaf,
        })
    }

    /// How many calls of a function the hosts at the hub were given, and the one behind the leaf.
    async fn taken(&self, function: &str) -> Result<(Vec<u64>, u64)> {
        let hub = taken(&self.at_hub, function).await?;
        let leaf = taken(&self.at_leaf, function).await?;
        Ok((hub.into_values().collect(), leaf.into_values().sum()))
    }
}

#[tokio::test]
async fn three_hosts_share_a_component_one_of_them_behind_a_leaf() -> Result<()> {
    let edge = Edge::start().await?;
    for host in 0..3 {
        edge.lattice.run(host, "hello", "http-hello", 100).await?;
    }
    edge.lattice.provide_store(2).await?;
    let address = edge.lattice.serve_http(0, "hello").await?;
    edge.lattice.until_status(&address, "/", 200).await?;
    let handle = subject("hello", HANDLE);
    for _ in 0..300 {
        assert_eq!(get(&address, "/").await?.0, 200);
    }
    // The HTTP server is at the hub, and NATS prefers members of a queue group on the caller's own
    // server: as long as the two hosts there have room, they share all calls.
    let (hub, leaf) = edge.taken(&handle).await?;
    assert!(
        hub.len() == 2 && hub.iter().all(|calls| *calls >= 50),
        "{hub:?}"
    );
    assert_eq!(leaf, 0);
    let image = component("http-hello")?;
    for host in [0, 1] {
        edge.lattice.scale(host, "hello", &image, 0).await?;
    }
    for _ in 0..20 {
        assert_eq!(get(&address, "/").await?.0, 200);
    }
    assert_eq!(edge.taken(&handle).await?, (vec![], 20));
    Ok(())
}

#[tokio::test]
async fn a_host_behind_a_leaf_takes_its_part_when_those_at_the_hub_are_busy() -> Result<()> {
    let edge = Edge::start().await?;
    for host in 0..3 {
        edge.lattice.run(host, "probe", "probe", 4).await?;
    }
    let peer = edge.lattice.peer().await?;
    echo(&peer, "probe").await?;
    let confirmed = Confirmed::listen(&edge.lattice).await?;
    // Twelve callers, and room for eight at the hub.
    let mut callers = tokio::task::JoinSet::new();
    for _ in 0..12 {
        let peer = peer.clone();
        callers.spawn(async move {
            for _ in 0..20 {
                call(&peer, "probe", SLEEP, number(150), 5000).await?;
            }
            Ok::<_, CallError>(())
        });
    }
    for done in callers.join_all().await {
        done?;
    }
    let by_host = confirmed.by_callee().await?;
    assert!(
        by_host.len() == 3 && by_host.values().all(|calls| *calls >= 5),
        "{by_host:?}"
    );
    assert_eq!(by_host.into_values().sum::<usize>(), 240);
    // With room for all of them at the hub, nothing goes further.
    let (_, before) = edge.taken(&subject("probe", SLEEP)).await?;
    let confirmed = Confirmed::listen(&edge.lattice).await?;
    for _ in 0..20 {
        call(&peer, "probe", SLEEP, number(20), 5000).await?;
    }
    assert_eq!(confirmed.by_callee().await?.len(), 2);
    assert_eq!(edge.taken(&subject("probe", SLEEP)).await?.1, before);
    Ok(())
}

/// What callees say when a call takes them more than a moment, which tells them apart.
struct Confirmed {
    client: async_nats::Client,
    messages: async_nats::Subscriber,
}

impl Confirmed {
    async fn listen(lattice: &Lattice) -> Result<Self> {
        let client = lattice.client.clone();
        #[expect(clippy::disallowed_methods, reason = "listens to the wire")]
        let messages = client.subscribe("_INBOX.>").await?;
        lattice_nats_box::taken_in(&client).await?;
        Ok(Self { client, messages })
    }

    /// How many calls each callee has confirmed, by its inbox.
    async fn by_callee(mut self) -> Result<BTreeMap<String, usize>> {
        lattice_nats_box::taken_in(&self.client).await?;
        self.messages.unsubscribe().await?;
        let mut calls = BTreeMap::new();
        while let Some(message) = self.messages.next().await {
            // Nor is that a confirmation which tells of room, hands a call on, or answers one.
            let callee = message.reply.filter(|reply| {
                let inboxes = reply.starts_with("_INBOX.") && *reply != message.subject;
                inboxes && !reply.contains(".at.") && !message.subject.contains(".at.")
            });
            if let Some(inbox) = callee.as_ref().and_then(|reply| reply.rsplit_once('.')) {
                *calls.entry(inbox.0.to_owned()).or_default() += 1;
            }
        }
        Ok(calls)
    }
}

/// How many calls of a storm are under way at a time.
const AT_ONCE: usize = 32;

/// Sends `total` calls, [`AT_ONCE`] at a time, and counts what became of them.
async fn storm(
    peer: &Peer,
    total: usize,
    half_way: Arc<tokio::sync::Notify>,
) -> BTreeMap<String, usize> {
    let mut outcomes = BTreeMap::new();
    let mut tasks = tokio::task::JoinSet::new();
    let mut started = 0;
    while started < total || !tasks.is_empty() {
        while started < total && tasks.len() < AT_ONCE {
            let peer = peer.clone();
            // Long enough for a host to die with some of them.
            tasks.spawn(async move { call(&peer, "probe", SLEEP, number(10), 10_000).await });
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

/// Runs the probe on three hosts and sends 2,000 calls; gives what will have become of them once a part of
/// them is done.
async fn in_a_storm(lattice: &Lattice) -> Result<JoinHandle<BTreeMap<String, usize>>> {
    for host in 0..3 {
        lattice.run(host, "probe", "probe", 100).await?;
    }
    let peer = lattice.peer().await?;
    echo(&peer, "probe").await?;
    let half_way = Arc::new(tokio::sync::Notify::new());
    let told = Arc::clone(&half_way);
    let storm = tokio::spawn(async move { storm(&peer, 2000, told).await });
    half_way.notified().await;
    Ok(storm)
}

#[tokio::test]
async fn killing_a_host_during_2000_requests_fails_at_most_those_under_way() -> Result<()> {
    let (mut lattice, monitor) = three_hosts().await?;
    let storm = in_a_storm(&lattice).await?;
    let sleep = subject("probe", SLEEP);
    let shares = taken(&monitor, &sleep).await?;
    assert!(
        shares.len() == 3 && shares.values().all(|calls| *calls >= 50),
        "{shares:?}"
    );
    lattice.hosts[1].kill().await?;
    let outcomes = storm.await?;
    assert_eq!(outcomes.values().sum::<usize>(), 2000);
    // Whoever lives has answered all that it was given: what failed was on its way to the dead one.
    let failed = 2000 - outcomes["ok"];
    let given_to_others: u64 = taken(&monitor, &sleep).await?.values().sum();
    assert!(
        failed <= AT_ONCE && failed as u64 <= 2000 - given_to_others,
        "{outcomes:?}, the others were given {given_to_others}"
    );
    let is_typed =
        |text: &&String| *text == "ok" || text.contains("went away") || text.contains("deadline");
    assert!(outcomes.keys().all(|text| is_typed(&text)), "{outcomes:?}");
    Ok(())
}

#[tokio::test]
async fn killing_a_host_fails_at_most_what_is_in_flight_on_it() -> Result<()> {
    let (mut lattice, monitor) = three_hosts().await?;
    for host in 0..3 {
        lattice.run(host, "probe", "probe", 100).await?;
    }
    let peer = lattice.peer().await?;
    echo(&peer, "probe").await?;
    let mut calls = lattice.calls("probe", SLEEP).await?;
    let mut sleeping = tokio::task::JoinSet::new();
    for _ in 0..60 {
        let peer = peer.clone();
        sleeping.spawn(async move { call(&peer, "probe", SLEEP, number(5000), 15_000).await });
    }
    calls.begun(60).await?;
    let sleep = subject("probe", SLEEP);
    let before = taken(&monitor, &sleep).await?;
    assert!(
        before.len() == 3 && before.values().all(|calls| *calls > 0),
        "{before:?}"
    );
    assert_eq!(before.values().sum::<u64>(), 60, "{before:?}");
    lattice.hosts[1].kill().await?;
    let left = until(async || {
        let left = taken(&monitor, &sleep).await?;
        ensure!(left.len() == 2, "{left:?}");
        Ok(left)
    })
    .await?;
    let in_flight: u64 = before
        .iter()
        .filter(|(connection, _)| !left.contains_key(connection))
        .map(|(_, calls)| calls)
        .sum();
    // From now on the others answer everything.
    let outcomes = storm(&peer, 500, Arc::default()).await;
    assert_eq!(outcomes, BTreeMap::from([("ok".to_owned(), 500)]));
    let outcomes = sleeping.join_all().await;
    let failed = outcomes.iter().filter(|outcome| outcome.is_err()).count() as u64;
    assert!(
        failed > 0 && failed <= in_flight,
        "{failed} failed, {in_flight} were in flight: {outcomes:?}"
    );
    Ok(())
}

#[tokio::test]
async fn draining_a_host_fails_nothing() -> Result<()> {
    let mut lattice = Lattice::start(3).await?;
    let storm = in_a_storm(&lattice).await?;
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
async fn copies_scaled_over_three_hosts_share_the_load_one_of_them_behind_a_leaf() -> Result<()> {
    let edge = Edge::start().await?;
    let lattice = &edge.lattice;
    let kv = program("keyvalue-nats-provider")?.display().to_string();
    let home = tempfile::tempdir()?;
    let scaled = tokio::process::Command::new(program("wash")?)
        .args(["scale", "provider", &kv, "kv", "--per-host"])
        .env("WASMCLOUD_CTL_PORT", lattice.nats.port.to_string())
        .env("HOME", home.path())
        .output()
        .await?;
    ensure!(scaled.status.success(), "{scaled:?}");
    for host in 0..3 {
        until(async || {
            let inventory = lattice.inventory(host).await?;
            ensure!(inventory["providers"][0]["id"] == "kv", "{inventory}");
            Ok(())
        })
        .await?;
    }
    // A caller at the hub, and one behind the leaf: NATS prefers members on the caller's own server.
    let increment = subject("kv", "wrpc:keyvalue/atomics@0.2.0-draft.increment");
    for (host, expected) in [(0, (2, 0)), (2, (2, 60))] {
        lattice
            .run(host, "counter", "http-keyvalue-counter", 32)
            .await?;
        lattice.link("counter", "kv", STORE, &[], &[]).await?;
        let address = lattice.serve_http(host, "counter").await?;
        lattice.until_status(&address, "/a", 200).await?;
        let (_, before) = edge.taken(&increment).await?;
        for _ in 0..60 {
            assert_eq!(get(&address, "/a").await?.0, 200);
        }
        let (hub, leaf) = edge.taken(&increment).await?;
        assert_eq!((hub.len(), leaf - before), expected, "{hub:?}");
        assert!(hub.iter().all(|calls| *calls >= 10), "{hub:?}");
        let image = component("http-keyvalue-counter")?;
        lattice.scale(host, "counter", &image, 0).await?;
        let stop = json!({"provider_id": "httpserver", "host_id": lattice.host(host)});
        lattice
            .ctl_ok(&format!("provider.stop.{}", lattice.host(host)), stop)
            .await?;
    }
    Ok(())
}

#[tokio::test]
async fn copies_of_a_provider_share_the_load() -> Result<()> {
    let (lattice, monitor) = three_hosts().await?;
    lattice.run_counter(0, &[0, 1, 2], 32).await?;
    let address = lattice.serve_http(0, "counter").await?;
    lattice.until_status(&address, "/a", 200).await?;
    for n in 2..=120 {
        assert_eq!(get(&address, "/a").await?.1, format!("Counter /a: {n}\n"));
    }
    // Each copy is given its part, and no call is given to two.
    let increment = subject("kv", "wrpc:keyvalue/atomics@0.2.0-draft.increment");
    let taken = taken(&monitor, &increment).await?;
    assert!(
        taken.len() == 3 && taken.values().all(|calls| *calls >= 10),
        "{taken:?}"
    );
    assert_eq!(taken.values().sum::<u64>(), 120, "{taken:?}");
    Ok(())
}
