//! Requests per second, CPU time and messages: the bare bus, calls, HTTP, HTTP with a counter.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use bytes::{Bytes, BytesMut};
use lattice_core::id::{ComponentId, LatticeName};
use lattice_core::subject::RpcPrefix;
use lattice_integration::{Lattice, Redis, free_port};
use lattice_nats_box::NatsBoxOptions;
use lattice_rpc::{Invocation, Peer};
use serde_json::json;
use tokio::process::Child;

use crate::load::{Meter, Sample, closed_loop, figure};
use crate::report::Report;
use crate::{bus, http_load};

/// Requests in flight of the bare bus and of component calls.
const IN_FLIGHT: usize = 64;
/// Connections of HTTP.
const CONNECTIONS: usize = 32;
/// Payload of the bare bus and of component calls, in bytes.
const SIZE: usize = 64;

/// A lattice with everything that is measured on it.
struct Bed {
    lattice: Lattice,
    meter: Meter,
    hello: String,
    counter: String,
    /// Where the component behind `hello` is served by the host itself.
    local: String,
    responder: Child,
    _redis: Redis,
    peer: Peer,
}

/// Starts a lattice whose NATS server can be metered.
pub(crate) async fn metered(hosts: usize) -> Result<(Lattice, Meter)> {
    let monitor = free_port()?;
    let options = NatsBoxOptions {
        extra_config: format!("http: \"127.0.0.1:{monitor}\"\n"),
        ..NatsBoxOptions::default()
    };
    let lattice = Lattice::start_with(options, hosts).await?;
    Ok((
        lattice,
        Meter {
            monitor: format!("127.0.0.1:{monitor}"),
        },
    ))
}

/// Serves another component over HTTP, by a link of its own name on a provider that runs.
async fn second_address(lattice: &Lattice, provider: &str, component: &str) -> Result<String> {
    let address = format!("127.0.0.1:{}", free_port()?);
    let config = format!("{provider}-{component}");
    lattice
        .config(&config, json!({ "address": address }))
        .await?;
    let link = json!({
        "source_id": provider, "target": component, "name": component,
        "wit_namespace": "wasi", "wit_package": "http", "interfaces": ["incoming-handler"],
        "source_config": [config], "target_config": [],
    });
    lattice.ctl_ok("link.put", link).await?;
    lattice.until_listening(&address).await?;
    Ok(address)
}

impl Bed {
    async fn start() -> Result<Self> {
        let (mut lattice, meter) = metered(1).await?;
        lattice.run(0, "hello", "http-hello", 1000).await?;
        lattice
            .run(0, "counter", "http-keyvalue-counter", 1000)
            .await?;
        lattice.run(0, "echo", "echo", 1000).await?;
        lattice.run(0, "probe", "probe", 1000).await?;
        let hello = lattice.serve_http(0, "hello").await?;
        let redis = lattice.redis().await?;
        lattice.config("redis", json!({ "url": redis.url })).await?;
        lattice
            .provide(0, "kv", "keyvalue-redis-provider", &[])
            .await?;
        let interfaces = "wasi:keyvalue/store,atomics";
        lattice
            .link("counter", "kv", interfaces, &[], &["redis"])
            .await?;
        let counter = second_address(&lattice, "httpserver", "counter").await?;
        lattice.inside = true;
        lattice
            .provide(0, "inside", "http-server-provider", &[])
            .await?;
        let local = second_address(&lattice, "inside", "hello").await?;
        lattice.until_status(&local, "/", 200).await?;
        lattice.until_status(&hello, "/", 200).await?;
        lattice.until_status(&counter, "/bench", 200).await?;
        let responder = bus::responder(&lattice.nats.url, &lattice.client).await?;
        let peer = lattice.peer().await?;
        Ok(Self {
            lattice,
            meter,
            hello,
            counter,
            local,
            responder,
            _redis: redis,
            peer,
        })
    }

    /// The processes whose command line holds `name`, of those this run has started.
    fn pids(&self, names: &[&str]) -> Result<Vec<u32>> {
        let own = std::process::id();
        let mut all = Vec::new();
        for entry in std::fs::read_dir("/proc")? {
            let Ok(pid) = entry?.file_name().to_string_lossy().parse::<u32>() else {
                continue;
            };
            let Ok(command) = std::fs::read(format!("/proc/{pid}/cmdline")) else {
                continue;
            };
            let command = String::from_utf8_lossy(&command).into_owned();
            let program = command.split('\0').next().unwrap_or_default();
            let named = names.iter().any(|name| program.ends_with(name));
            if named && is_descendant(pid, own) {
                all.push(pid);
            }
        }
        ensure!(
            all.len() == names.len(),
            "found {} of the processes {names:?}",
            all.len()
        );
        Ok(all)
    }

    async fn bus(&self, time: Duration) -> Result<Sample> {
        let mut pids = self.pids(&["nats-server"])?;
        pids.extend(self.responder.id());
        let work = bus::requests(&self.lattice.client, IN_FLIGHT, SIZE, time);
        self.meter.measure(&pids, work).await
    }

    async fn component(&self, target: Target, time: Duration) -> Result<Sample> {
        let pids = self.pids(&["nats-server", "lattice-host"])?;
        self.meter
            .measure(&pids, calls(&self.peer, target, time))
            .await
    }

    async fn http(&self, time: Duration) -> Result<Sample> {
        let pids = self.pids(&["nats-server", "lattice-host", "http-server-provider"])?;
        self.meter
            .measure(&pids, http_load::get(&self.hello, "/", CONNECTIONS, time))
            .await
    }

    async fn local(&self, time: Duration) -> Result<Sample> {
        let pids = self.pids(&["nats-server", "lattice-host"])?;
        self.meter
            .measure(&pids, http_load::get(&self.local, "/", CONNECTIONS, time))
            .await
    }

    async fn counter(&self, time: Duration) -> Result<Sample> {
        let pids = self.pids(&[
            "nats-server",
            "lattice-host",
            "http-server-provider",
            "keyvalue-redis-provider",
        ])?;
        let work = http_load::get(&self.counter, "/bench", CONNECTIONS, time);
        self.meter.measure(&pids, work).await
    }
}

fn is_descendant(mut pid: u32, ancestor: u32) -> bool {
    while pid > 1 {
        if pid == ancestor {
            return true;
        }
        let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else {
            return false;
        };
        let parent = stat
            .rsplit_once(") ")
            .and_then(|(_, rest)| rest.split(' ').nth(1));
        let Some(parent) = parent.and_then(|parent| parent.parse().ok()) else {
            return false;
        };
        pid = parent;
    }
    false
}

/// A component that gives bytes back.
struct Target {
    id: &'static str,
    instance: &'static str,
}

/// Imports nothing: what its call costs is the cost of carrying it.
const SMALL: Target = Target {
    id: "echo",
    instance: "test:echo/echo",
};

/// Has a standard library and many exports, as the components of users have: its instance alone
/// takes longer.
const LARGE: Target = Target {
    id: "probe",
    instance: "test:probe/echo@0.1.0",
};

/// Calls a component's byte echo.
async fn calls(peer: &Peer, target: Target, time: Duration) -> Result<u64> {
    let until = Instant::now() + time;
    let lattice = LatticeName::default();
    let prefix = RpcPrefix::new(&lattice, &target.id.parse::<ComponentId>()?);
    let subject = prefix.invocation(target.instance, "bytes");
    let mut params = BytesMut::new();
    lattice_codec::write::bytes(&mut params, &[7; SIZE]);
    let params: Bytes = params.freeze();
    closed_loop(IN_FLIGHT, time, |_| {
        let (peer, subject, params) = (peer.clone(), subject.clone(), params.clone());
        async move {
            let mut done = 0;
            while Instant::now() < until {
                let deadline = tokio::time::Instant::now() + Duration::from_secs(5);
                let invocation = Invocation::new(subject.clone(), deadline).source("bench");
                let result = peer.call(invocation, params.clone()).await?;
                ensure!(result == params, "the echo differs");
                done += 1;
            }
            Ok(done)
        }
    })
    .await
}

/// The measures that are taken in interleaved rounds; the first is what the others are compared with.
const NAMES: [&str; 6] = [
    "bus_request_reply",
    "component_call",
    "component_call_large",
    "http_component_bus",
    "http_counter_bus",
    "http_component_local",
];

impl Bed {
    async fn sample(&self, name: &str, time: Duration) -> Result<Sample> {
        match name {
            "component_call" => self.component(SMALL, time).await,
            "component_call_large" => self.component(LARGE, time).await,
            "http_component_bus" => self.http(time).await,
            "http_counter_bus" => self.counter(time).await,
            "http_component_local" => self.local(time).await,
            _ => self.bus(time).await,
        }
    }
}

/// Measures all throughput figures in interleaved rounds.
pub(crate) async fn throughput(
    report: &mut Report,
    rounds: usize,
    time: Duration,
    wanted: &impl Fn(&str) -> bool,
) -> Result<()> {
    if !NAMES.iter().any(|name| wanted(name)) {
        return Ok(());
    }
    let mut names = NAMES.to_vec();
    names.retain(|name| *name == NAMES[0] || wanted(name));
    let bed = Bed::start().await?;
    let mut samples = vec![Vec::new(); names.len()];
    let warm_up = Duration::from_millis(500);
    for name in &names {
        bed.sample(name, warm_up).await?;
    }
    for _ in 0..rounds {
        for (name, samples) in names.iter().zip(&mut samples) {
            samples.push(bed.sample(name, time).await?);
        }
    }
    let bare = crate::report::median(samples[0].iter().map(|s| s.per_second).collect());
    for (name, samples) in names.into_iter().zip(&samples) {
        let mut figure = figure(name, samples);
        figure.ratio = Some(figure.value / bare);
        figure.of = Some(NAMES[0].to_owned());
        report.add(figure);
    }
    Ok(())
}
