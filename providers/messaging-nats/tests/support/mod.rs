//! A lattice with one messaging provider, and what stands in for components at its links.
//!
//! The tests of all messaging providers use it.

#![allow(dead_code, reason = "not every test needs all of it")]
#![allow(
    clippy::disallowed_methods,
    reason = "stands in for the host of a provider"
)]

mod component;

use std::time::Duration;

use async_nats::Subscriber;
use futures::StreamExt as _;
use lattice_core::link::LinkState;
use lattice_core::provider::{HostData, LinkReport};
use lattice_core::subject::ProviderSubjects;
use lattice_core::{ComponentId, LatticeName, Locality, ResolvedLink, StringMap};
use lattice_nats_box::{NatsBox, NatsBoxOptions};
use lattice_provider_sdk::{Provider, run};
use lattice_rpc::{Peer, PeerConfig};
use tokio::io::AsyncWriteExt as _;
use tokio::process::{Child, Command};
use tokio::task::JoinSet;
use tokio_util::sync::{CancellationToken, DropGuard};

pub(crate) use component::{Component, Heard, Message, Said};

/// How long a test waits for what has to happen. A test machine may compile at the same time.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Runs a provider and tells it about links, as its host would.
pub(crate) struct Lattice {
    /// The NATS of the lattice.
    pub(crate) nats: NatsBox,
    pub(crate) peer: Peer,
    provider: ComponentId,
    subjects: ProviderSubjects,
    reports: Subscriber,
    links: Vec<ResolvedLink>,
    /// What its host says of calls without a deadline.
    pub(crate) call_timeout_ms: Option<u64>,
    running: JoinSet<()>,
    stop: CancellationToken,
    _stop_at_end: DropGuard,
}

fn map(values: &[(&str, &str)]) -> StringMap {
    let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
    values.iter().map(owned).collect()
}

impl Lattice {
    /// A lattice without a provider.
    pub(crate) async fn empty(options: NatsBoxOptions) -> Self {
        let nats = NatsBox::start_with(options).await.unwrap();
        let client = nats.client().await.unwrap();
        let provider = ComponentId::new("messages").unwrap();
        let subjects = ProviderSubjects::new(&LatticeName::default(), &provider);
        let reports = client.subscribe(subjects.link_status()).await.unwrap();
        let stop = CancellationToken::new();
        Self {
            nats,
            peer: Peer::new(client, PeerConfig::default()).await.unwrap(),
            provider,
            subjects,
            reports,
            links: Vec::new(),
            call_timeout_ms: None,
            running: JoinSet::new(),
            _stop_at_end: stop.clone().drop_guard(),
            stop,
        }
    }

    /// A lattice with the provider `P`.
    pub(crate) async fn start<P: Provider>() -> Self {
        let mut lattice = Self::empty(NatsBoxOptions::default()).await;
        lattice.run::<P>().await;
        lattice
    }

    fn data(&self) -> HostData {
        HostData {
            host_id: format!("N{}", self.running.len()),
            lattice_rpc_prefix: LatticeName::default().to_string(),
            lattice_rpc_url: self.nats.url.clone().into(),
            provider_key: self.provider.to_string(),
            link_definitions: self.links.clone(),
            lattice_call_timeout_ms: self.call_timeout_ms,
            ..HostData::default()
        }
    }

    /// Runs one more copy of the provider in this process, with the links that are there.
    pub(crate) async fn run<P: Provider>(&mut self) {
        let (data, stop) = (self.data(), self.stop.clone());
        self.taken_in().await;
        self.running
            .spawn(async move { run::<P>(data, stop).await.unwrap() });
        self.until_healthy().await;
        for _ in 0..self.links.len() {
            self.ready().await;
        }
    }

    /// Runs the provider as a process of its own, which is killed when the handle is dropped.
    pub(crate) async fn spawn(&mut self, program: &str) -> Child {
        self.taken_in().await;
        let mut child = Command::new(program)
            .stdin(std::process::Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let line = self.data().to_line().unwrap();
        let mut input = child.stdin.take().unwrap();
        input.write_all(line.as_bytes()).await.unwrap();
        // A provider ends with its host, which is at the other end of this pipe.
        child.stdin = Some(input);
        self.until_healthy().await;
        for _ in 0..self.links.len() {
            self.ready().await;
        }
        child
    }

    /// Stops all copies of the provider in this process, as a host would; links stay.
    pub(crate) async fn stop_providers(&mut self) {
        self.stop.cancel();
        while let Some(ended) = self.running.join_next().await {
            ended.unwrap();
        }
        self.stop = CancellationToken::new();
        self._stop_at_end = self.stop.clone().drop_guard();
    }

    /// Waits until reports come again after NATS was away.
    async fn taken_in(&self) {
        lattice_nats_box::taken_in(self.peer.nats()).await.unwrap();
    }

    async fn until_healthy(&self) {
        let nats = self.peer.nats();
        let ask = async {
            while nats
                .request(self.subjects.health(), "".into())
                .await
                .is_err()
            {}
        };
        tokio::time::timeout(PATIENCE, ask).await.unwrap();
    }

    /// Puts a link through which the component `source` publishes and asks.
    pub(crate) async fn target(&mut self, source: &str, config: &[(&str, &str)]) -> Component {
        let link = ResolvedLink {
            source_id: source.into(),
            target: self.provider.to_string(),
            interfaces: vec!["consumer".into()],
            target_config: map(config),
            ..link()
        };
        self.put(link).await;
        Component::new(&self.peer, &self.provider, source)
    }

    /// Puts a link through which the component `target` is told of messages.
    pub(crate) async fn source(&mut self, target: &str, config: &[(&str, &str)]) {
        let link = ResolvedLink {
            source_id: self.provider.to_string(),
            target: target.into(),
            interfaces: vec!["handler".into()],
            source_config: map(config),
            ..link()
        };
        self.put(link).await;
    }

    async fn put(&mut self, link: ResolvedLink) {
        let payload = serde_json::to_vec(&link).unwrap();
        let nats = self.peer.nats();
        let subject = self.subjects.link_put();
        nats.publish(subject, payload.into()).await.unwrap();
        self.links.push(link);
    }

    /// Deletes the link that was put last.
    pub(crate) async fn unlink(&mut self) {
        let link = self.links.pop().unwrap();
        let payload = serde_json::to_vec(&link).unwrap();
        let nats = self.peer.nats();
        let subject = self.subjects.link_delete();
        nats.publish(subject, payload.into()).await.unwrap();
    }

    /// Waits until a link is reported ready.
    pub(crate) async fn ready(&mut self) {
        self.report(LinkState::Ready).await;
    }

    /// Waits until a link is reported failed, and says why.
    pub(crate) async fn failed(&mut self) -> String {
        self.report(LinkState::Failed).await.reason.unwrap()
    }

    async fn report(&mut self, state: LinkState) -> LinkReport {
        let mut seen = Vec::new();
        let wait = async {
            loop {
                let message = self.reports.next().await.unwrap();
                let report: LinkReport = serde_json::from_slice(&message.payload).unwrap();
                if report.state == state {
                    return report;
                }
                seen.push((report.state, report.reason));
            }
        };
        match tokio::time::timeout(PATIENCE, wait).await {
            Ok(report) => report,
            Err(_) => panic!("no link is {state:?}, but {seen:?}"),
        }
    }

    /// Serves the handler of the component `id`.
    pub(crate) async fn handler<F>(&self, id: &str, say: F) -> Heard
    where
        F: Fn(&Message) -> Said + Send + Sync + 'static,
    {
        Heard::serve(&self.peer, id, say).await
    }
}

fn link() -> ResolvedLink {
    ResolvedLink {
        source_id: String::new(),
        target: String::new(),
        name: "default".into(),
        wit_namespace: "wasmcloud".into(),
        wit_package: "messaging".into(),
        interfaces: Vec::new(),
        source_config: StringMap::new(),
        target_config: StringMap::new(),
        source_secrets: None,
        target_secrets: None,
        locality: Locality::default(),
        rules: lattice_core::LinkRules::default(),
        ruled: false,
    }
}

/// Waits until `look` finds something.
pub(crate) async fn until<T>(mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let wait = async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait)
        .await
        .expect("what the test waits for")
}
