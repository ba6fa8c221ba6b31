//! One NATS and the buckets on it that are in use.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_nats::jetstream::kv;
use lattice_nats::connection::NatsSystem;
use lattice_nats::{NewBucket, OpenBucketError, find_bucket, is_bucket_name, open_bucket};
use lattice_provider_sdk::Session;
use lattice_provider_sdk::keyvalue::Turns;
use lattice_provider_sdk::nats::{BackendSettings, NatsBackend, NatsError};
use parking_lot::RwLock;
use tokio::sync::{Mutex, MutexGuard};

use crate::bucket::Bucket;
use crate::listing::Listings;
use crate::markers;

/// How many buckets are kept open. More may be used; they are opened again.
const OPEN_BUCKETS: usize = 1024;

/// A connection to NATS with what is known about its buckets.
pub(crate) struct Cluster {
    nats: NatsBackend,
    open: RwLock<HashMap<String, Arc<Bucket>>>,
    /// The connection on which they were opened: a NATS that comes back may have lost them.
    opened_on: AtomicU64,
    /// Held while a bucket is looked up, so that many calls at once ask once.
    opening: Mutex<()>,
    turns: Turns,
    listings: Arc<Listings>,
}

/// How a bucket comes to be that is missing.
#[derive(Debug, Clone, Copy)]
pub(crate) struct New {
    /// Whether it does.
    pub(crate) create: bool,
    /// After which time its keys go.
    pub(crate) lifetime: Option<Duration>,
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
    #[error(transparent)]
    Nats(#[from] OpenBucketError),
}

impl Cluster {
    /// Uses the connection of the lattice, or makes one.
    pub(crate) async fn connect(
        settings: &BackendSettings,
        session: &Session,
    ) -> Result<Self, NatsError> {
        let nats = NatsBackend::open(settings, session).await?;
        Ok(Self {
            opened_on: AtomicU64::new(nats.connections()),
            nats,
            open: RwLock::default(),
            opening: Mutex::default(),
            turns: Turns::default(),
            listings: Arc::default(),
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

    /// Which NATS it is, as its server says.
    pub(crate) fn system(&self) -> NatsSystem {
        self.nats.system()
    }

    /// The longest message that the server takes.
    pub(crate) fn largest_message(&self) -> usize {
        self.nats.largest_message()
    }

    /// How often the connection was made.
    pub(crate) fn connections(&self) -> u64 {
        self.nats.connections()
    }

    /// Requests made without a connection would wait for a new one until they time out.
    fn check_connection(&self) -> Result<(), OpenError> {
        if !self.nats.is_connected() {
            return Err(OpenError::Disconnected);
        }
        let connection = self.nats.connections();
        if self.opened_on.swap(connection, Ordering::Relaxed) != connection {
            self.open.write().clear();
        }
        Ok(())
    }

    async fn look_up(&self, name: &str, new: New) -> Result<Arc<Bucket>, OpenError> {
        if !is_bucket_name(name) {
            return Err(OpenError::Missing(name.to_owned()));
        }
        let store = self.open(name, new).await?;
        let bucket = Arc::new(Bucket::new(store, Arc::clone(&self.listings)));
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
        let jetstream = self.nats.jetstream();
        match find_bucket(jetstream, name).await? {
            Some(found) => return Ok(found),
            None if !new.create => return Err(OpenError::Missing(name.to_owned())),
            None => {}
        }
        let bucket = NewBucket {
            name: name.to_owned(),
            max_age: new.lifetime.unwrap_or_default(),
            ..NewBucket::default()
        };
        let opened = open_bucket(jetstream, bucket).await?;
        if new.lifetime.is_some() {
            markers::ask_for(jetstream, name).await;
        }
        Ok(opened)
    }

    /// Whether NATS tells of keys of a bucket whose time is over.
    pub(crate) async fn tells_of_expiry(&self, name: &str) -> bool {
        markers::are_made(self.nats.jetstream(), name).await
    }

    /// Looks a bucket up again before its next use: it may have been deleted.
    pub(crate) fn forget(&self, name: &str) {
        self.open.write().remove(name);
    }

    /// Lets go of what listings have read that nobody goes on with.
    pub(crate) fn sweep_listings(&self) {
        self.listings.sweep();
    }

    /// Waits until no other increment of the key is under way in this process.
    pub(crate) async fn turn(&self, bucket: &str, key: &str) -> MutexGuard<'_, ()> {
        self.turns.take(bucket, key).await
    }
}
