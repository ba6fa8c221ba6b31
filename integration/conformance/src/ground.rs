//! What a suite runs on: a lattice with the component, the provider and the link between them.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use lattice_codec::Reader;
use lattice_integration::{Lattice, subject, until};
use lattice_rpc::{Invocation, Peer};
use lattice_services::Service;
use serde_json::Value;
use tempfile::TempDir;
use tokio::time::Instant;

use crate::catalog::{Backend, Capability};

/// The component under whose name the suite runs.
pub(crate) const COMPONENT: &str = "suite";
/// The provider's id.
const PROVIDER: &str = "backend";
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
    pub(crate) peer: Peer,
    folder: TempDir,
}

impl Ground {
    /// A folder of this run, for what a provider keeps in files.
    #[must_use]
    pub fn folder(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    /// Lays it.
    ///
    /// # Errors
    ///
    /// Fails when something does not come up, with the reason of the link where there is one.
    pub async fn lay(capability: &Capability, backend: &Backend, form: Form) -> Result<Self> {
        let service = match backend.service {
            Some(kind) => Some(Service::start(kind).await?),
            None => None,
        };
        let hosts = if form == Form::Remote { 2 } else { 1 };
        let mut lattice = Lattice::start(hosts).await?;
        lattice.inside = form == Form::InHost;
        let peer = lattice.peer().await?;
        let mut ground = Self {
            lattice,
            service,
            features: Vec::new(),
            settings: Vec::new(),
            peer,
            folder: tempfile::Builder::new()
                .prefix("lattice-suite-")
                .tempdir()?,
        };
        ground.settings = (backend.settings)(&ground);
        ground.start(capability, backend, form).await?;
        ground.features = ground.describe().await?;
        Ok(ground)
    }

    async fn start(&self, capability: &Capability, backend: &Backend, form: Form) -> Result<()> {
        let lattice = &self.lattice;
        lattice.run(0, COMPONENT, capability.guest, 100).await?;
        let host = usize::from(form == Form::Remote);
        let program = format!("{}-provider", backend.provider);
        lattice.provide(host, PROVIDER, &program, &[]).await?;
        if !capability.calls.is_empty() {
            let config = (backend.config)(self);
            lattice.config("backend", config).await?;
            lattice
                .link(COMPONENT, PROVIDER, capability.calls, &[], &["backend"])
                .await?;
        }
        let told = backend
            .source_config
            .filter(|_| !capability.called.is_empty());
        if let Some(config) = told {
            lattice.config("handler", config(self)).await?;
            lattice
                .link(PROVIDER, COMPONENT, capability.called, &["handler"], &[])
                .await?;
        }
        let wanted = usize::from(!capability.calls.is_empty()) + usize::from(told.is_some());
        self.until_ready(wanted).await
    }

    /// Waits until that many links are ready.
    async fn until_ready(&self, wanted: usize) -> Result<()> {
        until(async || {
            let reply = self.lattice.ctl_ok("link.get", Value::Null).await?;
            let links = reply["response"].as_array().context("no list of links")?;
            let ready = links.iter().filter(|link| {
                let told = link["status"].as_array();
                told.is_some_and(|told| told.iter().any(|end| end["state"] == "ready"))
            });
            if ready.count() < wanted {
                bail!("the links are not ready: {:?}", reply["response"]);
            }
            Ok(())
        })
        .await
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
