//! Telling components of keys that change.
//!
//! NATS keeps the last write of every key, and for each link that watches how far it was told, in a
//! durable consumer. So a component that is away is told again and again until it is there, a
//! provider that was away goes on where it was, and of several processes of the provider one tells.
//! Of a key that changed several times meanwhile only the last change is left to tell. A key whose
//! time is over is told where NATS leaves a marker of it.

use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::consumer::pull;
use async_nats::jetstream::consumer::{AckPolicy, Consumer, DeliverPolicy};
use async_nats::jetstream::context::{ConsumerInfoError, ConsumerInfoErrorKind};
use async_nats::jetstream::stream::ConsumerError;
use async_nats::jetstream::{AckKind, ErrorCode, Message};
use futures::StreamExt as _;
use lattice_core::subject::store::bucket_subjects;
use lattice_provider_sdk::keyvalue::watch::{Change, ChangeNotifier, LONGEST_PAUSE, PAUSE};
use lattice_provider_sdk::{Backoff, BoxError, Shared, chain};
use tokio::task::JoinSet;

use crate::cluster::{Cluster, New, OpenError};
use crate::key;

/// How long a change may take to be told before NATS takes it for lost.
const TELL_LIMIT: Duration = Duration::from_secs(60);
/// How long NATS remembers how far a link was told that nobody asks for.
const REMEMBERED: Duration = Duration::from_secs(14 * 24 * 3600);
/// How often it is looked whether the connection is still the one over which keys were watched.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// What NATS says of a write that is none.
const OPERATION: &str = "KV-Operation";
const MARKER: &str = "Nats-Marker-Reason";

/// Why keys cannot be watched.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WatchError {
    /// There is no such bucket.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// NATS does not remember for us.
    #[error("could not watch the bucket `{bucket}`")]
    Consumer {
        /// The bucket.
        bucket: String,
        /// Why.
        source: ConsumerError,
    },
}

/// What is watched.
pub(crate) struct Source {
    pub(crate) cluster: Shared<Cluster>,
    pub(crate) bucket: String,
    pub(crate) new: New,
    /// The name under which NATS remembers.
    pub(crate) durable: String,
}

/// Watches keys for one link until it is dropped.
pub(crate) struct Watcher {
    source: Arc<Source>,
    _task: JoinSet<()>,
}

impl Watcher {
    /// Tells of every change from now on, and of those since it was last watched.
    pub(crate) async fn start(
        source: Source,
        notifier: ChangeNotifier,
    ) -> Result<Self, WatchError> {
        let mut made = None;
        let consumer = source.consumer(&mut made).await?;
        let source = Arc::new(source);
        let mut task = JoinSet::new();
        task.spawn(Arc::clone(&source).run(consumer, made, notifier));
        Ok(Self {
            source,
            _task: task,
        })
    }

    /// What is watched.
    pub(crate) fn source(&self) -> Arc<Source> {
        Arc::clone(&self.source)
    }
}

impl Source {
    /// Whether NATS answers and has the bucket.
    pub(crate) async fn check(&self) -> Result<(), OpenError> {
        self.cluster
            .bucket_anew(&self.bucket, self.new)
            .await
            .map(drop)
    }

    /// Goes on where the link was last told, or begins. `made` is when the bucket was made that was
    /// watched so far.
    async fn consumer(
        &self,
        made: &mut Option<i128>,
    ) -> Result<Consumer<pull::Config>, WatchError> {
        let bucket = self.cluster.bucket_anew(&self.bucket, self.new).await?;
        let created = bucket.stream().cached_info().created.unix_timestamp_nanos();
        // NATS has lost the bucket meanwhile: all that is there was written since.
        let is_new = made.is_some_and(|made| made != created);
        let config = pull::Config {
            durable_name: Some(self.durable.clone()),
            deliver_policy: if is_new {
                DeliverPolicy::All
            } else {
                DeliverPolicy::New
            },
            ack_policy: AckPolicy::Explicit,
            ack_wait: TELL_LIMIT,
            // One after the other, so that changes are told in their order.
            max_ack_pending: 1,
            inactive_threshold: REMEMBERED,
            ..pull::Config::default()
        };
        let stream = bucket.stream();
        let consumer = stream.get_or_create_consumer(&self.durable, config).await;
        let consumer = consumer.map_err(|source| WatchError::Consumer {
            bucket: self.bucket.clone(),
            source,
        })?;
        *made = Some(created);
        Ok(consumer)
    }

    async fn run(
        self: Arc<Self>,
        consumer: Consumer<pull::Config>,
        mut made: Option<i128>,
        mut notifier: ChangeNotifier,
    ) {
        let mut backoff = Backoff::new(PAUSE, LONGEST_PAUSE);
        let mut consumer = Some(consumer);
        loop {
            let over = match consumer.take() {
                Some(consumer) => self.follow(&consumer, &mut notifier, &mut backoff).await,
                None => match self.consumer(&mut made).await {
                    Ok(again) => {
                        consumer = Some(again);
                        continue;
                    }
                    Err(error) => error.into(),
                },
            };
            let error = chain(&*over);
            tracing::warn!(link = notifier.name(), error, "lost sight of watched keys");
            tokio::time::sleep(backoff.delay()).await;
        }
    }

    /// Tells of changes until they do not come any more, and returns why.
    async fn follow(
        &self,
        consumer: &Consumer<pull::Config>,
        notifier: &mut ChangeNotifier,
        backoff: &mut Backoff,
    ) -> BoxError {
        let mut messages = match consumer.messages().await {
            Ok(messages) => messages,
            Err(error) => return error.into(),
        };
        let mut connection = self.cluster.connections();
        let mut look = tokio::time::interval(LOOK_EVERY);
        loop {
            let next = tokio::select! {
                biased;
                next = messages.next() => next,
                _ = look.tick() => {
                    let now = self.cluster.connections();
                    if now != connection {
                        match consumer.get_info().await {
                            Ok(_) => connection = now,
                            // The client would notice much later.
                            Err(error) if is_gone(&error) => return error.into(),
                            Err(error) => tracing::debug!(%error, "cannot tell whether keys are watched"),
                        }
                    }
                    continue;
                }
            };
            let message = match next {
                Some(Ok(message)) => message,
                Some(Err(error)) => return error.into(),
                None => return "the changes ended".into(),
            };
            let heard = self.tell(notifier, &message).await;
            let answer = match heard {
                true => AckKind::Ack,
                // It comes again, before any other.
                false => AckKind::Nak(Some(backoff.delay())),
            };
            if let Err(error) = message.ack_with(answer).await {
                return error;
            }
            if heard {
                *backoff = Backoff::new(PAUSE, LONGEST_PAUSE);
            }
        }
    }

    /// Tells of a change; `false` when the component was not reached.
    async fn tell(&self, notifier: &mut ChangeNotifier, message: &Message) -> bool {
        let all = bucket_subjects(&self.bucket);
        let stored = all
            .strip_suffix('>')
            .and_then(|of| message.subject.strip_prefix(of));
        let Some(key) = stored.map(key::decode) else {
            return true;
        };
        let is_write = message.headers.as_ref().is_none_or(|headers| {
            headers.get(OPERATION).is_none() && headers.get(MARKER).is_none()
        });
        let change = match is_write {
            true => Change::Set(Some(message.payload.clone())),
            false => Change::Delete,
        };
        notifier.tell(&key, &change).await
    }
}

/// Whether NATS does not remember any more, since it has lost the bucket.
fn is_gone(error: &ConsumerInfoError) -> bool {
    let gone = [ErrorCode::CONSUMER_NOT_FOUND, ErrorCode::STREAM_NOT_FOUND];
    match error.kind() {
        ConsumerInfoErrorKind::NotFound => true,
        ConsumerInfoErrorKind::JetStream(error) => gone.contains(&error.error_code()),
        _ => false,
    }
}
