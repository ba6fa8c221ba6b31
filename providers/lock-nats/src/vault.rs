//! One bucket of locks, and the watch over it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use lattice_nats::{NewBucket, OpenBucketError};
use lattice_provider_sdk::lock::{LocalQueue, LockError};
use lattice_provider_sdk::nats::ledger::{Change, LedgerError, Revision, Seen, Stored};
use lattice_provider_sdk::nats::{Ledger, NatsBackend, NatsError};
use lattice_provider_sdk::{Session, chain};
use tokio_util::task::AbortOnDropHandle;

use crate::clearing;
use crate::fences::Fences;
use crate::settings::VaultSettings;
use crate::sightings::{Sighting, Sightings};

/// How long a bucket that is created keeps what nobody touches.
const KEPT: Duration = Duration::from_secs(24 * 3600);

/// Why a bucket cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenError {
    /// No connection.
    #[error(transparent)]
    Nats(#[from] NatsError),
    /// No bucket.
    #[error(transparent)]
    Bucket(#[from] OpenBucketError),
}

/// One bucket.
#[derive(Debug)]
pub(crate) struct Vault {
    ledger: Arc<Ledger>,
    pub(crate) sightings: Arc<Sightings>,
    pub(crate) fences: Arc<Fences>,
    pub(crate) local_queue: Arc<LocalQueue>,
    _tasks: [AbortOnDropHandle<()>; 2],
}

impl Vault {
    /// Connects, and opens or creates the bucket.
    pub(crate) async fn open(
        settings: &VaultSettings,
        session: &Session,
    ) -> Result<Self, OpenError> {
        let nats = NatsBackend::open(&settings.nats, session).await?;
        let new = NewBucket {
            name: settings.bucket.clone(),
            replicas: settings.replicas,
            max_age: KEPT,
            ..NewBucket::default()
        };
        let ledger = Arc::new(Ledger::open(nats, new).await?);
        let sightings = Arc::new(Sightings::default());
        let fences = Arc::new(Fences::default());
        let local_queue = Arc::new(LocalQueue::new());
        let watch = watch(
            Arc::clone(&ledger),
            Arc::clone(&sightings),
            Arc::clone(&fences),
            Arc::clone(&local_queue),
        );
        let clear = clearing::clear(
            Arc::clone(&ledger),
            Arc::clone(&sightings),
            Arc::clone(&fences),
        );
        let tasks = [tokio::spawn(watch), tokio::spawn(clear)];
        Ok(Self {
            ledger,
            sightings,
            fences,
            local_queue,
            _tasks: tasks.map(AbortOnDropHandle::new),
        })
    }

    /// How long the bucket keeps what nobody touches; zero is for ever.
    pub(crate) fn keeps(&self) -> Duration {
        self.ledger.keeps()
    }

    pub(crate) fn bucket(&self) -> &str {
        self.ledger.bucket()
    }

    /// Which connection to NATS there is: the how many-th.
    pub(crate) fn connection(&self) -> u64 {
        self.ledger.nats().connections()
    }

    /// What a key was when it was last seen, if that was on the connection that there is. On another
    /// its revision may be that of another change, where NATS has lost some.
    pub(crate) fn known(&self, key: &str) -> Option<Sighting> {
        let known = self.sightings.of(key)?;
        (known.connection == self.connection()).then_some(known)
    }

    /// Reads a key. The watch may not have told yet which fence another copy has written there.
    pub(crate) async fn read(&self, key: &str) -> Result<Stored, LockError> {
        let stored = self.ledger.read(key).await.map_err(unavailable)?;
        if let Some(value) = &stored.value {
            self.fences.saw(stored.revision, value);
        }
        Ok(stored)
    }

    /// Writes a key that has not changed since it was read; gives its new revision.
    pub(crate) async fn write(
        &self,
        key: &str,
        value: Bytes,
        read: Revision,
    ) -> Result<Change<Revision>, LockError> {
        let connection = self.connection();
        let written = self.ledger.write(key, value.clone(), read).await;
        let written = written.map_err(unavailable)?;
        if let Change::Done(revision) = written {
            self.sightings.see(key, revision, &value, connection);
            self.fences.saw(revision, &value);
        }
        Ok(written)
    }

    /// Deletes a key that has not changed since it was read.
    pub(crate) async fn delete(&self, key: &str, read: Revision) -> Result<Change<()>, LockError> {
        let connection = self.connection();
        let deleted = self.ledger.delete(key, read).await.map_err(unavailable)?;
        Ok(match deleted {
            Change::Done(revision) => {
                self.sightings.gone(key, revision, connection);
                Change::Done(())
            }
            Change::Outdone => Change::Outdone,
        })
    }

    /// The revision at which a lock can be taken without reading it first, as far as is known here.
    /// A write at it is refused when it is not so.
    pub(crate) fn free_at(&self, key: &str) -> Option<Revision> {
        let blank = self.ledger.blank();
        self.sightings.free_at(key, blank, self.connection())
    }

    /// Looks whether the bucket is there, and makes it again if not.
    pub(crate) async fn check(&self) -> Result<(), LedgerError> {
        self.ledger.check().await
    }
}

fn unavailable(error: LedgerError) -> LockError {
    LockError::unavailable(chain(&error))
}

/// Takes in every change of every lock, for as long as the bucket is in use.
async fn watch(
    ledger: Arc<Ledger>,
    sightings: Arc<Sightings>,
    fences: Arc<Fences>,
    local_queue: Arc<LocalQueue>,
) {
    let tell = |seen| match seen {
        Seen::Put(key, revision, value) => {
            sightings.see(&key, revision, &value, ledger.nats().connections());
            fences.saw(revision, &value);
        }
        Seen::Gone(key, revision) => {
            sightings.gone(&key, Some(revision), ledger.nats().connections());
            fences.saw(revision, &Bytes::new());
            local_queue.wakeups().ring(&key);
        }
        // What has changed meanwhile was missed.
        Seen::Missed | Seen::Lost(_) => local_queue.wakeups().ring_all(),
    };
    match ledger.follow(tell).await {}
}

#[cfg(test)]
mod tests {
    use super::*;

    use lattice_nats_box::NatsBox;

    /// What another copy writes that has counted on.
    const COUNTED_ON: &str =
        r#"{"owner":"a","secret":"b","ttl_ms":60000,"fence":9000000000000000000}"#;

    /// A bucket of which nothing is heard.
    async fn unwatched(nats: &NatsBox) -> Vault {
        let backend = NatsBackend::on(nats.client().await.unwrap(), None);
        let new = NewBucket {
            name: "locks".to_owned(),
            ..NewBucket::default()
        };
        let nothing = || AbortOnDropHandle::new(tokio::spawn(async {}));
        Vault {
            ledger: Arc::new(Ledger::open(backend, new).await.unwrap()),
            sightings: Arc::default(),
            fences: Arc::default(),
            local_queue: Arc::new(LocalQueue::new()),
            _tasks: [nothing(), nothing()],
        }
    }

    #[tokio::test]
    async fn a_fence_that_is_read_is_counted_on_from_before_the_watch_tells_of_it() {
        let nats = NatsBox::start().await.unwrap();
        let vault = unwatched(&nats).await;
        let ledger = &vault.ledger;
        let written = ledger.write("s.a", COUNTED_ON.into(), ledger.blank()).await;
        assert!(matches!(written.unwrap(), Change::Done(_)));
        vault.read("s.a").await.unwrap();
        assert_eq!(vault.fences.highest(), 9_000_000_000_000_000_000);
    }
}
