//! The reference backend: answers from sealed values in a bucket.

#![expect(
    clippy::disallowed_methods,
    reason = "owns the subjects of secrets backends, for those who answer"
)]

use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::context::ContextBuilder;
use async_nats::{Client, HeaderMap, Message, Subject, Subscriber, jetstream};
use bytes::Bytes;
use futures::StreamExt as _;
use lattice_claims::{CurveKey, PublicKey};
use lattice_core::BackendName;
use lattice_core::secrets::{
    ChangeSecretResponse, GetSecretError, PutSecretResponse, RESPONSE_XKEY, SecretResponse,
};
use lattice_core::subject::secrets::{secrets_queue, secrets_state_bucket};
use lattice_core::subject::{SecretsOp, SecretsSubjects, TopicPrefix, takes_answers};
use lattice_nats::{NewBucket, open_bucket};
use serde::Serialize;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use crate::error::ServeError;
use crate::handler::RequestHandler;
use crate::mappings::Mappings;
use crate::proof::ANSWER_PROOF;
use crate::vault::StoredValues;

/// How many questions are worked on at once; more wait.
const AT_ONCE: usize = 64;
/// How long one may take.
const LONGEST: Duration = Duration::from_secs(5);
/// How long JetStream may take to answer, so that who asks still hears of it.
const STORE: Duration = Duration::from_secs(3);
/// How long those under way may take when the backend ends.
const GRACE: Duration = Duration::from_secs(5);

/// What a backend is told at its start.
#[derive(Debug)]
pub struct BackendConfig {
    /// What its subjects start with.
    pub topic: TopicPrefix,
    /// What it is called in references.
    pub name: BackendName,
    /// The JetStream domain of the buckets, if not that of the server.
    pub js_domain: Option<String>,
    /// The bucket of the values.
    pub bucket: String,
    /// How many versions of a value are kept.
    pub history: i64,
    /// The key that requests are sealed for. Processes of one backend have the same.
    pub transit: CurveKey,
    /// The key that values are sealed with at rest.
    pub encryption: CurveKey,
    /// Whose signature counts on components and providers; that of anybody when empty.
    pub trusted_issuers: Vec<PublicKey>,
    /// Whether secrets are for tokens of their entity whoever has signed them, and not for those of
    /// the first one who was given any and of whom the administrator names.
    pub any_issuer: bool,
    /// Which hosts may ask, which then have to prove who they are; any host when empty.
    pub trusted_hosts: Vec<PublicKey>,
}

impl BackendConfig {
    /// Says aloud whom the backend believes though nobody has named them.
    fn warn_of_issuers(&self) {
        if !self.trusted_issuers.is_empty() {
            return;
        }
        if self.any_issuer {
            tracing::warn!(
                "secrets are given to tokens of their entity whoever has signed them (`--any-issuer`); \
                 `--trusted-issuer A…` names who may sign"
            );
        } else {
            tracing::warn!(
                "the secrets of an entity for which nobody is named are for tokens of the first issuer \
                 that asks; `wash secrets-backend add-mapping ENTITY KEY --issuer A…` names who signs for \
                 one, and `--trusted-issuer A…` who may sign at all"
            );
        }
    }
}

/// A backend that answers.
#[derive(Debug)]
pub struct Backend {
    nats: Client,
    subjects: SecretsSubjects,
    requests: Subscriber,
    handler: Arc<RequestHandler>,
}

impl Backend {
    /// Opens the buckets, makes sure that the key fits what is stored, and begins to listen.
    ///
    /// # Errors
    ///
    /// [`ServeError`] says what could not be had.
    pub async fn start(nats: Client, config: BackendConfig) -> Result<Self, ServeError> {
        config.warn_of_issuers();
        let js = context(nats.clone(), config.js_domain.as_deref());
        let values = NewBucket {
            name: config.bucket.clone(),
            history: config.history,
            ..NewBucket::default()
        };
        let state = NewBucket {
            name: secrets_state_bucket(&config.name),
            ..NewBucket::default()
        };
        let values = StoredValues::new(open_bucket(&js, values).await?, config.encryption);
        values.check().await?;
        let mappings = Mappings::new(open_bucket(&js, state).await?);
        let subjects = SecretsSubjects::new(&config.topic, &config.name);
        let (subject, queue) = (subjects.all(), secrets_queue(&config.name));
        let refused = |reason: String| ServeError::Subscribe {
            subject: subject.clone(),
            reason,
        };
        let requests = nats.queue_subscribe(subject.clone(), queue).await;
        let requests = requests.map_err(|error| refused(error.to_string()))?;
        taken_in(&nats).await.map_err(refused)?;
        Ok(Self {
            nats,
            subjects,
            requests,
            handler: Arc::new(RequestHandler {
                transit: config.transit,
                values,
                mappings,
                trusted_issuers: config.trusted_issuers,
                any_issuer: config.any_issuer,
                trusted_hosts: config.trusted_hosts,
            }),
        })
    }

    /// Answers until `stop` comes or the connection ends for good; what is under way then is
    /// finished.
    pub async fn run(mut self, stop: impl Future<Output = ()>) {
        let mut stop = std::pin::pin!(stop);
        let (tasks, places) = (TaskTracker::new(), Arc::new(Semaphore::new(AT_ONCE)));
        loop {
            let message = tokio::select! {
                () = &mut stop => break,
                message = self.requests.next() => message,
            };
            let Some(message) = message else { break };
            let Ok(place) = Arc::clone(&places).acquire_owned().await else {
                break;
            };
            let (handler, nats) = (Arc::clone(&self.handler), self.nats.clone());
            let subjects = self.subjects.clone();
            tasks.spawn(async move {
                let _place = place;
                if timeout(LONGEST, answer(&handler, &nats, &subjects, &message))
                    .await
                    .is_err()
                {
                    tracing::error!(subject = %message.subject, "gave up on a request");
                }
            });
        }
        if let Err(error) = self.requests.unsubscribe().await {
            tracing::debug!(%error, "could not unsubscribe");
        }
        tasks.close();
        if timeout(GRACE, tasks.wait()).await.is_err() {
            tracing::warn!("ended with requests unanswered");
        }
        if timeout(GRACE, self.nats.flush()).await.is_err() {
            tracing::warn!("NATS did not take the last answers");
        }
    }
}

fn context(nats: Client, js_domain: Option<&str>) -> jetstream::Context {
    match js_domain {
        Some(domain) => ContextBuilder::new()
            .domain(domain)
            .timeout(STORE)
            .build(nats),
        None => ContextBuilder::new().timeout(STORE).build(nats),
    }
}

/// Waits until the server has taken in what was sent to it so far: it reads in order, so that a
/// message to ourselves comes back after the subscription before it.
async fn taken_in(nats: &Client) -> Result<(), String> {
    let inbox = Subject::from(nats.new_inbox());
    let round = async {
        let mut own = nats.subscribe(inbox.clone()).await?;
        nats.publish(inbox, Bytes::new()).await?;
        own.next().await;
        Ok::<_, Box<dyn std::error::Error + Send + Sync>>(())
    };
    match timeout(LONGEST, round).await {
        Ok(done) => done.map_err(|error| error.to_string()),
        Err(_) => Err(format!("the server has not answered within {LONGEST:?}")),
    }
}

/// Works out the answer to one message and sends it.
async fn answer(
    handler: &RequestHandler,
    nats: &Client,
    subjects: &SecretsSubjects,
    message: &Message,
) {
    let Some(reply) = message.reply.clone().filter(|reply| takes_answers(reply)) else {
        return;
    };
    match subjects.parse(&message.subject) {
        Some(SecretsOp::ServerXkey) => {
            let key = handler.transit.public_key();
            publish(nats, reply, HeaderMap::new(), key.into()).await;
        }
        Some(SecretsOp::Get) => sealed(nats, reply, handler.get(message).await).await,
        Some(SecretsOp::PutSecret) => {
            let done = handler.put(message).await;
            plain(nats, reply, &PutSecretResponse::from(done)).await;
        }
        Some(SecretsOp::AddMapping(entity)) => {
            let done = handler.add(entity, message).await;
            plain(nats, reply, &changed(done)).await;
        }
        Some(SecretsOp::RemoveMapping(entity)) => {
            let done = handler.remove(entity, &message.payload).await;
            plain(nats, reply, &changed(done)).await;
        }
        None => {
            let unknown = SecretResponse::from(GetSecretError::InvalidRequest);
            plain(nats, reply, &unknown).await;
        }
    }
}

/// A sealed answer, with the public key that it was sealed with.
#[derive(Debug)]
pub(crate) struct SealedAnswer {
    pub(crate) sender: String,
    /// Says that it is ours, to who knows our key.
    pub(crate) proof: Option<String>,
    pub(crate) bytes: Vec<u8>,
}

async fn sealed(nats: &Client, reply: Subject, done: Result<SealedAnswer, GetSecretError>) {
    match done {
        Ok(answer) => {
            let mut headers = HeaderMap::new();
            headers.insert(RESPONSE_XKEY, answer.sender);
            if let Some(proof) = answer.proof {
                headers.insert(ANSWER_PROOF, proof);
            }
            publish(nats, reply, headers, answer.bytes.into()).await;
        }
        Err(error) => plain(nats, reply, &SecretResponse::from(error)).await,
    }
}

fn changed(done: Result<(), GetSecretError>) -> ChangeSecretResponse {
    let refused = done.err().map(ChangeSecretResponse::from);
    refused.unwrap_or_default()
}

async fn plain(nats: &Client, reply: Subject, answer: &impl Serialize) {
    match serde_json::to_vec(answer) {
        Ok(json) => publish(nats, reply, HeaderMap::new(), json.into()).await,
        Err(error) => tracing::error!(%error, "could not write an answer"),
    }
}

async fn publish(nats: &Client, reply: Subject, headers: HeaderMap, payload: Bytes) {
    let sent = match headers.is_empty() {
        true => nats.publish(reply, payload).await,
        false => nats.publish_with_headers(reply, headers, payload).await,
    };
    if let Err(error) = sent {
        tracing::warn!(%error, "could not send an answer");
    }
}
