//! What a suite runs on: a lattice with the component, the provider and the link between them.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use lattice_codec::Reader;
use lattice_integration::{HostOptions, Lattice, subject};
use lattice_nats_box::{Middleman, NatsBoxOptions, find_old_server};
use lattice_rpc::{Invocation, Peer};
use lattice_services::Service;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::Instant;

use crate::Run;
use crate::catalog::{Backend, Capability, Place, and};
use crate::fault::Fault;

/// The component under whose name the suite runs.
pub(crate) const COMPONENT: &str = "suite";
/// The provider's id.
pub(crate) const PROVIDER: &str = "backend";
/// How much longer each direction of a slow connection takes.
const SLOW: Duration = Duration::from_millis(20);
/// How many objects are many where each takes its time.
const FEWER: &str = "1100";
/// What is told of messages depends on where they are taken from, not on how they are published.
const BY_SUBSCRIPTION: [&str; 4] = ["consistency", "ttl", "delivery", "dead-letter"];
const DESCRIBE: &str = "lattice:provider/describe@0.1.0.describe";

/// Where a provider runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Inside the host of the component.
    InHost,
    /// As a process that the component's host started.
    Process,
    /// As a process that another host started.
    Remote,
}

impl Form {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::InHost, Self::Process, Self::Remote];

    /// What it is called.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::InHost => "in-host",
            Self::Process => "process",
            Self::Remote => "remote",
        }
    }

    /// The host that runs the provider, by its place.
    pub(crate) fn host(self) -> usize {
        usize::from(self == Self::Remote)
    }
}

/// A lattice with everything that a suite needs. It all ends when this is dropped.
#[derive(Debug)]
pub struct Ground {
    /// The lattice.
    pub lattice: Lattice,
    /// The service behind the provider, where it is not the lattice's own NATS server.
    pub service: Option<Service>,
    /// What the provider told of the backend.
    pub features: Vec<(String, String)>,
    /// Settings that the backend adds for the suite.
    pub settings: Vec<(String, String)>,
    /// What happens to the backend.
    pub(crate) fault: Fault,
    pub(crate) peer: Peer,
    /// What stands before the ports of the backend, where connections take their time.
    proxies: Vec<Middleman>,
    /// The same before what driven cases have of their own.
    roads: Mutex<Vec<Middleman>>,
    folder: TempDir,
}

/// The beginning of a slow road to a port.
async fn slow(port: u16) -> Result<Middleman> {
    let road = Middleman::before(port).await?;
    road.delay(SLOW);
    Ok(road)
}

impl Ground {
    /// A folder of this run, for what a provider keeps in files.
    #[must_use]
    pub fn folder(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    /// Where the provider connects to the service, by the place of the port among its ports.
    pub(crate) fn port(&self, at: usize) -> u16 {
        if let Some(proxy) = self.proxies.get(at) {
            return proxy.port;
        }
        let ports = self.service.as_ref().map(Service::ports);
        let port = ports.and_then(|ports| ports.get(at)).copied();
        port.unwrap_or_default()
    }

    /// The address of the service, as the provider is told it; empty where there is none.
    pub(crate) fn url(&self) -> String {
        let service = self.service.as_ref();
        service.map_or_else(String::new, |service| service.kind().url(self.port(0)))
    }

    /// Lays it.
    ///
    /// # Errors
    ///
    /// Fails when something does not come up, with the reason of the link where there is one.
    pub async fn lay(run: &Run<'_>) -> Result<Self> {
        let service = match (run.backend.place.service(), run.backend.place) {
            (Some(kind), Place::Told(_)) if run.fault == Fault::Slow => {
                Some(Service::start_slow(kind, 2 * SLOW).await?)
            }
            (Some(kind), _) => Some(Service::start(kind).await?),
            (None, _) => None,
        };
        let mut lattice = Self::nats(run.backend).await?;
        lattice.inside = run.form == Form::InHost;
        let peer = lattice.peer().await?;
        let mut ground = Self {
            lattice,
            service,
            features: Vec::new(),
            settings: Vec::new(),
            peer,
            fault: run.fault,
            proxies: Vec::new(),
            roads: Mutex::default(),
            folder: tempfile::Builder::new()
                .prefix("lattice-suite-")
                .tempdir()?,
        };
        if run.fault == Fault::Slow {
            ground.slow_down(run.backend).await?;
            ground.settings.push(("many".to_owned(), FEWER.to_owned()));
        }
        ground.add_hosts(run).await?;
        // What the backend says goes before.
        ground
            .settings
            .splice(0..0, (run.backend.settings)(&ground));
        ground.start(run).await?;
        Ok(ground)
    }

    /// A lattice without hosts.
    async fn nats(backend: &Backend) -> Result<Lattice> {
        let program = match backend.is_old {
            true => Some(find_old_server()?),
            false => None,
        };
        let options = NatsBoxOptions {
            program,
            ..NatsBoxOptions::default()
        };
        Lattice::start_with(options, 0).await
    }

    /// Puts proxies before the backend.
    async fn slow_down(&mut self, backend: &Backend) -> Result<()> {
        let ports = match &self.service {
            Some(service) => service.ports().to_vec(),
            None if backend.place.is_lattice() => vec![self.lattice.nats.port],
            None => Vec::new(),
        };
        for port in ports {
            self.proxies.push(slow(port).await?);
        }
        Ok(())
    }

    /// Where to connect for a port of a case's own: that port, or in a slow run the beginning of a
    /// slow road to it, which is there as long as the ground.
    pub(crate) async fn slow_road(&self, port: u16) -> Result<u16> {
        if self.fault != Fault::Slow {
            return Ok(port);
        }
        let road = slow(port).await?;
        let begins = road.port;
        // A list that somebody pushed to is whole, whatever happened to them.
        let mut roads = self.roads.lock().unwrap_or_else(PoisonError::into_inner);
        roads.push(road);
        Ok(begins)
    }

    /// Starts the hosts.
    async fn add_hosts(&mut self, run: &Run<'_>) -> Result<()> {
        // What uses the lattice's own connection has that of its host, or one to the same address.
        let slow = match run.backend.place {
            Place::Lattice => self.proxies.first().map(|proxy| proxy.port),
            _ => None,
        };
        for host in 0..=run.form.host() {
            let arguments = run.backend.host.iter().map(|text| (*text).to_owned());
            let options = HostOptions {
                nats_port: slow.filter(|_| host == run.form.host()),
                arguments: arguments.collect(),
                ..HostOptions::default()
            };
            self.lattice.add_host(options).await?;
        }
        Ok(())
    }

    /// What a link says besides, so that the provider takes the slow road to NATS.
    fn detour(&self, backend: &Backend) -> Value {
        match (backend.place, self.proxies.first()) {
            (Place::Nats(key), Some(proxy)) => {
                json!({ key: format!("nats://127.0.0.1:{}", proxy.port) })
            }
            _ => json!({}),
        }
    }

    async fn start(&mut self, run: &Run<'_>) -> Result<()> {
        let (lattice, capability, backend) = (&self.lattice, run.capability, run.backend);
        lattice.run(0, COMPONENT, capability.guest, 100).await?;
        if backend.provider.is_empty() {
            return Ok(());
        }
        let program = format!("{}-provider", backend.provider);
        lattice
            .provide(run.form.host(), PROVIDER, &program, &[])
            .await?;
        if !capability.calls.is_empty() {
            let config = and((backend.config)(self), self.detour(backend));
            lattice.config("backend", config).await?;
            lattice
                .link(COMPONENT, PROVIDER, capability.calls, &[], &["backend"])
                .await?;
            self.lattice.until_ready(1).await?;
            self.features = self.describe().await?;
            look_at_features(capability, &self.features)?;
        }
        let told = backend
            .source_config
            .filter(|_| !capability.called.is_empty());
        if let Some(config) = told {
            let mut config = and(config(self), self.detour(backend));
            // What is told of the one end holds for the other, which is refused otherwise.
            config["require"] = self.required(capability).into();
            self.lattice.config("handler", config).await?;
            self.lattice
                .link(PROVIDER, COMPONENT, capability.called, &["handler"], &[])
                .await?;
        }
        let wanted = usize::from(!capability.calls.is_empty()) + usize::from(told.is_some());
        self.lattice.until_ready(wanted).await
    }

    /// All that was told of the component's link, as a link requires it.
    fn required(&self, capability: &Capability) -> String {
        let differs: &[&str] = match capability.called {
            "wasmcloud:messaging/handler" | "wasi:messaging/incoming-handler" => &BY_SUBSCRIPTION,
            _ => &[],
        };
        let told = self.features.iter();
        let told = told.filter(|(name, _)| !differs.contains(&name.as_str()));
        let parts: Vec<String> = told
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        parts.join(",")
    }

    /// What the provider says of the component's link.
    async fn describe(&self) -> Result<Vec<(String, String)>> {
        let until = Instant::now() + Duration::from_secs(10);
        let call = Invocation::new(subject(PROVIDER, DESCRIBE), until)
            .source(COMPONENT)
            .link_name("default");
        let answer = self.peer.call(call, Bytes::new()).await;
        let mut read = Reader::new(answer.context("the provider describes nothing")?);
        if read.result_is_err()? {
            // A provider that only calls has no link to describe.
            return Ok(Vec::new());
        }
        read.string()?;
        read.string()?;
        let count = read.count(2)?;
        (0..count)
            .map(|_| Ok((read.string()?, read.string()?)))
            .collect()
    }
}

/// Every provider of a capability tells the same features.
fn look_at_features(capability: &Capability, told: &[(String, String)]) -> Result<()> {
    let Some(vocabulary) = capability.vocabulary() else {
        return Ok(());
    };
    let told = told.iter();
    let told = told.map(|(name, value)| (name.as_str(), value.as_str()));
    let complaints = vocabulary.complaints(told);
    if !complaints.is_empty() {
        bail!(
            "the provider describes itself badly: {}",
            complaints.join(", ")
        );
    }
    Ok(())
}
