//! A lattice with one SQL provider, and a component that calls it. The tests of the other SQL
//! providers use this file too.

#![allow(
    dead_code,
    unused_imports,
    unreachable_pub,
    missing_docs,
    clippy::allow_attributes_without_reason,
    clippy::unwrap_used,
    clippy::disallowed_methods
)]

mod money;
mod pages;
mod sql;
mod time;

use std::time::Duration;

use async_nats::Subscriber;
use futures::StreamExt as _;
use lattice_core::link::LinkState;
use lattice_core::provider::{HostData, LinkReport};
use lattice_core::subject::ProviderSubjects;
use lattice_core::{ComponentId, LatticeName, ResolvedLink, StringMap};
use lattice_nats_box::NatsBox;
use lattice_provider_sdk::{Provider, run};
use lattice_rpc::wrpc::Client;
use lattice_rpc::{Peer, PeerConfig};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub use money::{
    ACCOUNTS, SUM, count_at_once, open_accounts, sum_of, transfer, transfers_that_die,
};
pub use pages::{a_million_rows_in_pages, a_write_answers_too_much};
pub use sql::{
    Answer, ConstraintKind, DbError, Dialect, Done, Error, Isolation, Rows, Sql, Value, text,
};
pub use time::a_statement_ends_with_its_transaction;

/// How long a test waits for what has to happen.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Runs a provider and tells it about links, as its host would.
#[derive(Debug)]
pub struct Lattice {
    pub nats: NatsBox,
    pub peer: Peer,
    pub provider: ComponentId,
    subjects: ProviderSubjects,
    reports: Subscriber,
    stop: CancellationToken,
    running: Vec<JoinHandle<()>>,
    links: Vec<ResolvedLink>,
}

impl Drop for Lattice {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

pub fn map(values: &[(&str, &str)]) -> StringMap {
    let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
    values.iter().map(owned).collect()
}

impl Lattice {
    /// Runs the provider `P` with a config of its own.
    pub async fn start<P: Provider>(config: &[(&str, &str)]) -> Self {
        let nats = NatsBox::start().await.unwrap();
        let client = nats.client().await.unwrap();
        let provider = ComponentId::new("sql").unwrap();
        let subjects = ProviderSubjects::new(&LatticeName::default(), &provider);
        let reports = client.subscribe(subjects.link_status()).await.unwrap();
        let peer = Peer::new(client, PeerConfig::default()).await.unwrap();
        let stop = CancellationToken::new();
        let mut lattice = Self {
            nats,
            peer,
            provider,
            subjects,
            reports,
            stop,
            running: Vec::new(),
            links: Vec::new(),
        };
        lattice.spawn::<P>(config);
        let health = lattice.subjects.health();
        let ask = async {
            let nats = lattice.peer.nats();
            while nats.request(health.clone(), "".into()).await.is_err() {}
        };
        tokio::time::timeout(PATIENCE, ask).await.unwrap();
        lattice
    }

    fn spawn<P: Provider>(&mut self, config: &[(&str, &str)]) {
        let data = HostData {
            host_id: format!("N{}", self.running.len()),
            lattice_rpc_prefix: LatticeName::default().to_string(),
            lattice_rpc_url: self.nats.url.clone().into(),
            provider_key: self.provider.to_string(),
            config: map(config),
            link_definitions: self.links.clone(),
            ..HostData::default()
        };
        let stopped = self.stop.clone();
        let running = async move { run::<P>(data, stopped).await.unwrap() };
        self.running.push(tokio::spawn(running));
    }

    /// Runs one more copy of the provider with the only link that is there.
    pub async fn run_another<P: Provider>(&mut self) {
        self.spawn::<P>(&[]);
        self.ready().await;
    }

    /// Puts a link for a package and returns it; whether it works is left to
    /// [`Lattice::report_of`].
    pub async fn put_link(
        &mut self,
        (namespace, package, interfaces): (&str, &str, &[&str]),
        (source, name): (&str, &str),
        config: &[(&str, &str)],
    ) -> ResolvedLink {
        let link = ResolvedLink {
            source_id: source.into(),
            target: self.provider.to_string(),
            name: name.into(),
            wit_namespace: namespace.into(),
            wit_package: package.into(),
            interfaces: interfaces.iter().map(|&i| i.to_owned()).collect(),
            source_config: StringMap::new(),
            target_config: map(config),
            source_secrets: None,
            target_secrets: None,
            locality: lattice_core::Locality::default(),
            rules: lattice_core::LinkRules::default(),
            ruled: false,
        };
        self.publish(self.subjects.link_put(), &link).await;
        self.links.push(link.clone());
        link
    }

    pub async fn put(&mut self, source: &str, name: &str, config: &[(&str, &str)]) -> Sql {
        self.put_link(("lattice", "sql", &["sql"]), (source, name), config)
            .await;
        self.component(source, name)
    }

    /// As [`Lattice::put`], and waits until the link works.
    pub async fn link(&mut self, source: &str, name: &str, config: &[(&str, &str)]) -> Sql {
        let sql = self.put(source, name, config).await;
        self.ready().await;
        sql
    }

    /// Waits until a link is ready, or tells why one is not.
    pub async fn ready(&mut self) {
        let wait = async {
            loop {
                let report = self.report().await;
                match report.state {
                    LinkState::Ready => return,
                    LinkState::Failed => panic!("the link failed: {:?}", report.reason),
                    _ => {}
                }
            }
        };
        tokio::time::timeout(PATIENCE, wait).await.unwrap();
    }

    pub async fn delete(&self, source: &str, name: &str) {
        let link = ResolvedLink {
            source_id: source.into(),
            target: self.provider.to_string(),
            name: name.into(),
            wit_namespace: "lattice".into(),
            wit_package: "sql".into(),
            interfaces: vec!["sql".into()],
            source_config: StringMap::new(),
            target_config: StringMap::new(),
            source_secrets: None,
            target_secrets: None,
            locality: lattice_core::Locality::default(),
            rules: lattice_core::LinkRules::default(),
            ruled: false,
        };
        self.publish(self.subjects.link_delete(), &link).await;
    }

    async fn publish<T: serde::Serialize + Sync>(&self, subject: String, message: &T) {
        let payload = serde_json::to_vec(message).unwrap();
        let nats = self.peer.nats();
        nats.publish(subject, payload.into()).await.unwrap();
    }

    /// The component `id`, linked or not.
    pub fn component(&self, id: &str, link_name: &str) -> Sql {
        Sql {
            client: self.client(id, PATIENCE),
            link_name: link_name.to_owned(),
        }
    }

    pub fn client(&self, id: &str, limit: Duration) -> Client {
        let id = ComponentId::new(id).unwrap();
        let lattice = LatticeName::default();
        Client::new(
            self.peer.clone(),
            &lattice,
            id,
            self.provider.clone(),
            limit,
        )
    }

    /// A component whose calls may take that long.
    pub fn hasty(&self, id: &str, link_name: &str, limit: Duration) -> Sql {
        Sql {
            client: self.client(id, limit),
            link_name: link_name.to_owned(),
        }
    }

    async fn report(&mut self) -> LinkReport {
        let message = self.reports.next().await.unwrap();
        serde_json::from_slice(&message.payload).unwrap()
    }

    /// Waits until the provider reports a link in that state.
    pub async fn report_of(&mut self, state: LinkState) -> LinkReport {
        let wait = async {
            loop {
                let report = self.report().await;
                if report.state == state {
                    return report;
                }
            }
        };
        tokio::time::timeout(PATIENCE, wait).await.unwrap()
    }

    /// Ends the provider and waits until it has ended.
    pub async fn end_provider(&mut self) {
        self.stop.cancel();
        for running in self.running.drain(..) {
            tokio::time::timeout(PATIENCE, running)
                .await
                .unwrap()
                .unwrap();
        }
    }
}
