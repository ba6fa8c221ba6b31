//! A lattice with one blob provider, and components that call it as a host would.

#![allow(dead_code, reason = "not every test uses all of it")]

mod component;

use std::time::Duration;

use async_nats::Subscriber;
use futures::StreamExt as _;
use lattice_core::link::LinkState;
use lattice_core::provider::{HostData, LinkReport};
use lattice_core::subject::ProviderSubjects;
use lattice_core::{ComponentId, LatticeName, Locality, ResolvedLink, StringMap};
use lattice_nats_box::NatsBox;
use lattice_provider_sdk::{Provider, run};
use lattice_rpc::{Peer, PeerConfig};
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
    _running: JoinSet<()>,
    _stop_at_end: DropGuard,
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
        let nats = NatsBox::start().await.unwrap();
        let client = nats.client().await.unwrap();
        let provider = ComponentId::new("blobs").unwrap();
        let subjects = ProviderSubjects::new(&LatticeName::default(), &provider);
        let reports = client.subscribe(subjects.link_status()).await.unwrap();
        let peer = Peer::new(client, PeerConfig::default()).await.unwrap();
        let data = HostData {
            host_id: "N0".to_owned(),
            lattice_rpc_prefix: LatticeName::default().to_string(),
            lattice_rpc_url: nats.url.clone(),
            provider_key: provider.to_string(),
            ..HostData::default()
        };
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let mut running = JoinSet::new();
        running.spawn(async move {
            run::<P>(data, stopped).await.unwrap();
        });
        let lattice = Self {
            nats,
            peer,
            provider,
            subjects,
            reports,
            _running: running,
            _stop_at_end: stop.drop_guard(),
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

/// Waits until something is so.
pub(crate) async fn until<F: Future<Output = bool>>(mut is_so: impl FnMut() -> F) {
    let wait = async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.unwrap();
}
