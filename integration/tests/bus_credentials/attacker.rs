//! Who has the credentials of a provider, and tries what they do not allow.

use std::collections::HashSet;

use anyhow::{Context as _, Result, ensure};
use async_nats::{Client, ConnectOptions, Event};
use bytes::Bytes;
use futures::StreamExt as _;
use lattice_core::provider::HostData;
use lattice_integration::{Lattice, STEP, until};
use lattice_nats::connection::Creds;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::time::timeout;

/// The subjects that an event names as refused.
pub(crate) fn subjects_of(event: &lattice_integration::Event) -> impl Iterator<Item = &str> {
    let also = event.body["data"]["also"].as_array();
    let also = also.into_iter().flatten().filter_map(Value::as_str);
    also.chain([event.data("subject")])
}

/// Somebody who has the credentials of a provider.
pub(crate) struct Attacker {
    pub(crate) client: Client,
    refusals: mpsc::UnboundedReceiver<String>,
    /// Those that were waited past.
    pub(crate) seen: Vec<String>,
    /// What was refused, with what was tried.
    tried: Vec<(String, String)>,
}

impl Attacker {
    pub(crate) async fn new(data: &HostData) -> Result<Self> {
        Self::named(data, "evil").await
    }

    /// One that calls itself something.
    pub(crate) async fn named(data: &HostData, name: &str) -> Result<Self> {
        let (told, refusals) = mpsc::unbounded_channel();
        let creds = Creds {
            jwt: data.lattice_rpc_user_jwt.clone(),
            seed: data.lattice_rpc_user_seed.clone(),
        };
        let bus = data.lattice_bus.clone().context("nothing about NATS")?;
        let client = ConnectOptions::with_credentials(creds.to_text().expose())?
            .name(name)
            .custom_inbox_prefix(bus.inbox.context("no inbox")?)
            .event_callback(move |event| {
                let told = told.clone();
                async move {
                    if let Event::ServerError(error) = event {
                        let _nobody_listens = told.send(error.to_string());
                    }
                }
            })
            .connect(data.lattice_rpc_url.expose())
            .await?;
        Ok(Self {
            client,
            refusals,
            seen: Vec::new(),
            tried: Vec::new(),
        })
    }

    /// Waits for the refusal of a subject.
    pub(crate) async fn refused(&mut self, verb: &str, subject: &str) -> Result<()> {
        let wanted = format!("permissions violation for {verb} to \"{subject}\"");
        let heard = async {
            while let Some(refusal) = self.refusals.recv().await {
                if refusal.to_lowercase().contains(&wanted.to_lowercase()) {
                    return true;
                }
                self.seen.push(refusal);
            }
            false
        };
        let heard = timeout(STEP, heard).await;
        ensure!(
            heard.unwrap_or(false),
            "{verb} to {subject} was not refused"
        );
        self.note(if verb == "publish" { verb } else { "subscribe" }, subject);
        Ok(())
    }

    /// Notes what was tried, as it is to be told.
    pub(crate) fn note(&mut self, action: &str, subject: &str) {
        self.tried.push((action.to_owned(), subject.to_owned()));
    }

    /// Sends itself a message that names another's subject for its answer: to answer is no right.
    pub(crate) async fn answer_to_itself(&mut self) -> Result<()> {
        let own = "default.kv.wrpc.0.0.1.x.y";
        let mut heard = self.client.subscribe(own).await?;
        for subject in ["wasmbus.ctl.v1.default.link.del", "$JS.API.INFO"] {
            let sent = self.client.publish_with_reply(own, subject, "".into());
            sent.await?;
            timeout(STEP, heard.next()).await?.context("unsubscribed")?;
            self.publish(subject, "{}").await?;
        }
        Ok(())
    }

    /// Waits until the lattice was told of all that was refused so far, by name, and of who tried.
    pub(crate) async fn told(&self, lattice: &Lattice, provider: &str) -> Result<()> {
        let told = async || {
            let events = lattice.events.all();
            let own = events.iter().filter(|event| {
                event.name == "bus_refused" && event.data("provider_id") == provider
            });
            let (mut count, mut named) = (0, HashSet::new());
            for event in own {
                for subject in subjects_of(event) {
                    let what = (event.data("action").to_owned(), subject.to_owned());
                    ensure!(self.tried.contains(&what), "nobody tried {what:?}");
                    named.insert(what);
                }
                count += 1 + event.body["data"]["suppressed"]
                    .as_u64()
                    .unwrap_or_default();
            }
            let all = self.tried.len() as u64;
            let mut tried = self.tried.iter();
            let unnamed = tried.find(|what| !named.contains(*what));
            ensure!(unnamed.is_none(), "{unnamed:?} is not named");
            ensure!(count >= all, "{count} of {all}");
            Ok(())
        };
        until(told).await
    }

    pub(crate) async fn publish(&mut self, subject: &str, body: impl Into<Bytes>) -> Result<()> {
        self.client.publish(subject.to_owned(), body.into()).await?;
        self.refused("publish", subject).await
    }

    pub(crate) async fn subscribe(&mut self, subject: &str) -> Result<()> {
        let _heard = self.client.subscribe(subject.to_owned()).await?;
        self.refused("subscription", subject).await
    }
}
