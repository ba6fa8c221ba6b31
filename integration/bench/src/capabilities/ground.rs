//! What operations are measured on: a lattice with every provider in both forms, and the services.

use anyhow::{Context as _, Result};
use lattice_integration::{HostOptions, Lattice, Redis, free_port, until};
use lattice_rpc::Peer;
use lattice_services::{Kind, Service};
use tempfile::TempDir;
use tokio::process::Child;

use super::catalog::{Subject, Way};
use super::component::Component;
use super::{Batch, Work as _};
use crate::meter::Meter;
use crate::{bed, bus, hyper_hello, processes};

/// How many calls each component may have at a time.
const INSTANCES: u32 = 100;
/// The host with the providers inside, and the one that runs them as processes.
const INSIDE: usize = 0;
const ISOLATED: usize = 1;

/// Everything that runs. It all ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Ground {
    pub(super) lattice: Lattice,
    pub(super) meter: Meter,
    peer: Peer,
    redis: Option<Redis>,
    postgres: Option<Service>,
    http_address: String,
    folder: TempDir,
    _responder: Child,
    _hyper: Child,
}

impl Ground {
    /// Starts the services, two hosts, and a component for each way through the lattice.
    pub(super) async fn lay(subjects: &[&'static Subject]) -> Result<Self> {
        let (mut lattice, meter) = bed::metered(1).await?;
        let isolated = HostOptions {
            arguments: vec!["--isolated".to_owned()],
            ..HostOptions::default()
        };
        lattice.add_host(isolated).await?;
        lattice.inside = true;
        let uses = |backend| subjects.iter().any(|subject| subject.backend == backend);
        let redis = match uses("redis") {
            true => Some(lattice.redis().await?),
            false => None,
        };
        let postgres = match uses("postgres") {
            true => Some(Service::start(Kind::Postgres).await?),
            false => None,
        };
        let http_address = format!("127.0.0.1:{}", free_port()?);
        let ground = Self {
            _responder: bus::responder(&lattice.nats.url, &lattice.client).await?,
            _hyper: hyper_hello::start(&http_address)?,
            peer: lattice.peer().await?,
            lattice,
            meter,
            redis,
            postgres,
            http_address,
            folder: tempfile::Builder::new().prefix("lattice-ops-").tempdir()?,
        };
        for subject in subjects {
            for way in [Way::InHost, Way::Process] {
                let started = ground.start(subject, way).await;
                started.with_context(|| format!("could not start `{}`", subject.id(way)))?;
            }
        }
        Ok(ground)
    }

    async fn start(&self, subject: &Subject, way: Way) -> Result<()> {
        let host = if way == Way::InHost { INSIDE } else { ISOLATED };
        let (lattice, id) = (&self.lattice, subject.id(way));
        let provider = format!("provider-{id}");
        let config = format!("config-{id}");
        let program = format!("{}-provider", subject.provider);
        lattice.provide(host, &provider, &program, &[]).await?;
        lattice.run(host, &id, "ops", INSTANCES).await?;
        lattice.config(&config, (subject.config)(self, way)).await?;
        lattice
            .link(&id, &provider, subject.calls, &[], &[&config])
            .await?;
        let Some(operation) = subject.operations.first() else {
            return Ok(());
        };
        // The link is on its way.
        let place = operation
            .place
            .map_or_else(|| "first".to_owned(), |place| place(self));
        let component = self.component(subject, way);
        let batch = Batch {
            kind: operation.before.unwrap_or(operation.kind),
            place: &place,
            times: 1,
            size: operation.size,
        };
        until(async || component.run(batch).await).await
    }

    /// Operations of a component.
    pub(super) fn component(&self, subject: &Subject, way: Way) -> Component {
        Component::new(self.peer.clone(), &subject.id(way))
    }

    /// The processes whose CPU time counts, besides those of the backend.
    pub(super) fn pids(&self, subject: &Subject, way: Way) -> Result<Vec<u32>> {
        let host = |index: usize| {
            let pid = self.lattice.hosts[index].pid();
            pid.context("the host has exited")
        };
        Ok(match way {
            Way::Native | Way::Sdk => vec![std::process::id()],
            Way::InHost => vec![host(INSIDE)?],
            Way::Process => {
                let host = host(ISOLATED)?;
                vec![host, processes::child_with(host, subject.provider)?]
            }
        })
    }

    pub(super) fn nats_url(&self) -> &str {
        &self.lattice.nats.url
    }

    pub(super) fn redis_url(&self) -> String {
        let redis = self.redis.as_ref();
        redis.map(|redis| redis.url.clone()).unwrap_or_default()
    }

    pub(super) fn postgres_url(&self) -> String {
        self.postgres.as_ref().map(Service::url).unwrap_or_default()
    }

    /// Where somebody answers HTTP.
    pub(super) fn http_address(&self) -> String {
        self.http_address.clone()
    }

    /// A folder of this run.
    pub(super) fn folder(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }
}
