//! One bucket: opening it, and reading and writing raw records with deadlines.

use std::error::Error as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_nats::jetstream::context::{GetStreamError, GetStreamErrorKind, KeyValueError};
use async_nats::jetstream::{self, ErrorCode, kv};
use bytes::Bytes;
use lattice_core::{Backoff, Spread};
use lattice_nats::NewBucket;
use parking_lot::RwLock;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};

use crate::error::{BoxError, StoreError};
use crate::leader::Present;

/// How many writers of one process may be at work on different records of a bucket.
const LANES: usize = 16;
/// First and longest pause between two attempts to write.
const FIRST_PAUSE: Duration = Duration::from_millis(4);
const LONGEST_PAUSE: Duration = Duration::from_millis(250);

/// How long to wait.
#[derive(Debug, Clone)]
pub(crate) struct Limits {
    /// For one request to JetStream.
    pub(crate) request: Duration,
    /// For one write with all its attempts.
    pub(crate) write: Duration,
}

/// A record with the revision it was read at.
#[derive(Debug, Clone)]
pub(crate) struct Record {
    pub(crate) key: String,
    pub(crate) value: Bytes,
    pub(crate) revision: u64,
}

/// An open bucket, and whether this process has just created it.
pub(crate) struct Opened {
    pub(crate) store: Arc<kv::Store>,
    pub(crate) created: bool,
}

/// A bucket that is opened when it is first used.
#[derive(Debug)]
pub(crate) struct Bucket {
    js: jetstream::Context,
    nats: async_nats::Client,
    /// What it gets when this process creates it, its name included.
    new: NewBucket,
    limits: Limits,
    store: RwLock<Option<Arc<kv::Store>>>,
    /// How many entries watches have read.
    read: AtomicU64,
    /// One permit each: writers of one process take turns instead of colliding.
    lanes: [Semaphore; LANES],
}

impl Bucket {
    /// Counts an entry that a watch has read.
    pub(crate) fn note_read(&self) {
        self.read.fetch_add(1, Ordering::Relaxed);
    }

    /// How many entries watches have read so far.
    pub(crate) fn entries_read(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
    }

    pub(crate) fn new(
        nats: async_nats::Client,
        js: jetstream::Context,
        new: NewBucket,
        limits: Limits,
    ) -> Self {
        let lanes = std::array::from_fn(|_| Semaphore::new(1));
        Self {
            js,
            nats,
            new,
            limits,
            store: RwLock::new(None),
            read: AtomicU64::new(0),
            lanes,
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.new.name
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.limits
    }

    pub(crate) fn nats(&self) -> &async_nats::Client {
        &self.nats
    }

    /// Opens the bucket anew, creating it when it is missing.
    ///
    /// An existing bucket is used as it is, so that operators may choose its settings.
    pub(crate) async fn open(&self) -> Result<Opened, StoreError> {
        let open = timeout(self.limits.request, self.get_or_create());
        let (store, created) = open
            .await
            .map_err(|_| self.timed_out())?
            .map_err(|source| StoreError::Open {
                bucket: self.new.name.clone(),
                source,
            })?;
        let store = Arc::new(store);
        *self.store.write() = Some(Arc::clone(&store));
        Ok(Opened { store, created })
    }

    async fn get_or_create(&self) -> Result<(kv::Store, bool), BoxError> {
        match self.js.get_key_value(&self.new.name).await {
            Ok(store) => return Ok((store, false)),
            Err(error) if is_missing(&error) => {}
            Err(error) => return Err(error.into()),
        }
        match lattice_nats::create_bucket(&self.js, self.new.clone()).await {
            Ok(store) => {
                tracing::info!(bucket = %self.new.name, "created bucket");
                Ok((store, true))
            }
            // Another host may have been quicker, with other settings.
            Err(error) => match self.js.get_key_value(&self.new.name).await {
                Ok(store) => Ok((store, false)),
                Err(_) => Err(error.into()),
            },
        }
    }

    /// Opens the bucket if it is there, and tells whether it is.
    pub(crate) async fn find(&self) -> Result<bool, StoreError> {
        let found = timeout(self.limits.request, self.js.get_key_value(&self.new.name));
        match found.await.map_err(|_| self.timed_out())? {
            Ok(store) => {
                *self.store.write() = Some(Arc::new(store));
                Ok(true)
            }
            Err(error) if is_missing(&error) => Ok(false),
            Err(error) => Err(StoreError::Open {
                bucket: self.new.name.clone(),
                source: error.into(),
            }),
        }
    }

    /// The handle in use, opening the bucket when there is none.
    pub(crate) async fn handle(&self) -> Result<Arc<kv::Store>, StoreError> {
        // A statement of its own: the guard must not live across the await.
        let known = self.store.read().clone();
        match known {
            Some(store) => Ok(store),
            None => Ok(self.open().await?.store),
        }
    }

    /// Forgets the handle, so that the next use opens the bucket anew.
    pub(crate) fn forget(&self) {
        *self.store.write() = None;
    }

    /// Notes how many copies the bucket has now. A handle that knows of another number is used no more.
    pub(crate) fn note_copies(&self, copies: usize) {
        let mut store = self.store.write();
        let known = store.as_ref().map(|store| store.stream.cached_info());
        if known.is_some_and(|info| info.config.num_replicas != copies) {
            *store = None;
        }
    }

    pub(crate) fn timed_out(&self) -> StoreError {
        StoreError::Timeout {
            bucket: self.new.name.clone(),
            within: self.limits.request,
        }
    }

    /// Reads the last entry of a key, a deletion marker included, from any server: it may be behind.
    pub(crate) async fn entry(&self, key: &str) -> Result<Option<kv::Entry>, StoreError> {
        let store = self.handle().await?;
        match timeout(self.limits.request, store.entry(key)).await {
            Err(_) => Err(self.timed_out()),
            Ok(Ok(entry)) => Ok(entry),
            Ok(Err(source)) => Err(StoreError::Read {
                bucket: self.new.name.clone(),
                key: key.to_owned(),
                source: source.into(),
            }),
        }
    }

    /// Reads a record. That there is none, the leader has to say.
    pub(crate) async fn get(&self, key: &str) -> Result<Option<Record>, StoreError> {
        let mut present = Present::from(self.entry(key).await?);
        if present.value.is_none() && self.has_copies().await? {
            present = self.leading(key).await?;
        }
        let revision = present.revision;
        Ok(present.value.map(|value| Record {
            key: key.to_owned(),
            value,
            revision,
        }))
    }

    /// Writes a record whatever stood there before.
    pub(crate) async fn put(&self, key: &str, value: Bytes) -> Result<(), StoreError> {
        self.change(key, Some(value)).await
    }

    /// Removes a record with its history.
    pub(crate) async fn purge(&self, key: &str) -> Result<(), StoreError> {
        self.change(key, None).await
    }

    pub(crate) fn write(&self, key: &str, source: impl Into<BoxError>) -> StoreError {
        StoreError::Write {
            bucket: self.new.name.clone(),
            key: key.to_owned(),
            source: source.into(),
        }
    }

    /// Puts or purges, again after failures that may pass, until the deadline for writes.
    async fn change(&self, key: &str, value: Option<Bytes>) -> Result<(), StoreError> {
        let deadline = Instant::now() + self.limits.write;
        let mut backoff = write_backoff();
        loop {
            let attempt = timeout(self.limits.request, self.try_change(key, value.clone())).await;
            let Err(error) = attempt.map_err(|_| self.timed_out()).flatten() else {
                return Ok(());
            };
            let pause = backoff.delay();
            if !self.may_pass(&error) || Instant::now() + pause >= deadline {
                return Err(error);
            }
            tracing::debug!(bucket = %self.new.name, key, %error, "write failed, trying again");
            self.forget();
            tokio::time::sleep(pause).await;
        }
    }

    async fn try_change(&self, key: &str, value: Option<Bytes>) -> Result<(), StoreError> {
        let store = self.handle().await?;
        match value {
            Some(value) => {
                store
                    .put(key, value)
                    .await
                    .map_err(|source| self.write(key, source))?;
            }
            None => store
                .purge(key)
                .await
                .map_err(|source| self.write(key, source))?,
        }
        Ok(())
    }

    /// Whether a further attempt may do better.
    pub(crate) fn may_pass(&self, error: &StoreError) -> bool {
        match error {
            StoreError::Timeout { .. } | StoreError::Open { .. } | StoreError::Read { .. } => true,
            // The size does not change by waiting.
            StoreError::Write { source, .. } => !is_too_large(&**source),
            _ => false,
        }
    }

    /// The turn to write a key; at most one writer of this process per lane.
    pub(crate) fn lane(&self, key: &str) -> &Semaphore {
        let sum = key.bytes().fold(0_usize, |sum, byte| {
            sum.wrapping_mul(31).wrapping_add(usize::from(byte))
        });
        &self.lanes[sum % LANES]
    }
}

/// Writers that have collided would collide again if they all waited equally long.
pub(crate) fn write_backoff() -> Backoff {
    Backoff::new(FIRST_PAUSE, LONGEST_PAUSE).spread_by(Spread::Shorter)
}

fn is_missing(error: &KeyValueError) -> bool {
    let stream_error = error
        .source()
        .and_then(|source| source.downcast_ref::<GetStreamError>());
    matches!(
        stream_error.map(GetStreamError::kind),
        Some(GetStreamErrorKind::JetStream(error)) if error.error_code() == ErrorCode::STREAM_NOT_FOUND
    )
}

/// Whether the server or the client refuses a message of this size.
fn is_too_large(error: &(dyn std::error::Error + Send + Sync + 'static)) -> bool {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<jetstream::Error>() {
            return error.error_code() == ErrorCode::STREAM_MESSAGE_EXCEEDS_MAXIMUM;
        }
        if let Some(error) = error.downcast_ref::<async_nats::PublishError>() {
            return error.kind() == async_nats::client::PublishErrorKind::MaxPayloadExceeded;
        }
        cause = error.source();
    }
    false
}
