//! The management subjects of a provider (protocol page, 5.3).

#![expect(
    clippy::disallowed_methods,
    reason = "owns the management subjects of a provider"
)]

use std::sync::Arc;
use std::time::Duration;

use async_nats::{Client, Message, Subject, Subscriber};
use bytes::Bytes;
use futures::{FutureExt as _, StreamExt as _};
use lattice_core::provider::{HealthCheckResponse, LinkReply, LinkReport, ShutdownRequest};
use lattice_core::subject::{ProviderSubjects, takes_answers};
use lattice_core::{ResolvedLink, StringMap};
use lattice_rpc::ConnectError;
use serde_json::Error as JsonError;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::complaint;
use crate::link::Unsealer;
use crate::links::{Links, caught};
use crate::provider::{ConfigChange, Provider};
use crate::session::Session;

/// How long a provider may think about its health.
const HEALTH_LIMIT: Duration = Duration::from_millis(1500);
/// How long a provider may take over a new config.
const CONFIG_LIMIT: Duration = Duration::from_secs(10);
/// How long the sender of a link is kept waiting for an answer.
const LINK_ANSWER_LIMIT: Duration = Duration::from_secs(12);
/// How many answers may be under way; more requests go unanswered.
const MAX_ANSWERS: usize = 256;

/// The subscriptions, made before the links of the host data are looked at, so that no change
/// falls between the two.
#[derive(Debug)]
pub(crate) struct Subscriptions {
    link_put: Subscriber,
    link_delete: Subscriber,
    /// Removals that mean this process and no other with the same id, which goes on with the link.
    own_link_delete: Option<Subscriber>,
    health: Subscriber,
    /// Requests that mean this process and no other with the same id.
    own_health: Option<Subscriber>,
    config: Subscriber,
    /// The provider's own secrets, sealed for this process.
    secrets: Option<Subscriber>,
    shutdown: Subscriber,
}

impl Subscriptions {
    pub(crate) async fn new(
        session: &Session,
        unsealer: Option<&Unsealer>,
    ) -> Result<Self, ConnectError> {
        let nats = session.peer().nats();
        let subjects = ProviderSubjects::new(session.lattice(), session.id());
        // An old host, or a person, gives no key; then the plain subject carries the links.
        let key = unsealer.map(Unsealer::public_key);
        let own = async |subject: fn(&ProviderSubjects, &str) -> String| match &key {
            Some(key) => subscribe(nats, subject(&subjects, key)).await.map(Some),
            None => Ok(None),
        };
        let own_link_delete = own(ProviderSubjects::link_delete_of).await?;
        let own_health = own(ProviderSubjects::health_of).await?;
        let secrets = own(ProviderSubjects::secrets_update).await?;
        // What all processes of the id are told may be the config of another.
        let config = match &key {
            Some(key) if session.has_own_config() => subjects.config_update_of(key),
            _ => subjects.config_update(),
        };
        let link_put = match &key {
            Some(key) => subjects.link_put_sealed(key),
            None => subjects.link_put(),
        };
        Ok(Self {
            link_put: subscribe(nats, link_put).await?,
            link_delete: subscribe(nats, subjects.link_delete()).await?,
            own_link_delete,
            health: subscribe(nats, subjects.health()).await?,
            own_health,
            config: subscribe(nats, config).await?,
            secrets,
            shutdown: subscribe(nats, subjects.shutdown()).await?,
        })
    }
}

async fn subscribe(nats: &Client, subject: String) -> Result<Subscriber, ConnectError> {
    nats.subscribe(subject.clone())
        .await
        .map_err(|e| ConnectError::Subscribe {
            subject,
            reason: e.to_string(),
        })
}

/// Why a provider ends.
#[derive(Debug)]
pub(crate) enum Ended {
    /// Its host asks for it; the answer goes to this subject when everything is done.
    Asked(Option<Subject>),
    /// Whoever runs it wants it.
    Stopped,
    /// The connection ended for good.
    Disconnected,
}

/// Answers management messages until the provider ends.
pub(crate) struct Manager<P> {
    pub(crate) session: Session,
    pub(crate) provider: Arc<P>,
    pub(crate) links: Arc<Links<P>>,
    pub(crate) tasks: TaskTracker,
    pub(crate) config: watch::Sender<StringMap>,
    /// How often the secrets have changed.
    pub(crate) secrets: watch::Sender<u64>,
}

impl<P: Provider> Manager<P> {
    pub(crate) async fn run(&self, mut on: Subscriptions, stop: &CancellationToken) -> Ended {
        loop {
            // A deletion goes before a put: the host tells a changed link as one after the other,
            // and they arrive on two subscriptions.
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ended::Stopped,
                message = on.shutdown.next() => match message {
                    Some(message) => if let Some(reply) = self.shutdown(message) {
                        return Ended::Asked(reply);
                    },
                    None => return Ended::Disconnected,
                },
                Some(message) = on.link_delete.next() => self.delete(&message),
                Some(message) = next(&mut on.own_link_delete) => self.withdraw(&message),
                Some(message) = on.link_put.next() => {
                    while let Some(Some(deleted)) = on.link_delete.next().now_or_never() {
                        self.delete(&deleted);
                    }
                    while let Some(Some(gone)) = next(&mut on.own_link_delete).now_or_never() {
                        self.withdraw(&gone);
                    }
                    self.put(message);
                }
                Some(message) = on.health.next() => self.health(message),
                Some(message) = next(&mut on.own_health) => self.health(message),
                Some(message) = on.config.next() => self.config(&message),
                Some(message) = next(&mut on.secrets) => self.secrets(&message),
            }
        }
    }

    fn shutdown(&self, message: Message) -> Option<Option<Subject>> {
        match serde_json::from_slice::<ShutdownRequest>(&message.payload) {
            Ok(request) if request.host_id == self.session.host_id() => Some(message.reply),
            Ok(_) => None,
            Err(error) => {
                unreadable(&message, &error);
                None
            }
        }
    }

    fn delete(&self, message: &Message) {
        match serde_json::from_slice::<ResolvedLink>(&message.payload) {
            Ok(link) => self.links.delete(link),
            Err(error) => unreadable(message, &error),
        }
    }

    /// A removal that means this process alone: the lattice keeps the link.
    fn withdraw(&self, message: &Message) {
        match serde_json::from_slice::<ResolvedLink>(&message.payload) {
            Ok(link) => self.links.withdraw(link),
            Err(error) => unreadable(message, &error),
        }
    }

    fn put(&self, message: Message) {
        let outcome = match serde_json::from_slice::<ResolvedLink>(&message.payload) {
            Ok(link) => self.links.put(link).map_err(|e| e.reason()),
            Err(error) => {
                unreadable(&message, &error);
                Err(format!("the link message is not readable: {error}"))
            }
        };
        let by = Instant::now() + LINK_ANSWER_LIMIT;
        self.answer(message.reply, async move {
            let known = match outcome {
                Ok(outcome) => outcome.known(by).await?,
                Err(reason) => Err(reason),
            };
            let reply = LinkReply {
                accepted: known.is_ok(),
                reason: known.err(),
            };
            serde_json::to_vec(&reply).ok()
        });
    }

    fn health(&self, message: Message) {
        let provider = Arc::clone(&self.provider);
        let host_id = self.session.host_id().to_owned();
        let connects = self.session.connects();
        let links = Arc::clone(&self.links);
        self.answer(message.reply, async move {
            let mut health = tokio::time::timeout(HEALTH_LIMIT, provider.health())
                .await
                .unwrap_or_else(|_| {
                    HealthCheckResponse::unhealthy(format!(
                        "the provider did not tell its health within {HEALTH_LIMIT:?}"
                    ))
                });
            health.host_id = Some(host_id);
            health.connects = Some(connects);
            health.links = links.reports();
            serde_json::to_vec(&health).ok()
        });
    }

    fn config(&self, message: &Message) {
        match serde_json::from_slice::<StringMap>(&message.payload) {
            Ok(config) => {
                if self.session.set_config(config.clone()) {
                    self.config.send_replace(config);
                }
            }
            Err(error) => unreadable(message, &error),
        }
    }

    fn secrets(&self, message: &Message) {
        match self.links.open_secrets(&message.payload) {
            Ok(secrets) => {
                if self.session.set_secrets(secrets) {
                    self.secrets.send_modify(|changes| *changes += 1);
                }
            }
            Err(error) => {
                if let Some(untold) = complaint::turn(&"secrets") {
                    let reason = complaint::clipped(&error.reason());
                    tracing::error!(reason, untold, "did not take new secrets");
                }
            }
        }
    }

    /// Works out an answer in a task of its own and sends it, if somebody waits for one.
    fn answer(
        &self,
        reply: Option<Subject>,
        answer: impl Future<Output = Option<Vec<u8>>> + Send + 'static,
    ) {
        let Some(reply) = reply.filter(|reply| takes_answers(reply)) else {
            return;
        };
        if self.tasks.len() >= MAX_ANSWERS {
            if let Some(untold) = complaint::turn(&"unanswered") {
                tracing::warn!(
                    untold,
                    "left a management request unanswered: too many at once"
                );
            }
            return;
        }
        let nats = self.session.peer().nats().clone();
        self.tasks.spawn(async move {
            if let Some(answer) = answer.await {
                publish(&nats, reply, answer.into()).await;
            }
        });
    }
}

async fn next(messages: &mut Option<Subscriber>) -> Option<Message> {
    messages.as_mut()?.next().await
}

/// Tells of a message that cannot be read. Whoever may publish there can send any number of them, and the
/// error repeats what stands in them: as a text its lines are not those of the log.
fn unreadable(message: &Message, error: &JsonError) {
    let subject = message.subject.as_str();
    if let Some(untold) = complaint::turn(&("unreadable", subject)) {
        let error = complaint::clipped(error);
        tracing::error!(subject, error, untold, "cannot read a management message");
    }
}

pub(crate) async fn publish(nats: &Client, subject: Subject, payload: Bytes) {
    if let Err(error) = nats.publish(subject, payload).await {
        tracing::debug!(%error, "a management message was not sent");
    }
}

/// Publishes link reports until the table that makes them is gone.
pub(crate) async fn publish_reports(session: Session, mut reports: mpsc::Receiver<LinkReport>) {
    let subject = ProviderSubjects::new(session.lattice(), session.id()).link_status();
    let subject = Subject::from(subject);
    while let Some(report) = reports.recv().await {
        if let Ok(payload) = serde_json::to_vec(&report) {
            publish(session.peer().nats(), subject.clone(), payload.into()).await;
        }
    }
}

/// Passes each new config to the provider, the latest when several came meanwhile.
pub(crate) async fn pass_config<P: Provider>(
    provider: Arc<P>,
    links: Arc<Links<P>>,
    mut configs: watch::Receiver<StringMap>,
) {
    while configs.changed().await.is_ok() {
        let config = configs.borrow_and_update().clone();
        tracing::info!(keys = config.len(), "the provider's config changed");
        if wants_links_again("config", provider.put_config(&config)).await {
            links.put_again();
        }
    }
}

/// Tells the provider of new secrets of its own.
pub(crate) async fn pass_secrets<P: Provider>(
    provider: Arc<P>,
    links: Arc<Links<P>>,
    mut changes: watch::Receiver<u64>,
) {
    while changes.changed().await.is_ok() {
        changes.mark_unchanged();
        tracing::info!("the provider's secrets changed");
        if wants_links_again("secrets", provider.put_secrets()).await {
            links.put_again();
        }
    }
}

/// Has the provider take what has changed. After a panic, which ends neither the provider nor the
/// changes that follow, and when it takes too long, its links are put again: nobody knows what it has
/// made of this one, and it is not told of it once more.
async fn wants_links_again(what: &str, take: impl Future<Output = ConfigChange>) -> bool {
    match tokio::time::timeout(CONFIG_LIMIT, caught(take)).await {
        Ok(Some(ConfigChange::Taken)) => false,
        Ok(Some(ConfigChange::Relink)) => true,
        Ok(None) => {
            tracing::error!("the provider panicked over its new {what}; its links are put again");
            true
        }
        Err(_) => {
            tracing::error!(
                "the provider did not take its new {what} in {CONFIG_LIMIT:?}; its links are put again"
            );
            true
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn links_are_put_again_when_a_provider_does_not_take_what_is_new() {
        assert!(!wants_links_again("config", async { ConfigChange::Taken }).await);
        assert!(wants_links_again("config", async { ConfigChange::Relink }).await);
        assert!(wants_links_again("config", std::future::pending()).await);
    }
}
