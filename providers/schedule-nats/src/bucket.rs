//! The bucket of the jobs.

use std::collections::BTreeMap;
use std::time::Duration;

use async_nats::jetstream::consumer::push::OrderedConfig;
use async_nats::jetstream::consumer::{DeliverPolicy, ReplayPolicy};
use async_nats::jetstream::context::{
    GetStreamError, GetStreamErrorKind, KeyValueError, KeyValueErrorKind,
};
use async_nats::jetstream::kv::{self, UpdateErrorKind};
use async_nats::jetstream::stream::LastRawMessageErrorKind;
use async_nats::jetstream::{Context, ErrorCode};
use bytes::Bytes;
use futures::StreamExt as _;
use lattice_nats::{CreateBucketError, NewBucket};
use lattice_provider_sdk::nats::{NatsBackend, NatsError};
use lattice_provider_sdk::{BoxError, Session};

use crate::settings::ShopSettings;

/// The header that tells a deletion from a value.
const OPERATION: &str = "KV-Operation";
/// How long a listing may take.
const LISTING: Duration = Duration::from_secs(4);
/// How long the next message of a listing may take.
const NEXT: Duration = Duration::from_millis(250);

/// Why the bucket cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenError {
    /// No connection.
    #[error(transparent)]
    Nats(#[from] NatsError),
    /// JetStream did not answer or refused.
    #[error("could not open the bucket `{bucket}`")]
    Open {
        /// The bucket.
        bucket: String,
        /// Why.
        source: KeyValueError,
    },
    /// It could not be created.
    #[error("could not create the bucket `{bucket}`")]
    Create {
        /// The bucket.
        bucket: String,
        /// Why.
        source: CreateBucketError,
    },
}

/// Why the bucket did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BucketError {
    /// The connection is lost at the moment.
    #[error("there is no connection to NATS at the moment")]
    Disconnected,
    /// NATS refused or did not answer.
    #[error("{what}")]
    Nats {
        /// What was tried.
        what: &'static str,
        /// Why it failed.
        source: BoxError,
    },
}

impl BucketError {
    fn nats(what: &'static str, source: impl Into<BoxError>) -> Self {
        Self::Nats {
            what,
            source: source.into(),
        }
    }
}

/// What a key is.
#[derive(Debug)]
pub(crate) struct Stored {
    /// Its last revision; 0 when there is none.
    pub(crate) revision: u64,
    /// Its value, if it was not deleted.
    pub(crate) value: Option<Bytes>,
}

/// A change that others may have prevented.
#[derive(Debug)]
pub(crate) enum Change<T> {
    Done(T),
    /// The key has changed since it was read.
    Outdone,
}

/// One bucket.
#[derive(Debug)]
pub(crate) struct Bucket {
    nats: NatsBackend,
    store: kv::Store,
}

impl Bucket {
    /// Connects, and opens or creates the bucket.
    pub(crate) async fn open(
        settings: &ShopSettings,
        session: &Session,
    ) -> Result<Self, OpenError> {
        let nats = NatsBackend::open(&settings.nats, session).await?;
        let store = open(nats.jetstream(), settings).await?;
        Ok(Self { nats, store })
    }

    /// Requests made without a connection would wait until they time out.
    fn check_connection(&self) -> Result<(), BucketError> {
        match self.nats.is_connected() {
            true => Ok(()),
            false => Err(BucketError::Disconnected),
        }
    }

    /// Reads a key from the leader of the stream: others may lag behind.
    pub(crate) async fn read(&self, key: &str) -> Result<Stored, BucketError> {
        self.check_connection()?;
        let subject = format!("{}{key}", self.store.prefix);
        let read = self.store.stream.get_last_raw_message_by_subject(&subject);
        match read.await {
            Ok(message) => Ok(Stored {
                revision: message.sequence,
                value: match message.headers.get(OPERATION) {
                    Some(_) => None,
                    None => Some(message.payload),
                },
            }),
            Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => Ok(Stored {
                revision: 0,
                value: None,
            }),
            Err(error) => Err(BucketError::nats("could not read a job", error)),
        }
    }

    /// Writes a key that has not changed since it was read; gives its new revision.
    pub(crate) async fn write(
        &self,
        key: &str,
        value: Bytes,
        read: u64,
    ) -> Result<Change<u64>, BucketError> {
        self.check_connection()?;
        match self.store.update(key, value, read).await {
            Ok(revision) => Ok(Change::Done(revision)),
            Err(error) if error.kind() == UpdateErrorKind::WrongLastRevision => Ok(Change::Outdone),
            Err(error) => Err(BucketError::nats("could not write a job", error)),
        }
    }

    /// Deletes a key that has not changed since it was read, and what the deletion leaves behind: a
    /// component may put a job of a new name for every single time.
    pub(crate) async fn delete(&self, key: &str, read: u64) -> Result<Change<()>, BucketError> {
        self.check_connection()?;
        match self.store.delete_expect_revision(key, Some(read)).await {
            Ok(()) => {}
            Err(error) if error.kind() == UpdateErrorKind::WrongLastRevision => {
                return Ok(Change::Outdone);
            }
            Err(error) => return Err(BucketError::nats("could not delete a job", error)),
        }
        let marker = self.read(key).await?;
        if marker.value.is_none() && marker.revision > 0 {
            let subject = format!("{}{key}", self.store.prefix);
            let purge = self.store.stream.purge().filter(subject);
            // Up to the marker, so that a job that was put since is not touched.
            if let Err(error) = purge.sequence(marker.revision + 1).await {
                tracing::debug!(%error, "the mark of a deleted job stays");
            }
        }
        Ok(Change::Done(()))
    }

    /// The values of all keys with a prefix, as the leader of the stream knows them now.
    pub(crate) async fn list(&self, prefix: &str) -> Result<Vec<Bytes>, BucketError> {
        const WHAT: &str = "could not list the jobs";
        self.check_connection()?;
        let all = async {
            loop {
                let listed = self.list_all(prefix).await;
                if let Some(values) = listed.map_err(|e| BucketError::nats(WHAT, e))? {
                    return Ok(values);
                }
            }
        };
        let listed = tokio::time::timeout(LISTING, all).await;
        listed.unwrap_or_else(|_| Err(BucketError::nats(WHAT, "it took too long")))
    }

    /// Reads the last message of each key; `None` when the rest does not come, since it was deleted
    /// meanwhile.
    async fn list_all(&self, prefix: &str) -> Result<Option<Vec<Bytes>>, BoxError> {
        let config = OrderedConfig {
            deliver_subject: self.nats.inbox(),
            description: Some("a list of jobs".to_owned()),
            filter_subject: format!("{}{prefix}>", self.store.prefix),
            replay_policy: ReplayPolicy::Instant,
            deliver_policy: DeliverPolicy::LastPerSubject,
            ..OrderedConfig::default()
        };
        let consumer = self.store.stream.create_consumer(config).await?;
        let count = usize::try_from(consumer.cached_info().num_pending)?;
        if count == 0 {
            return Ok(Some(Vec::new()));
        }
        let mut messages = consumer.messages().await?;
        // By subject: a 2.9 server may send what is being written twice, and count it as one that
        // is still to come.
        let mut values = BTreeMap::new();
        loop {
            let message = match tokio::time::timeout(NEXT, messages.next()).await {
                Ok(Some(message)) => message?,
                Err(_) if values.len() >= count => {
                    return Ok(Some(values.into_values().flatten().collect()));
                }
                _ => return Ok(None),
            };
            let headers = message.headers.as_ref();
            let is_value = headers.is_none_or(|headers| headers.get(OPERATION).is_none());
            let value = is_value.then(|| message.payload.clone());
            values.insert(message.subject.to_string(), value);
            if message.info()?.pending == 0 {
                return Ok(Some(values.into_values().flatten().collect()));
            }
        }
    }

    /// Tells of every job that is there, and of every change from then on.
    pub(crate) async fn watch(&self) -> Result<kv::Watch, kv::WatchError> {
        self.store.watch_with_history(">").await
    }

    /// Looks whether the bucket is there.
    pub(crate) async fn check(&self) -> Result<(), BucketError> {
        self.check_connection()?;
        let info = self.store.stream.get_info().await;
        info.map_err(|e| BucketError::nats("the bucket of the jobs does not answer", e))?;
        Ok(())
    }
}

async fn open(js: &Context, settings: &ShopSettings) -> Result<kv::Store, OpenError> {
    let bucket = || settings.bucket.clone();
    match js.get_key_value(bucket()).await {
        Ok(store) => Ok(store),
        Err(source) if !is_missing(&source) => Err(OpenError::Open {
            bucket: bucket(),
            source,
        }),
        Err(_) => {
            tracing::info!(bucket = settings.bucket, "creating a bucket");
            let new = NewBucket {
                name: bucket(),
                replicas: settings.replicas,
                ..NewBucket::default()
            };
            let created = lattice_nats::create_bucket(js, new).await;
            created.map_err(|source| OpenError::Create {
                bucket: bucket(),
                source,
            })
        }
    }
}

fn is_missing(error: &KeyValueError) -> bool {
    if error.kind() != KeyValueErrorKind::GetBucket {
        return false;
    }
    let source = std::error::Error::source(error).and_then(|s| s.downcast_ref::<GetStreamError>());
    matches!(
        source.map(GetStreamError::kind),
        Some(GetStreamErrorKind::JetStream(error)) if error.error_code() == ErrorCode::STREAM_NOT_FOUND
    )
}
