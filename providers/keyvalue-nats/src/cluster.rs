//! One NATS and the buckets on it that are in use.

use std::collections::HashMap;
use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use async_nats::connection::State;
use async_nats::jetstream::context::{
    ContextBuilder, GetStreamError, GetStreamErrorKind, KeyValueError, KeyValueErrorKind,
};
use async_nats::jetstream::{Context, ErrorCode, kv};
use lattice_nats::{CreateBucketError, NewBucket, is_bucket_name};
use lattice_provider_sdk::keyvalue::Turns;
use lattice_provider_sdk::nats::{self, NatsError};
use parking_lot::RwLock;
use tempfile::NamedTempFile;
use tokio::sync::{Mutex, MutexGuard};

use crate::bucket::Bucket;
use crate::settings::ClusterSettings;

/// How long JetStream may take to answer; less than the usual deadline of a call, so that the
/// caller hears what is missing.
const ANSWER_LIMIT: Duration = Duration::from_secs(3);

/// How many buckets are kept open. More may be used; they are opened again.
const OPEN_BUCKETS: usize = 1024;

/// A connection to NATS with what is known about its buckets.
pub(crate) struct Cluster {
    nats: async_nats::Client,
    jetstream: Context,
    /// Read again whenever the connection is made again.
    _authority: Option<NamedTempFile>,
    open: RwLock<HashMap<String, Arc<Bucket>>>,
    /// Held while a bucket is looked up, so that many calls at once ask once.
    opening: Mutex<()>,
    turns: Turns,
}

/// How a bucket comes to be that is missing.
#[derive(Debug, Clone, Copy)]
pub(crate) struct New {
    /// Whether it does.
    pub(crate) create: bool,
    /// After which time its keys go.
    pub(crate) lifetime: Option<Duration>,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    /// The server is not there or refuses, or the login cannot be used.
    #[error(transparent)]
    Nats(#[from] NatsError),
    /// The certificates to trust could not be kept.
    #[error("could not write the link's `tls_ca` to a file")]
    Authority(#[source] std::io::Error),
}

/// Why a bucket cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenError {
    /// There is none.
    #[error("there is no bucket `{0}`")]
    Missing(String),
    /// The connection is lost at the moment.
    #[error("there is no connection to NATS at the moment")]
    Disconnected,
    /// Its keys go after another time than the link says.
    #[error(
        "the bucket `{bucket}` keeps its keys for {kept:?} (0 is for ever), the link's `ttl_seconds` says {wanted:?}"
    )]
    Lifetime {
        /// The bucket.
        bucket: String,
        /// How long it keeps keys.
        kept: Duration,
        /// How long it should.
        wanted: Duration,
    },
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

impl Cluster {
    /// Uses the connection of the lattice, or makes one under the name `name`.
    pub(crate) async fn connect(
        settings: &ClusterSettings,
        own: &async_nats::Client,
        name: &str,
    ) -> Result<Self, ConnectError> {
        let mut authority = None;
        let nats = match &settings.server {
            None => own.clone(),
            Some(server) => {
                let mut server = server.clone();
                if let Some(pem) = &settings.authority {
                    let file = keep(pem.expose()).map_err(ConnectError::Authority)?;
                    server.ca_file = Some(file.path().to_path_buf());
                    authority = Some(file);
                }
                nats::connect(&server, name).await?
            }
        };
        let context = ContextBuilder::new();
        let jetstream = match &settings.domain {
            Some(domain) => context.domain(domain).timeout(ANSWER_LIMIT),
            None => context.timeout(ANSWER_LIMIT),
        };
        Ok(Self {
            jetstream: jetstream.build(nats.clone()),
            nats,
            _authority: authority,
            open: RwLock::default(),
            opening: Mutex::default(),
            turns: Turns::default(),
        })
    }

    /// The bucket of that name, created if it is missing and `new` says so.
    pub(crate) async fn bucket(&self, name: &str, new: New) -> Result<Arc<Bucket>, OpenError> {
        self.check_connection()?;
        if let Some(known) = self.known(name) {
            return Ok(known);
        }
        let _one_at_a_time = self.opening.lock().await;
        if let Some(known) = self.known(name) {
            return Ok(known);
        }
        self.look_up(name, new).await
    }

    /// As [`Cluster::bucket`], and asks NATS even when it is known.
    pub(crate) async fn bucket_anew(&self, name: &str, new: New) -> Result<Arc<Bucket>, OpenError> {
        self.check_connection()?;
        let _one_at_a_time = self.opening.lock().await;
        self.look_up(name, new).await
    }

    /// The longest message that the server takes.
    pub(crate) fn largest_message(&self) -> usize {
        self.nats.server_info().max_payload
    }

    /// Requests made without a connection would wait for a new one until they time out.
    fn check_connection(&self) -> Result<(), OpenError> {
        match self.nats.connection_state() {
            State::Connected => Ok(()),
            _ => Err(OpenError::Disconnected),
        }
    }

    async fn look_up(&self, name: &str, new: New) -> Result<Arc<Bucket>, OpenError> {
        if !is_bucket_name(name) {
            return Err(OpenError::Missing(name.to_owned()));
        }
        let bucket = Arc::new(Bucket::new(self.open(name, new).await?));
        let mut open = self.open.write();
        if open.len() >= OPEN_BUCKETS {
            open.clear();
        }
        open.insert(name.to_owned(), Arc::clone(&bucket));
        Ok(bucket)
    }

    fn known(&self, name: &str) -> Option<Arc<Bucket>> {
        self.open.read().get(name).map(Arc::clone)
    }

    async fn open(&self, name: &str, new: New) -> Result<kv::Store, OpenError> {
        let bucket = || name.to_owned();
        match self.jetstream.get_key_value(name).await {
            Ok(store) => Ok(store),
            Err(source) if !is_missing(&source) => Err(OpenError::Open {
                bucket: bucket(),
                source,
            }),
            Err(_) if !new.create => Err(OpenError::Missing(bucket())),
            Err(_) => {
                tracing::info!(bucket = name, "creating a bucket");
                let new = NewBucket {
                    name: bucket(),
                    max_age: new.lifetime.unwrap_or_default(),
                    ..NewBucket::default()
                };
                let created = lattice_nats::create_bucket(&self.jetstream, new).await;
                created.map_err(|source| OpenError::Create {
                    bucket: bucket(),
                    source,
                })
            }
        }
    }

    /// Looks a bucket up again before its next use: it may have been deleted.
    pub(crate) fn forget(&self, name: &str) {
        self.open.write().remove(name);
    }

    /// Waits until no other increment of the key is under way in this process.
    pub(crate) async fn turn(&self, bucket: &str, key: &str) -> MutexGuard<'_, ()> {
        self.turns.take(bucket, key).await
    }
}

fn keep(pem: &str) -> std::io::Result<NamedTempFile> {
    let mut file = NamedTempFile::with_prefix("keyvalue-nats-ca-")?;
    file.write_all(pem.as_bytes())?;
    file.flush()?;
    Ok(file)
}

fn is_missing(error: &KeyValueError) -> bool {
    // A stream that is there but keeps no last values is no bucket.
    if error.kind() == KeyValueErrorKind::InvalidStoreName {
        return true;
    }
    let source = std::error::Error::source(error).and_then(|s| s.downcast_ref::<GetStreamError>());
    matches!(
        source.map(GetStreamError::kind),
        Some(GetStreamErrorKind::JetStream(error)) if error.error_code() == ErrorCode::STREAM_NOT_FOUND
    )
}
