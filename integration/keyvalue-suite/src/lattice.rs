//! A lattice with one provider and nothing else.

#![expect(
    clippy::disallowed_methods,
    reason = "stands in for the host of a provider"
)]

use std::time::Duration;

use async_nats::Subscriber;
use futures::StreamExt as _;
use lattice_core::link::LinkState;
use lattice_core::provider::{HostData, LinkReport};
use lattice_core::subject::ProviderSubjects;
use lattice_core::{ComponentId, LatticeName, ResolvedLink, StringMap};
use lattice_nats_box::NatsBox;
use lattice_provider_sdk::{Provider, run};
use lattice_rpc::{Peer, PeerConfig};
use tokio::task::JoinSet;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::component::Component;
use crate::watching::Watching;

/// How long a test waits for what has to happen. A test machine may compile at the same time.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Runs a provider and tells it about links, as its host would.
#[derive(Debug)]
pub struct Lattice {
    /// The NATS of the lattice.
    pub nats: NatsBox,
    peer: Peer,
    provider: ComponentId,
    subjects: ProviderSubjects,
    reports: Subscriber,
    links: Vec<ResolvedLink>,
    config: StringMap,
    stop: CancellationToken,
    running: JoinSet<()>,
    _stop_at_end: DropGuard,
}

fn map(values: &[(&str, &str)]) -> StringMap {
    let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
    values.iter().map(owned).collect()
}

fn link(name: &str) -> ResolvedLink {
    ResolvedLink {
        source_id: String::new(),
        target: String::new(),
        name: name.into(),
        wit_namespace: "wasi".into(),
        wit_package: "keyvalue".into(),
        interfaces: Vec::new(),
        source_config: StringMap::new(),
        target_config: StringMap::new(),
        source_secrets: None,
        target_secrets: None,
        locality: lattice_core::Locality::default(),
        rules: lattice_core::LinkRules::default(),
        ruled: false,
    }
}

impl Lattice {
    /// Runs the provider `P` with a config of its own.
    pub async fn start<P: Provider>(config: &[(&str, &str)]) -> Self {
        let nats = NatsBox::start().await.expect("a NATS server");
        let client = nats.client().await.expect("a connection");
        let provider = ComponentId::new("kv").expect("a valid id");
        let subjects = ProviderSubjects::new(&LatticeName::default(), &provider);
        let reports = client.subscribe(subjects.link_status()).await;
        let peer = Peer::new(client, PeerConfig::default()).await;
        let stop = CancellationToken::new();
        let mut lattice = Self {
            nats,
            peer: peer.expect("a peer"),
            provider,
            subjects,
            reports: reports.expect("a subscription"),
            links: Vec::new(),
            config: map(config),
            _stop_at_end: stop.clone().drop_guard(),
            stop,
            running: JoinSet::new(),
        };
        lattice.run_another::<P>().await;
        lattice
    }

    /// Runs one more process of the provider, with the links that are there, and waits until it
    /// answers.
    pub async fn run_another<P: Provider>(&mut self) {
        let number = self.running.len();
        let data = HostData {
            host_id: format!("N{number}"),
            lattice_rpc_prefix: LatticeName::default().to_string(),
            lattice_rpc_url: self.nats.url.clone().into(),
            provider_key: self.provider.to_string(),
            config: self.config.clone(),
            link_definitions: self.links.clone(),
            ..HostData::default()
        };
        let stop = self.stop.clone();
        self.running.spawn(async move {
            run::<P>(data, stop).await.expect("the provider runs");
        });
        for _ in 0..self.links.len() {
            self.report_of(LinkState::Ready).await;
        }
        self.until_healthy().await;
    }

    /// Stops every process of the provider, as its host would; [`Lattice::run_another`] runs one
    /// again.
    pub async fn stop_all(&mut self) {
        self.stop.cancel();
        while let Some(ended) = self.running.join_next().await {
            ended.expect("the provider ends by itself");
        }
        self.stop = CancellationToken::new();
        self._stop_at_end = self.stop.clone().drop_guard();
    }

    /// Waits until the provider answers.
    pub async fn until_healthy(&self) {
        let ask = async {
            let subject = self.subjects.health();
            while self
                .peer
                .nats()
                .request(subject.clone(), "".into())
                .await
                .is_err()
            {}
        };
        tokio::time::timeout(PATIENCE, ask)
            .await
            .expect("the provider answers");
    }

    /// Puts a link from `source` and returns the component at that end; whether the link works is
    /// left to [`Lattice::report_of`].
    pub async fn put(&mut self, source: &str, name: &str, config: &[(&str, &str)]) -> Component {
        let link = ResolvedLink {
            source_id: source.into(),
            target: self.provider.to_string(),
            interfaces: vec!["store".into(), "atomics".into(), "batch".into()],
            target_config: map(config),
            ..link(name)
        };
        self.put_link(link).await;
        self.component(source, name)
    }

    /// Puts a link through which the provider calls `target`.
    pub async fn put_source(&mut self, target: &str, name: &str, config: &[(&str, &str)]) {
        let link = ResolvedLink {
            source_id: self.provider.to_string(),
            target: target.into(),
            interfaces: vec!["watcher".into()],
            source_config: map(config),
            ..link(name)
        };
        self.put_link(link).await;
    }

    async fn put_link(&mut self, link: ResolvedLink) {
        self.publish(self.subjects.link_put(), &link).await;
        self.links.push(link);
    }

    /// Serves the watcher of the component `id`.
    pub async fn watch(&self, id: &str) -> Watching {
        Watching::start(&self.peer, id).await
    }

    /// As [`Lattice::put`], and waits until the link works.
    pub async fn link(&mut self, source: &str, name: &str, config: &[(&str, &str)]) -> Component {
        let component = self.put(source, name, config).await;
        self.report_of(LinkState::Ready).await;
        component
    }

    /// As [`Lattice::link`], for a link with rules, which the host of the component keeps.
    pub async fn link_with_rules(
        &mut self,
        source: &str,
        name: &str,
        config: &[(&str, &str)],
    ) -> Component {
        let link = ResolvedLink {
            source_id: source.into(),
            target: self.provider.to_string(),
            interfaces: vec!["store".into(), "atomics".into(), "batch".into()],
            target_config: map(config),
            ruled: true,
            ..link(name)
        };
        self.put_link(link).await;
        self.report_of(LinkState::Ready).await;
        self.component(source, name)
    }

    /// Deletes the link that was put last.
    pub async fn unlink(&mut self) {
        let link = self.links.pop().expect("a link");
        self.publish(self.subjects.link_delete(), &link).await;
    }

    /// Gives the provider a new config.
    pub async fn put_config(&mut self, config: &[(&str, &str)]) {
        self.config = map(config);
        let subject = self.subjects.config_update();
        self.publish(subject, &self.config).await;
    }

    async fn publish<T: serde::Serialize + Sync>(&self, subject: String, message: &T) {
        let payload = serde_json::to_vec(message).expect("plain data");
        let nats = self.peer.nats();
        let done = nats.publish(subject, payload.into()).await;
        done.expect("a connection");
    }

    /// The component `id`, linked or not.
    #[must_use]
    pub fn component(&self, id: &str, link_name: &str) -> Component {
        Component::new(&self.peer, &self.provider, id, link_name)
    }

    /// Waits until the provider reports a link in that state.
    pub async fn report_of(&mut self, state: LinkState) -> LinkReport {
        let wait = async {
            loop {
                let message = self.reports.next().await.expect("a connection");
                let report: LinkReport =
                    serde_json::from_slice(&message.payload).expect("a link report");
                if report.state == state {
                    return report;
                }
            }
        };
        let waited = tokio::time::timeout(PATIENCE, wait).await;
        waited.expect("a report of that state in time")
    }
}
