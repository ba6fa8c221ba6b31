//! Everything that measures in rounds run on: one lattice, with no more on it than they need.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::{Context as _, Result};
use lattice_claims::peer::sign_host;
use lattice_claims::{CurveKey, KeyKind, SigningKey, epoch_seconds};
use lattice_core::Locality;
use lattice_core::identity::PeerTokens;
use lattice_integration::{Collector, HostOptions, Lattice, Redis, STORE, component, free_port};
use lattice_nats_box::NatsBoxOptions;
use lattice_rpc::{Auth, AuthSettings, Peer, PeerConfig};
use serde_json::{Value, json};
use tokio::process::Child;

use crate::measures::{Measure, Process, Site, Work};
use crate::meter::{Meter, Sample};
use crate::{bus, calls, http_load, hyper_hello, processes, wasmtime_serve};

/// How many calls one component may have at a time: none of the measures comes near.
const INSTANCES: u32 = 1000;
/// The HTTP server in a process of its own, and the one in the host.
const SERVER: &str = "httpserver";
const SERVER_INSIDE: &str = "inside";

/// A lattice of one host and what is measured on it.
pub(crate) struct Bed {
    lattice: Lattice,
    meter: Meter,
    peer: Peer,
    /// One whose calls prove who makes them.
    proven: Peer,
    sites: HashMap<Site, String>,
    processes: HashMap<Process, Child>,
    redis: Option<Redis>,
    /// The hosts of the sites that have one of their own, by their place in the lattice.
    hosts: HashMap<Site, usize>,
    /// Where traces go.
    collector: Option<Collector>,
}

/// Starts a lattice whose NATS server can be metered.
pub(crate) async fn metered(hosts: usize) -> Result<(Lattice, Meter)> {
    let monitor = format!("127.0.0.1:{}", free_port()?);
    let options = NatsBoxOptions {
        extra_config: format!("http: \"{monitor}\"\n"),
        ..NatsBoxOptions::default()
    };
    let lattice = Lattice::start_with(options, hosts).await?;
    Ok((lattice, Meter { monitor }))
}

/// Serves a component at an address of its own, by a link of its own name on a running provider.
pub(crate) async fn serve(
    lattice: &Lattice,
    provider: &str,
    component: &str,
    locality: Locality,
) -> Result<String> {
    let address = format!("127.0.0.1:{}", free_port()?);
    let config = format!("{provider}-{component}");
    lattice
        .config(&config, json!({ "address": address }))
        .await?;
    let link = json!({
        "source_id": provider, "target": component, "name": component,
        "wit_namespace": "wasi", "wit_package": "http", "interfaces": ["incoming-handler"],
        "source_config": [config], "target_config": [], "locality": locality,
    });
    lattice.ctl_ok("link.put", link).await?;
    lattice.until_listening(&address).await?;
    Ok(address)
}

/// The link of a component to the Redis provider, although that is on the same machine.
fn over_nats(source: &str, target: &str) -> Value {
    json!({
        "source_id": source, "target": target, "name": "default",
        "wit_namespace": "wasi", "wit_package": "keyvalue", "interfaces": ["store", "atomics"],
        "source_config": [], "target_config": ["redis"], "locality": Locality::Spread,
    })
}

/// Starts a provider of the repository inside the host.
pub(crate) async fn provide_inside(lattice: &mut Lattice, id: &str, name: &str) -> Result<()> {
    provide_inside_of(lattice, 0, id, name).await
}

async fn provide_inside_of(lattice: &mut Lattice, host: usize, id: &str, name: &str) -> Result<()> {
    lattice.inside = true;
    let name = format!("{name}-provider");
    let started = lattice.provide(host, id, &name, &[]).await;
    lattice.inside = false;
    started
}

/// A peer that vouches for itself, as a host of a lattice without a cluster key does.
async fn proving_peer(lattice: &Lattice) -> Result<Peer> {
    let (host, key) = (SigningKey::generate(KeyKind::Host), CurveKey::generate());
    let valid = (epoch_seconds(), Duration::from_secs(24 * 3600));
    let token = sign_host(&host, &host.public_key(), &lattice.name, &key, valid)?;
    let auth = Auth::new(AuthSettings {
        lattice: lattice.name.clone(),
        key,
        tokens: PeerTokens {
            host: token,
            provider: None,
        },
        trusted: Vec::new(),
        strict: false,
        confined: false,
        links: None,
        reports: None,
    });
    let config = PeerConfig {
        auth: Some(auth),
        ..PeerConfig::default()
    };
    Ok(Peer::new(lattice.nats.client().await?, config).await?)
}

impl Bed {
    /// Starts what `measures` need.
    pub(crate) async fn start(measures: &[&Measure]) -> Result<Self> {
        let (lattice, meter) = metered(1).await?;
        let peer = lattice.peer().await?;
        let proven = proving_peer(&lattice).await?;
        let mut bed = Self {
            lattice,
            meter,
            peer,
            proven,
            sites: HashMap::new(),
            processes: HashMap::new(),
            redis: None,
            hosts: HashMap::new(),
            collector: None,
        };
        let any = |needs: fn(&Work) -> bool| measures.iter().any(|m| needs(&m.work));
        if any(|work| matches!(work, Work::Bus { .. })) {
            let responder = bus::responder(&bed.lattice.nats.url, &bed.lattice.client).await?;
            bed.processes.insert(Process::Responder, responder);
        }
        if any(|work| matches!(work, Work::Call { target, .. } if target.id == calls::LARGE.id)) {
            bed.lattice.run(0, "probe", "probe", INSTANCES).await?;
        }
        if any(|work| matches!(work, Work::Call { .. } | Work::Repeat { .. })) {
            bed.lattice.run(0, "echo", "echo", INSTANCES).await?;
        }
        if any(|work| matches!(work, Work::Repeat { .. })) {
            bed.start_repeater().await?;
        }
        for measure in measures {
            if let Work::Get { site, .. } = measure.work
                && !bed.sites.contains_key(&site)
            {
                bed.open(site)
                    .await
                    .with_context(|| format!("could not set up `{}`", measure.name))?;
            }
        }
        Ok(bed)
    }

    async fn start_repeater(&self) -> Result<()> {
        let lattice = &self.lattice;
        lattice.run(0, "repeater", "repeater", INSTANCES).await?;
        let interface = calls::SMALL.instance;
        lattice
            .link("repeater", calls::SMALL.id, interface, &[], &[])
            .await
    }

    /// Starts a site and waits until it answers.
    async fn open(&mut self, site: Site) -> Result<()> {
        let address = match site {
            Site::Hello => self.hello(SERVER, Locality::Spread).await?,
            Site::HelloSocket => self.hello(SERVER, Locality::LocalOnly).await?,
            Site::HelloInside => self.hello(SERVER_INSIDE, Locality::LocalOnly).await?,
            Site::HelloReused => self.hello_reused().await?,
            Site::Counter => self.counter().await?,
            Site::CounterInside => self.counter_inside().await?,
            Site::Untraced => {
                self.own_host(site, "untraced", HostOptions::default())
                    .await?
            }
            Site::Traced => {
                let options = self.sampled().await?;
                self.own_host(site, "traced", options).await?
            }
            Site::Hyper | Site::Wasmtime => self.baseline(site)?,
        };
        let path = site.path();
        self.lattice.until_status(&address, path, 200).await?;
        self.sites.insert(site, address);
        Ok(())
    }

    async fn hello(&mut self, provider: &str, locality: Locality) -> Result<String> {
        self.server(provider).await?;
        let id = format!("hello-{provider}-{locality}");
        self.lattice.run(0, &id, "http-hello", INSTANCES).await?;
        serve(&self.lattice, provider, &id, locality).await
    }

    /// A host that exports the traces of one request in a hundred to this process, which looks at
    /// none of them.
    async fn sampled(&mut self) -> Result<HostOptions> {
        let collector = Collector::start().await?;
        let sampler = [
            ("OTEL_TRACES_SAMPLER", "parentbased_traceidratio"),
            ("OTEL_TRACES_SAMPLER_ARG", "0.01"),
        ];
        let options = HostOptions {
            arguments: collector.arguments(),
            environment: sampler
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .to_vec(),
            ..HostOptions::default()
        };
        self.collector = Some(collector);
        Ok(options)
    }

    /// Starts a host with the HTTP server inside and the component of `http_component_local`.
    async fn own_host(&mut self, site: Site, id: &str, options: HostOptions) -> Result<String> {
        let lattice = &mut self.lattice;
        let host = lattice.add_host(options).await?;
        self.hosts.insert(site, host);
        let server = format!("{id}-server");
        provide_inside_of(lattice, host, &server, "http-server").await?;
        lattice.run(host, id, "http-hello", INSTANCES).await?;
        serve(lattice, &server, id, Locality::LocalOnly).await
    }

    async fn counter(&mut self) -> Result<String> {
        self.server(SERVER).await?;
        let redis = self.lattice.redis().await?;
        let lattice = &self.lattice;
        lattice.config("redis", json!({ "url": redis.url })).await?;
        self.redis = Some(redis);
        lattice
            .provide(0, "kv", "keyvalue-redis-provider", &[])
            .await?;
        let counter = "http-keyvalue-counter";
        lattice.run(0, "counter", counter, INSTANCES).await?;
        lattice
            .ctl_ok("link.put", over_nats("counter", "kv"))
            .await?;
        serve(lattice, SERVER, "counter", Locality::Spread).await
    }

    async fn counter_inside(&mut self) -> Result<String> {
        self.server(SERVER_INSIDE).await?;
        provide_inside(&mut self.lattice, "kv-memory", "keyvalue-memory").await?;
        let (lattice, id) = (&self.lattice, "counter-inside");
        lattice
            .run(0, id, "http-keyvalue-counter", INSTANCES)
            .await?;
        lattice.link(id, "kv-memory", STORE, &[], &[]).await?;
        serve(lattice, SERVER_INSIDE, id, Locality::LocalOnly).await
    }

    async fn hello_reused(&mut self) -> Result<String> {
        self.server(SERVER_INSIDE).await?;
        let (lattice, id) = (&self.lattice, "hello-reused");
        lattice.run_reused(0, id, "http-hello", INSTANCES).await?;
        serve(lattice, SERVER_INSIDE, id, Locality::LocalOnly).await
    }

    /// Starts an HTTP server if it does not run.
    async fn server(&mut self, id: &str) -> Result<()> {
        let inventory = self.lattice.inventory(0).await?;
        let providers = inventory["providers"].as_array();
        if providers.is_some_and(|all| all.iter().any(|provider| provider["id"] == id)) {
            return Ok(());
        }
        if id == SERVER_INSIDE {
            return provide_inside(&mut self.lattice, id, "http-server").await;
        }
        self.lattice
            .provide(0, id, "http-server-provider", &[])
            .await
    }

    fn baseline(&mut self, site: Site) -> Result<String> {
        let address = format!("127.0.0.1:{}", free_port()?);
        let (process, child) = if site == Site::Hyper {
            (Process::Hyper, hyper_hello::start(&address)?)
        } else {
            let hello = component("http-hello")?;
            let child = wasmtime_serve::start(&address, &hello)?;
            (Process::Wasmtime, child)
        };
        self.processes.insert(process, child);
        Ok(address)
    }

    /// Takes one sample of a measure.
    pub(crate) async fn sample(&self, measure: &Measure, time: Duration) -> Result<Sample> {
        let pids: Vec<u32> = measure
            .metered
            .iter()
            .map(|process| self.pid(*process))
            .collect::<Result<_>>()?;
        let work = async {
            match measure.work {
                Work::Bus { in_flight, size } => {
                    bus::requests(&self.lattice.client, in_flight, size, time).await
                }
                Work::Call {
                    target,
                    in_flight,
                    size,
                    proven,
                } => {
                    let peer = if proven { &self.proven } else { &self.peer };
                    calls::echo(peer, target, in_flight, size, time).await
                }
                Work::Get { site, connections } => {
                    let address = self.sites.get(&site).context("the site is not open")?;
                    http_load::get(address, site.path(), connections, time).await
                }
                Work::Repeat { times, size } => calls::repeat(&self.peer, times, size, time).await,
            }
        };
        let sample = self.meter.measure(&pids, work).await;
        sample.with_context(|| format!("could not measure `{}`", measure.name))
    }

    fn pid(&self, process: Process) -> Result<u32> {
        match process {
            Process::Nats => processes::only("nats-server"),
            Process::Host => self.lattice.hosts[0].pid().context("the host has exited"),
            Process::UntracedHost => self.own_pid(Site::Untraced),
            Process::TracedHost => self.own_pid(Site::Traced),
            Process::HttpServer => processes::only("http-server-provider"),
            Process::KeyvalueRedis => processes::only("keyvalue-redis-provider"),
            Process::Responder | Process::Hyper | Process::Wasmtime => self
                .processes
                .get(&process)
                .and_then(Child::id)
                .with_context(|| format!("{process:?} does not run")),
        }
    }

    fn own_pid(&self, site: Site) -> Result<u32> {
        let host = self.hosts.get(&site).context("the site is not open")?;
        self.lattice.hosts[*host]
            .pid()
            .context("the host has exited")
    }
}
