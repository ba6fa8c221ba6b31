//! A lattice with one queue provider, components that call it, and components that it calls.
//! Shared by the tests of the queue providers.

#![allow(
    dead_code,
    missing_docs,
    missing_debug_implementations,
    unreachable_pub,
    unused_imports,
    reason = "a part of each test that uses it"
)]
#![allow(
    clippy::disallowed_methods,
    clippy::allow_attributes_without_reason,
    reason = "stands in for the host of a provider"
)]

mod copies;
mod handling;
mod home;

use std::time::Duration;

use async_nats::Subscriber;
use futures::StreamExt as _;
use lattice_core::link::LinkState;
use lattice_core::provider::{HostData, LinkReport};
use lattice_core::subject::ProviderSubjects;
use lattice_core::{ComponentId, LatticeName, ResolvedLink, StringMap};
use lattice_nats_box::{NatsBox, NatsBoxOptions};
use lattice_provider_sdk::{Provider, run};
use lattice_rpc::wrpc::{CallContext, Client};
use lattice_rpc::{Peer, PeerConfig};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

#[allow(
    missing_docs,
    missing_debug_implementations,
    unreachable_pub,
    clippy::all,
    clippy::allow_attributes_without_reason,
    clippy::error_impl_error,
    clippy::missing_errors_doc,
    clippy::wildcard_imports,
    reason = "generated from the WIT package"
)]
mod bindings {
    wit_bindgen_wrpc::generate!({
        inline: "
            package lattice:queue-tests;
            world component {
                import lattice:queue/producer@0.1.0;
                import lattice:queue/consumer@0.1.0;
                export lattice:queue/handler@0.1.0;
            }
        ",
        path: "../../interfaces/wit/lattice-queue-0.1.0",
        world: "lattice:queue-tests/component",
        generate_all,
        additional_derives: [PartialEq, Eq],
    });
}

pub use bindings::lattice::queue::types::{Delivery, Depth, Error, Message, Outcome};
use bindings::lattice::queue::{consumer, producer};
pub use copies::{
    all_settle_what_each_gave, the_rest_do_what_they_can_while_one_is_silent,
    the_rest_settle_what_one_gave_that_has_ended,
};
pub use handling::{Asked, Handling};
pub use home::{Home, Says};

/// How long a test waits for what has to happen. A test machine may compile at the same time.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// One running copy of the provider.
pub struct Copy {
    stop: CancellationToken,
    running: JoinSet<()>,
}

impl Copy {
    /// Ends it as a host does.
    pub async fn stop(mut self) {
        self.stop.cancel();
        while self.running.join_next().await.is_some() {}
    }

    /// Ends it in the middle of whatever it does.
    pub fn kill(mut self) {
        self.running.abort_all();
    }
}

/// Runs a provider and tells it about links, as its host would.
pub struct Lattice {
    pub nats: NatsBox,
    pub peer: Peer,
    provider: ComponentId,
    subjects: ProviderSubjects,
    reports: Subscriber,
    links: Vec<ResolvedLink>,
    config: StringMap,
    pub copies: Vec<Copy>,
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
        wit_namespace: "lattice".into(),
        wit_package: "queue".into(),
        interfaces: vec!["producer".into(), "consumer".into()],
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
        Self::start_on::<P>(NatsBoxOptions::default(), config).await
    }

    /// The same on a NATS with options.
    pub async fn start_on<P: Provider>(options: NatsBoxOptions, config: &[(&str, &str)]) -> Self {
        let nats = NatsBox::start_with(options).await.expect("a NATS server");
        let client = nats.client().await.expect("a connection");
        let provider = ComponentId::new("queues").expect("a valid id");
        let subjects = ProviderSubjects::new(&LatticeName::default(), &provider);
        let reports = client.subscribe(subjects.link_status()).await;
        let peer = Peer::new(client, PeerConfig::default()).await;
        let mut lattice = Self {
            nats,
            peer: peer.expect("a peer"),
            provider,
            subjects,
            reports: reports.expect("a subscription"),
            links: Vec::new(),
            config: map(config),
            copies: Vec::new(),
        };
        lattice.run_another::<P>().await;
        lattice
    }

    /// Runs one more copy of the provider, with the links that are there.
    pub async fn run_another<P: Provider>(&mut self) {
        let stop = CancellationToken::new();
        let data = HostData {
            host_id: format!("N{}", self.copies.len()),
            lattice_rpc_prefix: LatticeName::default().to_string(),
            lattice_rpc_url: self.nats.url.clone().into(),
            provider_key: self.provider.to_string(),
            config: self.config.clone(),
            link_definitions: self.links.clone(),
            ..HostData::default()
        };
        let mut running = JoinSet::new();
        let stopped = stop.clone();
        running.spawn(async move {
            run::<P>(data, stopped).await.expect("the provider runs");
        });
        self.copies.push(Copy { stop, running });
        for _ in 0..self.links.len() {
            self.report_of(LinkState::Ready).await;
        }
        self.until_healthy().await;
    }

    async fn until_healthy(&self) {
        let ask = async {
            let nats = self.peer.nats();
            while nats
                .request(self.subjects.health(), "".into())
                .await
                .is_err()
            {}
        };
        let answered = tokio::time::timeout(PATIENCE, ask).await;
        answered.expect("the provider answers");
    }

    /// Puts a link from the component `source`, and leaves open whether it works.
    pub async fn put(&mut self, source: &str, name: &str, config: &[(&str, &str)]) -> Component {
        let link = ResolvedLink {
            source_id: source.into(),
            target: self.provider.to_string(),
            target_config: map(config),
            ..link(name)
        };
        self.put_link(link).await;
        self.component(source, name)
    }

    /// As [`Lattice::put`], and waits until the link works.
    pub async fn link(&mut self, source: &str, name: &str, config: &[(&str, &str)]) -> Component {
        let component = self.put(source, name, config).await;
        self.report_of(LinkState::Ready).await;
        component
    }

    /// As [`Lattice::put_handler`], and waits until the link works.
    pub async fn link_handler(&mut self, target: &str, config: &[(&str, &str)]) {
        self.put_handler(target, config).await;
        self.report_of(LinkState::Ready).await;
    }

    /// Puts a link through which the provider calls the handler of `target`.
    pub async fn put_handler(&mut self, target: &str, config: &[(&str, &str)]) {
        let link = ResolvedLink {
            source_id: self.provider.to_string(),
            target: target.into(),
            interfaces: vec!["handler".into()],
            source_config: map(config),
            ..link("default")
        };
        self.put_link(link).await;
    }

    async fn put_link(&mut self, link: ResolvedLink) {
        self.publish(self.subjects.link_put(), &link).await;
        self.links.push(link);
    }

    /// Deletes the link that was put last.
    pub async fn unlink(&mut self) {
        let link = self.links.pop().expect("a link");
        self.publish(self.subjects.link_delete(), &link).await;
    }

    async fn publish<T: serde::Serialize + Sync>(&self, subject: String, message: &T) {
        let payload = serde_json::to_vec(message).expect("plain data");
        let done = self.peer.nats().publish(subject, payload.into()).await;
        done.expect("a connection");
    }

    /// The component `id`, linked or not.
    pub fn component(&self, id: &str, link_name: &str) -> Component {
        self.component_within(id, link_name, PATIENCE)
    }

    /// One that waits so long for an answer.
    pub fn component_within(&self, id: &str, link_name: &str, patience: Duration) -> Component {
        let id = ComponentId::new(id).expect("a valid id");
        let lattice = LatticeName::default();
        let provider = self.provider.clone();
        Component {
            client: Client::new(self.peer.clone(), &lattice, id, provider, patience),
            link_name: link_name.to_owned(),
        }
    }

    /// Stands in for the copy of the provider that gave a receipt.
    pub async fn home(&self, receipt: &str, says: &'static [Says]) -> Home {
        Home::of(receipt, (&self.peer, &self.provider), says).await
    }

    /// Serves the handler of the component `id`.
    pub async fn handle(&self, id: &str) -> Handling {
        Handling::start(&self.peer, id).await
    }

    /// Waits until the provider reports a link in that state.
    pub async fn report_of(&mut self, state: LinkState) -> LinkReport {
        let wait = async {
            loop {
                let message = self.reports.next().await.expect("a connection");
                let report: LinkReport =
                    serde_json::from_slice(&message.payload).expect("a report");
                if report.state == state {
                    return report;
                }
            }
        };
        let waited = tokio::time::timeout(PATIENCE, wait).await;
        waited.expect("a report of that state in time")
    }
}

/// Calls a provider through one link. A call that fails as such panics.
#[derive(Debug, Clone)]
pub struct Component {
    client: Client,
    link_name: String,
}

type Answer<T> = Result<T, Error>;

impl Component {
    fn cx(&self) -> CallContext {
        CallContext::through(&self.link_name)
    }

    pub async fn send(&self, queue: &str, message: &Message) -> Answer<String> {
        self.try_send(queue, message, None).await.expect("a call")
    }

    pub async fn send_later(&self, queue: &str, message: &Message, delay: u32) -> Answer<String> {
        let sent = self.try_send(queue, message, Some(delay)).await;
        sent.expect("a call")
    }

    pub async fn try_send(
        &self,
        queue: &str,
        message: &Message,
        delay: Option<u32>,
    ) -> anyhow::Result<Answer<String>> {
        producer::send(&self.client, self.cx(), queue, message, delay).await
    }

    pub async fn send_many(
        &self,
        queue: &str,
        messages: &[Message],
    ) -> Answer<Vec<Answer<String>>> {
        let sent = self.try_send_many(queue, messages).await;
        sent.expect("a call")
    }

    pub async fn try_send_many(
        &self,
        queue: &str,
        messages: &[Message],
    ) -> anyhow::Result<Answer<Vec<Answer<String>>>> {
        producer::send_many(&self.client, self.cx(), queue, messages).await
    }

    /// Receives with a wait of ten seconds and the link's lease.
    pub async fn receive(&self, queue: &str, max: u32) -> Answer<Vec<Delivery>> {
        self.receive_for(queue, max, 10_000, None).await
    }

    pub async fn receive_for(
        &self,
        queue: &str,
        max: u32,
        wait: u32,
        lease: Option<u32>,
    ) -> Answer<Vec<Delivery>> {
        let got = self.try_receive(queue, max, wait, lease).await;
        got.expect("a call")
    }

    pub async fn try_receive(
        &self,
        queue: &str,
        max: u32,
        wait: u32,
        lease: Option<u32>,
    ) -> anyhow::Result<Answer<Vec<Delivery>>> {
        consumer::receive(&self.client, self.cx(), queue, max, wait, lease).await
    }

    /// The next message.
    pub async fn one(&self, queue: &str) -> Delivery {
        let mut got = self.receive(queue, 1).await.expect("received");
        assert_eq!(got.len(), 1, "one message came");
        got.remove(0)
    }

    /// Nothing is there now.
    pub async fn none(&self, queue: &str) {
        assert_eq!(self.receive_for(queue, 10, 0, None).await, Ok(Vec::new()));
    }

    pub async fn settle(&self, queue: &str, receipt: &str, how: Outcome) -> Answer<()> {
        let done = self.try_settle(queue, receipt, how).await;
        done.expect("a call")
    }

    pub async fn try_settle(
        &self,
        queue: &str,
        receipt: &str,
        how: Outcome,
    ) -> anyhow::Result<Answer<()>> {
        consumer::settle(&self.client, self.cx(), queue, receipt, &how).await
    }

    pub async fn ack(&self, queue: &str, delivery: &Delivery) -> Answer<()> {
        self.settle(queue, &delivery.receipt, Outcome::Ack).await
    }

    pub async fn extend(&self, queue: &str, receipt: &str, lease: u32) -> Answer<()> {
        let done = consumer::extend(&self.client, self.cx(), queue, receipt, lease).await;
        done.expect("a call")
    }

    pub async fn depth(&self, queue: &str) -> Answer<Depth> {
        let depth = consumer::depth_of(&self.client, self.cx(), queue).await;
        depth.expect("a call")
    }

    /// Waits until the depth is as wanted.
    pub async fn until_depth(&self, queue: &str, wanted: impl Fn(&Depth) -> bool) -> Depth {
        let until = Instant::now() + PATIENCE;
        loop {
            let depth = self.depth(queue).await;
            if let Ok(depth) = &depth
                && wanted(depth)
            {
                return *depth;
            }
            assert!(Instant::now() < until, "the depth is {depth:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// A message with a body and nothing else.
pub fn text(body: impl Into<String>) -> Message {
    Message {
        body: body.into().into_bytes().into(),
        content_type: None,
        attributes: Vec::new(),
        dedup_id: None,
        group: None,
    }
}

/// The body of a delivery as text.
pub fn body(delivery: &Delivery) -> String {
    String::from_utf8(delivery.message.body.to_vec()).expect("text")
}

/// The value of an attribute.
pub fn attribute<'a>(delivery: &'a Delivery, name: &str) -> Option<&'a str> {
    let mut attributes = delivery.message.attributes.iter();
    let found = attributes.find(|(known, _)| known == name);
    found.map(|(_, value)| value.as_str())
}
