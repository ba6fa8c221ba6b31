//! A lattice with copies of one provider, each a process of its own, that are told about links as
//! their hosts would. The tests of providers whose copies work together share this.

use std::process::Stdio;
use std::time::Duration;

use async_nats::Subscriber;
use futures::StreamExt as _;
use lattice_core::link::LinkState;
use lattice_core::provider::{HostData, LinkReport};
use lattice_core::subject::ProviderSubjects;
use lattice_core::{ComponentId, LatticeName, ResolvedLink, StringMap};
use lattice_nats_box::NatsBox;
use lattice_rpc::{Peer, PeerConfig};
use tokio::io::AsyncWriteExt as _;
use tokio::process::{Child, Command};

/// How long a test waits for what has to happen. A test machine may compile at the same time.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// What the provider is for.
pub struct Kind {
    /// The package, in the namespace `lattice`; the provider has the same name.
    pub package: &'static str,
    /// What components call.
    pub called: &'static str,
    /// What the provider calls.
    pub calls: &'static str,
}

pub struct Copies {
    pub nats: NatsBox,
    pub peer: Peer,
    pub provider: ComponentId,
    kind: Kind,
    subjects: ProviderSubjects,
    reports: Subscriber,
    links: Vec<ResolvedLink>,
    program: &'static str,
    copies: Vec<Child>,
}

fn map(values: &[(&str, &str)]) -> StringMap {
    let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
    values.iter().map(owned).collect()
}

impl Copies {
    /// Runs one copy of the provider in `program`.
    pub async fn start(program: &'static str, kind: Kind) -> Self {
        let nats = NatsBox::start().await.unwrap();
        let client = nats.client().await.unwrap();
        let provider = ComponentId::new(kind.package).unwrap();
        let subjects = ProviderSubjects::new(&LatticeName::default(), &provider);
        let reports = client.subscribe(subjects.link_status()).await.unwrap();
        let peer = Peer::new(client, PeerConfig::default()).await.unwrap();
        let mut copies = Self {
            nats,
            peer,
            provider,
            kind,
            subjects,
            reports,
            links: Vec::new(),
            program,
            copies: Vec::new(),
        };
        copies.run_copy().await;
        copies
    }

    /// Runs one more copy, with the links that are there, and waits until it has them.
    pub async fn run_copy(&mut self) -> usize {
        // NATS may just have been away, and reports with it.
        lattice_nats_box::taken_in(self.peer.nats()).await.unwrap();
        let at = self.copies.len();
        let host_id = format!("N{at}");
        let data = HostData {
            host_id: host_id.clone(),
            lattice_rpc_prefix: LatticeName::default().to_string(),
            lattice_rpc_url: self.nats.url.clone().into(),
            provider_key: self.provider.to_string(),
            link_definitions: self.links.clone(),
            ..HostData::default()
        };
        let mut process = Command::new(self.program)
            .stdin(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut input = process.stdin.take().unwrap();
        let line = data.to_line().unwrap();
        input.write_all(line.as_bytes()).await.unwrap();
        self.copies.push(process);
        let mut ready = 0;
        while ready < self.links.len() {
            let report = self.report_of(LinkState::Ready).await;
            ready += usize::from(report.host_id == host_id);
        }
        self.until_healthy().await;
        at
    }

    /// Kills a copy.
    pub async fn kill(&mut self, copy: usize) {
        self.copies[copy].kill().await.unwrap();
    }

    /// Stops a copy as its host would, and waits for its end.
    pub async fn stop(&mut self, copy: usize) {
        let id = self.copies[copy].id().unwrap().to_string();
        let asked = Command::new("kill").arg(&id).status().await.unwrap();
        assert!(asked.success());
        let ended = tokio::time::timeout(PATIENCE, self.copies[copy].wait()).await;
        assert!(ended.unwrap().unwrap().success());
    }

    async fn until_healthy(&self) {
        let ask = async {
            let health = || self.subjects.health();
            while self.peer.nats().request(health(), "".into()).await.is_err() {}
        };
        tokio::time::timeout(PATIENCE, ask).await.unwrap();
    }

    fn link_of(&self, source: &str, target: &str, name: &str) -> ResolvedLink {
        ResolvedLink {
            source_id: source.into(),
            target: target.into(),
            name: name.into(),
            wit_namespace: "lattice".into(),
            wit_package: self.kind.package.into(),
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

    /// Puts a link from `source`; whether it works is left to [`Copies::report_of`].
    pub async fn put_target(&mut self, source: &str, name: &str, config: &[(&str, &str)]) {
        let link = ResolvedLink {
            interfaces: vec![self.kind.called.into()],
            target_config: map(config),
            ..self.link_of(source, self.provider.as_str(), name)
        };
        self.put_link(link).await;
    }

    /// Puts a link through which the provider calls `target`.
    pub async fn put_source(&mut self, target: &str, config: &[(&str, &str)]) {
        let link = ResolvedLink {
            interfaces: vec![self.kind.calls.into()],
            source_config: map(config),
            ..self.link_of(self.provider.as_str(), target, "default")
        };
        self.put_link(link).await;
    }

    /// Waits until every copy has taken a link.
    pub async fn until_ready(&mut self) {
        let copies = self.copies.iter_mut();
        let living = copies.filter_map(|copy| copy.try_wait().unwrap().is_none().then_some(()));
        for () in living.collect::<Vec<_>>() {
            self.report_of(LinkState::Ready).await;
        }
    }

    async fn put_link(&mut self, link: ResolvedLink) {
        self.publish(self.subjects.link_put(), &link).await;
        self.links.push(link);
    }

    /// Deletes the link that was put last.
    pub async fn unlink(&mut self) {
        let link = self.links.pop().unwrap();
        self.publish(self.subjects.link_delete(), &link).await;
    }

    async fn publish<T: serde::Serialize + Sync>(&self, subject: String, message: &T) {
        let payload = serde_json::to_vec(message).unwrap();
        let nats = self.peer.nats();
        nats.publish(subject, payload.into()).await.unwrap();
    }

    /// Waits until a copy reports a link in that state.
    pub async fn report_of(&mut self, state: LinkState) -> LinkReport {
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
