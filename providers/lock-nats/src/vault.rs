//! One bucket of locks, and the watch over it.

use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::context::{
    GetStreamError, GetStreamErrorKind, KeyValueError, KeyValueErrorKind,
};
use async_nats::jetstream::kv::{self, Operation, UpdateErrorKind};
use async_nats::jetstream::stream::LastRawMessageErrorKind;
use async_nats::jetstream::{Context, ErrorCode};
use bytes::Bytes;
use futures::StreamExt as _;
use lattice_nats::{CreateBucketError, NewBucket};
use lattice_provider_sdk::lock::Contest;
use lattice_provider_sdk::nats::{NatsBackend, NatsError};
use lattice_provider_sdk::{Backoff, BoxError, Session};
use tokio_util::task::AbortOnDropHandle;

use crate::settings::VaultSettings;
use crate::sightings::Sightings;

/// How long a bucket that is created keeps what nobody touches.
const KEPT: Duration = Duration::from_secs(24 * 3600);
/// The pauses before a watch that was lost is begun again.
const PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// The header that tells a deletion from a value.
const OPERATION: &str = "KV-Operation";
/// The header of what the server itself wrote in place of a value that is gone.
const MARKER: &str = "Nats-Marker-Reason";

/// Why a bucket cannot be used.
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
pub(crate) enum VaultError {
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

impl VaultError {
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
pub(crate) enum Change<T> {
    Done(T),
    /// The key has changed since it was read.
    Outdone,
}

/// One bucket.
#[derive(Debug)]
pub(crate) struct Vault {
    nats: NatsBackend,
    bucket: String,
    store: kv::Store,
    pub(crate) sightings: Arc<Sightings>,
    pub(crate) contest: Arc<Contest>,
    _watch: AbortOnDropHandle<()>,
}

impl Vault {
    /// Connects, and opens or creates the bucket.
    pub(crate) async fn open(
        settings: &VaultSettings,
        session: &Session,
    ) -> Result<Self, OpenError> {
        let nats = NatsBackend::open(&settings.nats, session).await?;
        let store = open_bucket(nats.jetstream(), settings).await?;
        let sightings = Arc::new(Sightings::default());
        let contest = Arc::new(Contest::new());
        let watch = watch(store.clone(), Arc::clone(&sightings), Arc::clone(&contest));
        Ok(Self {
            nats,
            bucket: settings.bucket.clone(),
            store,
            sightings,
            contest,
            _watch: AbortOnDropHandle::new(tokio::spawn(watch)),
        })
    }

    /// How long the bucket keeps what nobody touches; zero is for ever.
    pub(crate) fn keeps(&self) -> Duration {
        self.store.stream.cached_info().config.max_age
    }

    pub(crate) fn bucket(&self) -> &str {
        &self.bucket
    }

    /// Requests made without a connection would wait until they time out.
    fn check_connection(&self) -> Result<(), VaultError> {
        match self.nats.is_connected() {
            true => Ok(()),
            false => Err(VaultError::Disconnected),
        }
    }

    /// Reads a key from the leader of the stream: others may lag behind.
    pub(crate) async fn read(&self, key: &str) -> Result<Stored, VaultError> {
        self.check_connection()?;
        let subject = format!("{}{key}", self.store.prefix);
        let read = self.store.stream.get_last_raw_message_by_subject(&subject);
        match read.await {
            Ok(message) => {
                let headers = &message.headers;
                let is_marker = headers.get(OPERATION).is_some() || headers.get(MARKER).is_some();
                Ok(Stored {
                    revision: message.sequence,
                    value: (!is_marker).then_some(message.payload),
                })
            }
            Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => Ok(Stored {
                revision: 0,
                value: None,
            }),
            Err(error) => Err(VaultError::nats("could not read a lock", error)),
        }
    }

    /// Writes a key that has not changed since it was read; gives its new revision.
    pub(crate) async fn write(
        &self,
        key: &str,
        value: Bytes,
        read: u64,
    ) -> Result<Change<u64>, VaultError> {
        self.check_connection()?;
        match self.store.update(key, value, read).await {
            Ok(revision) => Ok(Change::Done(revision)),
            Err(error) if error.kind() == UpdateErrorKind::WrongLastRevision => Ok(Change::Outdone),
            Err(error) => Err(VaultError::nats("could not write a lock", error)),
        }
    }

    /// Deletes a key that has not changed since it was read.
    pub(crate) async fn delete(&self, key: &str, read: u64) -> Result<Change<()>, VaultError> {
        self.check_connection()?;
        match self.store.delete_expect_revision(key, Some(read)).await {
            Ok(()) => Ok(Change::Done(())),
            Err(error) if error.kind() == UpdateErrorKind::WrongLastRevision => Ok(Change::Outdone),
            Err(error) => Err(VaultError::nats("could not delete a lock", error)),
        }
    }

    /// Looks whether the bucket is there.
    pub(crate) async fn check(&self) -> Result<(), VaultError> {
        self.check_connection()?;
        let info = self.store.stream.get_info().await;
        info.map_err(|e| VaultError::nats("the bucket of the locks does not answer", e))?;
        Ok(())
    }
}

async fn open_bucket(js: &Context, settings: &VaultSettings) -> Result<kv::Store, OpenError> {
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
                max_age: KEPT,
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

/// Takes in every change of every lock, for as long as the bucket is in use.
async fn watch(store: kv::Store, sightings: Arc<Sightings>, contest: Arc<Contest>) {
    let mut backoff = Backoff::new(PAUSE, LONGEST_PAUSE);
    loop {
        match store.watch_with_history(">").await {
            Ok(mut changes) => {
                backoff = Backoff::new(PAUSE, LONGEST_PAUSE);
                while let Some(Ok(entry)) = changes.next().await {
                    if entry.operation == Operation::Put {
                        sightings.see(&entry.key, entry.revision, &entry.value);
                    } else {
                        sightings.gone(&entry.key);
                        contest.bell().ring(&entry.key);
                    }
                }
                tracing::debug!(bucket = store.name, "lost the watch over locks");
            }
            Err(error) => tracing::debug!(%error, "could not watch locks"),
        }
        // What has changed meanwhile was missed.
        contest.bell().ring_all();
        tokio::time::sleep(backoff.delay()).await;
    }
}
