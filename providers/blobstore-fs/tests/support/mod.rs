//! A lattice with one blob provider, and components that call it as a host would.

#![allow(dead_code, reason = "not every test uses all of it")]

mod component;

use std::process::Stdio;
use std::time::Duration;

use async_nats::Subscriber;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures::StreamExt as _;
use lattice_core::link::LinkState;
use lattice_core::provider::{HostData, LinkReport};
use lattice_core::subject::ProviderSubjects;
use lattice_core::{ComponentId, LatticeName, Locality, ResolvedLink, StringMap};
use lattice_nats_box::NatsBox;
use lattice_provider_sdk::{Provider, run};
use lattice_rpc::{Peer, PeerConfig};
use tokio::io::AsyncWriteExt as _;
use tokio::process::{Child, Command};
use tokio::task::JoinSet;
use tokio_util::sync::{CancellationToken, DropGuard};

pub(crate) use component::Component;

/// How long a test waits for what has to happen. A test machine may compile at the same time.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Runs a provider and tells it about links, as its host would.
pub(crate) struct Lattice {
    pub(crate) nats: NatsBox,
    peer: Peer,
    provider: ComponentId,
    subjects: ProviderSubjects,
    reports: Subscriber,
    running: Running,
}

/// The provider, in this process or in one of its own.
enum Running {
    Here {
        _tasks: JoinSet<()>,
        _stop_at_end: DropGuard,
    },
    There(Child),
}

fn map(values: &[(&str, &str)]) -> StringMap {
    let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
    values.iter().map(owned).collect()
}

#[expect(
    clippy::disallowed_methods,
    reason = "stands in for the host of a provider"
)]
impl Lattice {
    pub(crate) async fn start<P: Provider>() -> Self {
        Self::start_by(async |data| {
            let stop = CancellationToken::new();
            let stopped = stop.clone();
            let mut tasks = JoinSet::new();
            tasks.spawn(async move {
                run::<P>(data, stopped).await.unwrap();
            });
            Running::Here {
                _tasks: tasks,
                _stop_at_end: stop.drop_guard(),
            }
        })
        .await
    }

    /// Runs the provider as a process of its own.
    pub(crate) async fn start_program(program: &str) -> Self {
        Self::start_by(async |data| {
            let mut command = Command::new(program);
            command.stdin(Stdio::piped()).kill_on_drop(true);
            let mut child = command.spawn().unwrap();
            let told = STANDARD.encode(serde_json::to_vec(&data).unwrap());
            let mut stdin = child.stdin.take().unwrap();
            stdin.write_all(told.as_bytes()).await.unwrap();
            stdin.write_all(b"\r\n").await.unwrap();
            Running::There(child)
        })
        .await
    }

    /// The most memory that the process of the provider has used so far, in bytes.
    pub(crate) fn most_memory(&self) -> u64 {
        let Running::There(child) = &self.running else {
            panic!("the provider is no process of its own");
        };
        let status = format!("/proc/{}/status", child.id().unwrap());
        let status = std::fs::read_to_string(status).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmHWM:"));
        let kib: u64 = line
            .unwrap()
            .split_whitespace()
            .nth(1)
            .unwrap()
            .parse()
            .unwrap();
        kib << 10
    }

    async fn start_by(start: impl AsyncFnOnce(HostData) -> Running) -> Self {
        let nats = NatsBox::start().await.unwrap();
        let client = nats.client().await.unwrap();
        let provider = ComponentId::new("blobs").unwrap();
        let subjects = ProviderSubjects::new(&LatticeName::default(), &provider);
        let reports = client.subscribe(subjects.link_status()).await.unwrap();
        let peer = Peer::new(client, PeerConfig::default()).await.unwrap();
        let data = HostData {
            host_id: "N0".to_owned(),
            lattice_rpc_prefix: LatticeName::default().to_string(),
            lattice_rpc_url: nats.url.clone().into(),
            provider_key: provider.to_string(),
            ..HostData::default()
        };
        let lattice = Self {
            running: start(data).await,
            nats,
            peer,
            provider,
            subjects,
            reports,
        };
        lattice.until_healthy().await;
        lattice
    }

    async fn until_healthy(&self) {
        let ask = async {
            let subject = self.subjects.health();
            let nats = self.peer.nats();
            while nats.request(subject.clone(), "".into()).await.is_err() {}
        };
        tokio::time::timeout(PATIENCE, ask).await.unwrap();
    }

    /// Puts a link; whether it works is left to [`Lattice::report_of`].
    pub(crate) async fn put(&mut self, source: &str, config: &[(&str, &str)]) -> Component {
        let link = ResolvedLink {
            source_id: source.into(),
            target: self.provider.to_string(),
            name: "default".into(),
            wit_namespace: "wasi".into(),
            wit_package: "blobstore".into(),
            interfaces: vec!["blobstore".into(), "container".into()],
            source_config: StringMap::new(),
            target_config: map(config),
            source_secrets: None,
            target_secrets: None,
            locality: Locality::default(),
            rules: lattice_core::LinkRules::default(),
            ruled: false,
        };
        let payload = serde_json::to_vec(&link).unwrap();
        let nats = self.peer.nats();
        let put = nats.publish(self.subjects.link_put(), payload.into()).await;
        put.unwrap();
        self.component(source)
    }

    /// As [`Lattice::put`], and waits until the link works.
    pub(crate) async fn link(&mut self, source: &str, config: &[(&str, &str)]) -> Component {
        let component = self.put(source, config).await;
        self.report_of(LinkState::Ready).await;
        component
    }

    pub(crate) fn component(&self, source: &str) -> Component {
        Component::new(&self.peer, &self.provider, source)
    }

    /// A component that takes no more than so many bytes before it has read some of them.
    pub(crate) async fn component_with_window(&self, source: &str, window: u64) -> Component {
        let config = PeerConfig {
            stream_window: window,
            ..PeerConfig::default()
        };
        let client = self.nats.client().await.unwrap();
        let peer = Peer::new(client, config).await.unwrap();
        Component::new(&peer, &self.provider, source)
    }

    /// Waits until the provider reports a link in that state.
    pub(crate) async fn report_of(&mut self, state: LinkState) -> LinkReport {
        let wait = async {
            loop {
                let message = self.reports.next().await.unwrap();
                let report: LinkReport = serde_json::from_slice(&message.payload).unwrap();
                if report.state == state {
                    return report;
                }
            }
        };
        tokio::time::timeout(PATIENCE, wait).await.unwrap()
    }
}

/// Streams a large object through the process of a provider, both ways, and says how much memory
/// that took at most.
pub(crate) async fn stream_through(lattice: &Lattice, blobs: &Component, size: u64) -> u64 {
    let byte = |at: u64| (at % 251) as u8;
    let piece = move |from: u64| {
        let to = (from + 60_000).min(size);
        bytes::Bytes::from_iter((from..to).map(byte))
    };
    let data = futures::stream::iter((0..size).step_by(60_000)).map(piece);
    blobs.create("large").await.unwrap();
    blobs.write("large", "object", data).await.unwrap();
    let mut reading = blobs.open("large", "object", 0, u64::MAX).await.unwrap();
    let mut at = 0;
    while let Some(piece) = reading.next().await {
        for found in piece.unwrap() {
            assert_eq!(found, byte(at), "at {at}");
            at += 1;
        }
    }
    reading.end().await.unwrap();
    assert_eq!(at, size);
    lattice.most_memory()
}

/// How large the large object of a test is, in bytes; `LATTICE_BLOB_BYTES` may say otherwise.
pub(crate) fn large() -> u64 {
    let told = std::env::var("LATTICE_BLOB_BYTES").ok();
    told.map_or(80 << 20, |text| text.parse().unwrap())
}

/// Waits until something is so.
pub(crate) async fn until<F: Future<Output = bool>>(mut is_so: impl FnMut() -> F) {
    let wait = async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.unwrap();
}
