//! Compiled code that hosts share: a bucket of objects.
//!
//! Nothing here is believed or checked; readers check what they read.

use std::error::Error as _;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::context::{GetStreamError, GetStreamErrorKind, ObjectStoreError};
use async_nats::jetstream::object_store::{Config, GetErrorKind, InfoErrorKind, ObjectStore};
use async_nats::jetstream::{self, ErrorCode};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;
use bytes::Bytes;
use futures::TryStreamExt as _;
use lattice_core::subject::store::object_stream;
use parking_lot::RwLock;
use sha2::{Digest as _, Sha256};
use tokio::io::AsyncReadExt as _;
use tokio::time::timeout;

use crate::error::{BoxError, StoreError};

/// What an object and its parts take beside their bytes, roughly.
const OVERHEAD: u64 = 16 << 10;

/// How long to wait for what, and what the bucket gets when this process creates it.
#[derive(Debug, Clone)]
pub(crate) struct CodeOptions {
    pub(crate) bucket: String,
    pub(crate) replicas: usize,
    pub(crate) max_age: Duration,
    pub(crate) max_bytes: u64,
    /// For one answer of JetStream.
    pub(crate) request: Duration,
    /// For writing one object with everything it takes.
    pub(crate) write: Duration,
}

/// The compiled code of a lattice. Cheap to clone; created by the first write.
#[derive(Clone)]
pub struct CodeBucket {
    js: jetstream::Context,
    options: Arc<CodeOptions>,
    store: Arc<RwLock<Option<ObjectStore>>>,
}

impl fmt::Debug for CodeBucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CodeBucket")
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

impl CodeBucket {
    pub(crate) fn new(js: jetstream::Context, options: CodeOptions) -> Self {
        Self {
            js,
            options: Arc::new(options),
            store: Arc::default(),
        }
    }

    /// What the bucket is called.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.options.bucket
    }

    /// Reads an object, unless it has more than `max_bytes`. `None` when it is not there.
    ///
    /// Each answer of JetStream is waited for with a deadline, the bytes themselves are not: how
    /// long they may take, the caller knows.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when JetStream does not answer or the object is too large or incomplete.
    pub async fn get(&self, name: &str, max_bytes: usize) -> Result<Option<Bytes>, StoreError> {
        let Some(store) = self.opened().await? else {
            return Ok(None);
        };
        let found = timeout(self.options.request, store.get(name)).await;
        let object = match found.map_err(|_| self.timed_out(self.options.request))? {
            Ok(object) => object,
            Err(error) if error.kind() == GetErrorKind::NotFound => return Ok(None),
            Err(error) if error.kind() == GetErrorKind::TimedOut => {
                return Err(self.timed_out(self.options.request));
            }
            Err(error) => return Err(self.read(name, error)),
        };
        let size = object.info().size;
        if size > max_bytes {
            let text = format!("it has {size} bytes, more than the limit of {max_bytes}");
            return Err(self.read(name, io::Error::other(text)));
        }
        // The size is what its writer said; no more than that is read, and one byte to notice more.
        let mut bytes = Vec::with_capacity(size);
        let mut bounded = object.take(size as u64 + 1);
        let read = bounded.read_to_end(&mut bytes).await;
        read.map_err(|error| self.read(name, error))?;
        if bytes.len() != size {
            let text = format!("its size is {size} bytes and it has others");
            return Err(self.read(name, io::Error::other(text)));
        }
        Ok(Some(bytes.into()))
    }

    /// Whether there is an object of that name, whatever it holds.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when JetStream does not answer.
    pub async fn has(&self, name: &str) -> Result<bool, StoreError> {
        let Some(store) = self.opened().await? else {
            return Ok(false);
        };
        let found = timeout(self.options.request, store.info(name)).await;
        match found.map_err(|_| self.timed_out(self.options.request))? {
            Ok(info) => Ok(!info.deleted),
            Err(error) if error.kind() == InfoErrorKind::NotFound => Ok(false),
            Err(error) => Err(self.read(name, error)),
        }
    }

    /// Writes an object, in the place of one that has the same name and other bytes. The oldest
    /// ones go when there is no room.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when it was not written, at the latest when the time for writing is over.
    pub async fn put(&self, name: &str, bytes: &Bytes) -> Result<(), StoreError> {
        let written = timeout(self.options.write, self.write(name, bytes)).await;
        let outcome = match written {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(source)) => StoreError::Write {
                bucket: self.options.bucket.clone(),
                key: name.to_owned(),
                source,
            },
            Err(_) => self.timed_out(self.options.write),
        };
        self.forget();
        Err(outcome)
    }

    async fn write(&self, name: &str, bytes: &Bytes) -> Result<(), BoxError> {
        let store = match self.opened().await? {
            Some(store) => store,
            None => self.create().await?,
        };
        match store.info(name).await {
            // Hosts that compile the same at once make the same bytes.
            Ok(info) if !info.deleted && is_made_of(info.digest.as_deref(), bytes) => return Ok(()),
            Ok(_) => {}
            Err(error) if error.kind() == InfoErrorKind::NotFound => {}
            Err(error) => return Err(error.into()),
        }
        self.make_room(&store, bytes.len() as u64 + OVERHEAD)
            .await?;
        store.put(name, &mut &bytes[..]).await?;
        Ok(())
    }

    /// Deletes the objects written first until there is room.
    async fn make_room(&self, store: &ObjectStore, wanted: u64) -> Result<(), BoxError> {
        let stream = self
            .js
            .get_stream(object_stream(&self.options.bucket))
            .await?;
        let info = stream.cached_info();
        // Negative for no bound.
        let Ok(max) = u64::try_from(info.config.max_bytes) else {
            return Ok(());
        };
        if wanted > max {
            let text = format!("it needs {wanted} bytes and the bucket holds {max}");
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, text).into());
        }
        let mut missing = (info.state.bytes + wanted).saturating_sub(max);
        if missing == 0 {
            return Ok(());
        }
        let mut objects: Vec<_> = store.list().await?.try_collect().await?;
        objects.sort_by_key(|object| object.modified);
        for object in objects {
            store.delete(&object.name).await?;
            tracing::debug!(bucket = %self.options.bucket, object = %object.name, "made room");
            missing = missing.saturating_sub(object.size as u64);
            if missing == 0 {
                return Ok(());
            }
        }
        // Parts of objects that were never finished take the room; nothing else is left.
        stream.purge().await?;
        Ok(())
    }

    /// The bucket, if there is one.
    async fn opened(&self) -> Result<Option<ObjectStore>, StoreError> {
        // A statement of its own: the guard must not live across the await.
        let known = self.store.read().clone();
        if known.is_some() {
            return Ok(known);
        }
        let open = self.js.get_object_store(&self.options.bucket);
        let opened = timeout(self.options.request, open).await;
        match opened.map_err(|_| self.timed_out(self.options.request))? {
            Ok(store) => {
                *self.store.write() = Some(store.clone());
                Ok(Some(store))
            }
            Err(error) if is_missing(&error) => Ok(None),
            Err(error) => Err(StoreError::Open {
                bucket: self.options.bucket.clone(),
                source: error.into(),
            }),
        }
    }

    async fn create(&self) -> Result<ObjectStore, BoxError> {
        let options = &self.options;
        let config = Config {
            bucket: options.bucket.clone(),
            max_age: options.max_age,
            max_bytes: i64::try_from(options.max_bytes).unwrap_or(i64::MAX),
            num_replicas: options.replicas.max(1),
            ..Config::default()
        };
        let store = match self.js.create_object_store(config).await {
            Ok(store) => store,
            // Another host may have been quicker, with other settings.
            Err(error) => match self.opened().await? {
                Some(store) => return Ok(store),
                None => return Err(error.into()),
            },
        };
        tracing::info!(bucket = %options.bucket, "created bucket");
        *self.store.write() = Some(store.clone());
        Ok(store)
    }

    /// Has the next use open the bucket anew, which may be another one by then.
    pub fn forget(&self) {
        *self.store.write() = None;
    }

    fn timed_out(&self, within: Duration) -> StoreError {
        StoreError::Timeout {
            bucket: self.options.bucket.clone(),
            within,
        }
    }

    fn read(&self, name: &str, source: impl Into<BoxError>) -> StoreError {
        StoreError::Read {
            bucket: self.options.bucket.clone(),
            key: name.to_owned(),
            source: source.into(),
        }
    }
}

/// Whether a digest, as clients write it into an object's record, is that of `bytes`.
fn is_made_of(digest: Option<&str>, bytes: &[u8]) -> bool {
    let encoded = digest.and_then(|digest| digest.strip_prefix("SHA-256="));
    encoded.is_some_and(|encoded| URL_SAFE.encode(Sha256::digest(bytes)) == encoded)
}

fn is_missing(error: &ObjectStoreError) -> bool {
    let stream_error = error
        .source()
        .and_then(|source| source.downcast_ref::<GetStreamError>());
    matches!(
        stream_error.map(GetStreamError::kind),
        Some(GetStreamErrorKind::JetStream(error)) if error.error_code() == ErrorCode::STREAM_NOT_FOUND
    )
}
