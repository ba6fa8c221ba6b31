//! A bucket whose keys are changed by comparison of revisions, and that is made again when NATS has
//! lost it.
//!
//! A NATS that comes back with an empty store counts revisions from 1 again. So a [`Revision`] here
//! says of which making of the bucket it is, and one of an earlier making is never taken for one of
//! a later. The ledger asks NATS which making there is whenever the connection was made again, when
//! something failed, and in [`Ledger::check`]. Should it be the same without its last changes, a watch
//! begins again: one that goes on from where it was does not hear of numbers that come again.

#[cfg(test)]
mod tests;

use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_nats::header::NATS_EXPECTED_LAST_SUBJECT_SEQUENCE;
use async_nats::jetstream::context::{PublishError, PublishErrorKind};
use async_nats::jetstream::kv::{self, Operation, UpdateErrorKind};
use async_nats::jetstream::stream::{Info, LastRawMessageErrorKind};
use async_nats::{HeaderMap, HeaderValue};
use bytes::Bytes;
use futures::StreamExt as _;
use lattice_nats::{NewBucket, OpenBucketError, open_bucket};
use tokio::sync::{Mutex, watch};

use super::NatsBackend;
use crate::Backoff;
use crate::error::BoxError;

/// The pauses before a watch that was lost is begun again.
const PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// The header that tells a deletion from a value.
const OPERATION: &str = "KV-Operation";
/// Its value in a deletion.
const DELETION: &str = "DEL";
/// The header of what the server itself wrote in place of a value that is gone.
const MARKER: &str = "Nats-Marker-Reason";
/// No number of connections: NATS is asked before the next use.
const UNKNOWN: u64 = u64::MAX;

/// Why the bucket did not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LedgerError {
    /// The connection is lost at the moment.
    #[error("there is no connection to NATS at the moment")]
    Disconnected,
    /// The bucket cannot be opened, or was lost and cannot be made again.
    #[error(transparent)]
    Open(#[from] OpenBucketError),
    /// NATS lost the bucket while it was being changed, and what became of the change with it.
    #[error("the bucket `{0}` was lost meanwhile and is made again")]
    Lost(String),
    /// NATS refused or did not answer.
    #[error("could not {what} the bucket `{bucket}`")]
    Nats {
        /// What was tried.
        what: &'static str,
        /// The bucket.
        bucket: String,
        /// Why it failed.
        source: BoxError,
    },
}

/// Which change of a bucket it was. Later ones are greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Revision {
    /// The how many-th making of the bucket this process has seen.
    pub making: u64,
    /// When the bucket was made by the clock of NATS, in microseconds since 1970.
    pub made: u64,
    /// The number of the change; 0 is that of a key that nobody has ever written.
    pub number: u64,
}

/// What a key is.
#[derive(Debug)]
pub struct Stored {
    /// Its last revision.
    pub revision: Revision,
    /// Its value, if it was not deleted.
    pub value: Option<Bytes>,
}

/// A change that others may have prevented.
#[derive(Debug)]
pub enum Change<T> {
    /// It is done.
    Done(T),
    /// The key has changed since it was read.
    Outdone,
}

/// What a watch over a bucket tells.
#[derive(Debug)]
pub enum Seen {
    /// A key was written.
    Put(String, Revision, Bytes),
    /// A key is gone.
    Gone(String, Revision),
    /// Changes may have been missed. All that is there is told again, but not what went.
    Missed,
    /// NATS has lost the bucket, and all that was there with it.
    Lost(Revision),
}

/// The bucket as it was made once.
#[derive(Debug)]
struct Making {
    store: kv::Store,
    /// That of a key that nobody has written since.
    blank: Revision,
    /// The highest number that a watch has told of.
    told: AtomicU64,
}

impl Making {
    fn new(store: kv::Store, making: u64) -> Self {
        let blank = Revision {
            making,
            made: created(store.stream.cached_info()),
            number: 0,
        };
        let told = AtomicU64::new(0);
        Self { store, blank, told }
    }

    fn revision(&self, number: u64) -> Revision {
        Revision {
            number,
            ..self.blank
        }
    }
}

/// A bucket on the NATS of a link.
pub struct Ledger {
    nats: NatsBackend,
    new: NewBucket,
    making: watch::Sender<Arc<Making>>,
    /// The connection on which the bucket was last looked at.
    looked: AtomicU64,
    /// Held while NATS is asked, so that many calls at once ask once.
    looking: Mutex<()>,
}

impl fmt::Debug for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ledger")
            .field("bucket", &self.new.name)
            .finish_non_exhaustive()
    }
}

impl Ledger {
    /// Opens a bucket, or makes it.
    ///
    /// # Errors
    ///
    /// [`OpenBucketError`] when NATS refuses or does not answer.
    pub async fn open(nats: NatsBackend, new: NewBucket) -> Result<Self, OpenBucketError> {
        let connection = nats.connections();
        let store = open_bucket(nats.jetstream(), new.clone()).await?;
        Ok(Self {
            nats,
            new,
            making: watch::Sender::new(Arc::new(Making::new(store, 1))),
            looked: AtomicU64::new(connection),
            looking: Mutex::default(),
        })
    }

    /// The NATS it is on.
    #[must_use]
    pub fn nats(&self) -> &NatsBackend {
        &self.nats
    }

    /// What the bucket is called.
    #[must_use]
    pub fn bucket(&self) -> &str {
        &self.new.name
    }

    /// How long the bucket keeps what nobody touches; zero is for ever.
    #[must_use]
    pub fn keeps(&self) -> Duration {
        let making = self.making.borrow();
        making.store.stream.cached_info().config.max_age
    }

    /// How many servers keep a copy of it.
    #[must_use]
    pub fn copies(&self) -> usize {
        let making = self.making.borrow();
        making.store.stream.cached_info().config.num_replicas
    }

    /// The bucket as it is now, made again if NATS has lost it, with the revision of keys that were
    /// not written since it was made.
    ///
    /// # Errors
    ///
    /// [`LedgerError`] when it cannot be used now.
    pub async fn store(&self) -> Result<(kv::Store, Revision), LedgerError> {
        let making = self.sure().await?;
        Ok((making.store.clone(), making.blank))
    }

    /// Asks NATS which bucket there is, if that is not known since the connection was made or something
    /// failed. What is done next is then one request only.
    ///
    /// # Errors
    ///
    /// [`LedgerError`] when it cannot be used now.
    pub async fn ready(&self) -> Result<(), LedgerError> {
        self.sure().await.map(drop)
    }

    /// The revision of keys that were not written since the bucket was made, as far as is known.
    #[must_use]
    pub fn blank(&self) -> Revision {
        self.making.borrow().blank
    }

    /// Looks whether the bucket is there, and makes it again if not.
    ///
    /// # Errors
    ///
    /// [`LedgerError`] when it cannot be used now.
    pub async fn check(&self) -> Result<(), LedgerError> {
        let making = self.sure().await?;
        // Calls go on meanwhile; only what is found makes them look too.
        match making.store.stream.get_info().await {
            Ok(info) if created(&info) == making.blank.made => Ok(()),
            _ => {
                self.looked.store(UNKNOWN, Ordering::Relaxed);
                self.sure().await.map(drop)
            }
        }
    }

    /// Reads a key from the leader of the stream: others may lag behind.
    ///
    /// # Errors
    ///
    /// [`LedgerError`] when there is no answer.
    pub async fn read(&self, key: &str) -> Result<Stored, LedgerError> {
        let making = self.sure().await?;
        let subject = format!("{}{key}", making.store.prefix);
        let stream = &making.store.stream;
        match stream.get_last_raw_message_by_subject(&subject).await {
            Ok(message) => {
                let headers = &message.headers;
                let is_marker = headers.get(OPERATION).is_some() || headers.get(MARKER).is_some();
                Ok(Stored {
                    revision: making.revision(message.sequence),
                    value: (!is_marker).then_some(message.payload),
                })
            }
            Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => Ok(Stored {
                revision: making.blank,
                value: None,
            }),
            Err(error) => Err(self.doubt("read", error)),
        }
    }

    /// Writes a key that has not changed since it was read; gives its new revision.
    ///
    /// # Errors
    ///
    /// [`LedgerError`] when there is no answer, after which it may have been written or not.
    pub async fn write(
        &self,
        key: &str,
        value: Bytes,
        read: Revision,
    ) -> Result<Change<Revision>, LedgerError> {
        let making = self.sure().await?;
        if making.blank.making != read.making {
            return Ok(Change::Outdone);
        }
        match making.store.update(key, value, read.number).await {
            Ok(number) => {
                self.still(&making).await?;
                Ok(Change::Done(making.revision(number)))
            }
            Err(error) if error.kind() == UpdateErrorKind::WrongLastRevision => Ok(Change::Outdone),
            Err(error) => Err(self.doubt("write to", error)),
        }
    }

    /// Deletes a key that has not changed since it was read; gives the revision of the deletion,
    /// where it is known.
    ///
    /// # Errors
    ///
    /// [`LedgerError`] when there is no answer, after which it may have been deleted or not.
    pub async fn delete(
        &self,
        key: &str,
        read: Revision,
    ) -> Result<Change<Option<Revision>>, LedgerError> {
        let making = self.sure().await?;
        if making.blank.making != read.making {
            return Ok(Change::Outdone);
        }
        if making.store.use_jetstream_prefix || making.store.put_prefix.is_some() {
            // A bucket elsewhere, whose subjects the client knows.
            return self.delete_elsewhere(&making, key, read).await;
        }
        match self.mark_deleted(&making, key, read).await {
            Ok(number) => {
                self.still(&making).await?;
                Ok(Change::Done(Some(making.revision(number))))
            }
            Err(error) if error.kind() == PublishErrorKind::WrongLastSequence => {
                Ok(Change::Outdone)
            }
            Err(error) => Err(self.doubt("delete from", error)),
        }
    }

    async fn delete_elsewhere(
        &self,
        making: &Making,
        key: &str,
        read: Revision,
    ) -> Result<Change<Option<Revision>>, LedgerError> {
        let deleted = making.store.delete_expect_revision(key, Some(read.number));
        match deleted.await {
            Ok(()) => Ok(Change::Done(None)),
            Err(error) if error.kind() == UpdateErrorKind::WrongLastRevision => Ok(Change::Outdone),
            Err(error) => Err(self.doubt("delete from", error)),
        }
    }

    /// Deletes as the client does, which does not tell the number of the deletion.
    async fn mark_deleted(
        &self,
        making: &Making,
        key: &str,
        read: Revision,
    ) -> Result<u64, PublishError> {
        let mut headers = HeaderMap::new();
        headers.insert(OPERATION, DELETION);
        headers.insert(
            NATS_EXPECTED_LAST_SUBJECT_SEQUENCE,
            HeaderValue::from(read.number),
        );
        let subject = format!("{}{key}", making.store.prefix);
        let jetstream = self.nats.jetstream();
        let sent = jetstream.publish_with_headers(subject, headers, Bytes::new());
        Ok(sent.await?.await?.sequence)
    }

    /// Tells all that is in the bucket and every change from then on, for as long as it is polled.
    pub async fn follow(&self, mut tell: impl FnMut(Seen)) -> Infallible {
        let mut makings = self.making.subscribe();
        let mut backoff = Backoff::new(PAUSE, LONGEST_PAUSE);
        let mut last = Arc::clone(&makings.borrow_and_update());
        loop {
            let making = Arc::clone(&makings.borrow_and_update());
            if making.blank.making != last.blank.making {
                tell(Seen::Lost(making.blank));
                backoff = Backoff::new(PAUSE, LONGEST_PAUSE);
            } else if !Arc::ptr_eq(&making, &last) {
                tell(Seen::Missed);
            }
            last = Arc::clone(&making);
            tokio::select! {
                // A watch of the client over a bucket that is lost, or its last changes, waits for
                // revisions that are reached much later, if ever.
                _ = makings.changed() => {}
                () = changes(&making, &mut tell, &mut backoff) => {
                    tell(Seen::Missed);
                    tokio::time::sleep(backoff.delay()).await;
                }
            }
        }
    }

    /// The bucket as it is made now. Requests without a connection would wait until they are given
    /// up.
    async fn sure(&self) -> Result<Arc<Making>, LedgerError> {
        if !self.nats.is_connected() {
            return Err(LedgerError::Disconnected);
        }
        if self.looked.load(Ordering::Relaxed) == self.nats.connections() {
            return Ok(Arc::clone(&self.making.borrow()));
        }
        let _one_at_a_time = self.looking.lock().await;
        let connection = self.nats.connections();
        let known = Arc::clone(&self.making.borrow());
        if self.looked.load(Ordering::Relaxed) == connection {
            return Ok(known);
        }
        // Before NATS is asked: changes go on meanwhile.
        let told = known.told.load(Ordering::Relaxed);
        let store = open_bucket(self.nats.jetstream(), self.new.clone()).await?;
        let now = self.take_in(known, told, store);
        self.looked.store(connection, Ordering::Relaxed);
        Ok(now)
    }

    /// Takes in the bucket as NATS has it now, of which a watch had told up to `told`.
    fn take_in(&self, known: Arc<Making>, told: u64, store: kv::Store) -> Arc<Making> {
        let (bucket, making) = (self.bucket(), known.blank.making);
        let info = store.stream.cached_info();
        let is_same = created(info) == known.blank.made;
        let is_whole = info.state.last_sequence >= told;
        let making = match (is_same, is_whole) {
            (true, true) => return known,
            (true, false) => {
                tracing::warn!(bucket, "NATS has lost the last changes of a bucket");
                making
            }
            (false, _) => {
                tracing::warn!(bucket, "NATS has lost a bucket, it is made again");
                making + 1
            }
        };
        let now = Arc::new(Making::new(store, making));
        self.making.send_replace(Arc::clone(&now));
        now
    }

    /// Whether the bucket was not lost since: whose change was it otherwise?
    async fn still(&self, making: &Making) -> Result<(), LedgerError> {
        match self.sure().await?.blank == making.blank {
            true => Ok(()),
            false => Err(LedgerError::Lost(self.bucket().to_owned())),
        }
    }

    fn doubt(&self, what: &'static str, source: impl Into<BoxError>) -> LedgerError {
        self.looked.store(UNKNOWN, Ordering::Relaxed);
        LedgerError::Nats {
            what,
            bucket: self.bucket().to_owned(),
            source: source.into(),
        }
    }
}

/// When a stream was made, in microseconds since 1970.
fn created(info: &Info) -> u64 {
    let nanos = info.created.unix_timestamp_nanos();
    u64::try_from(nanos / 1000).unwrap_or_default()
}

/// Tells changes until the watch is lost.
async fn changes(making: &Making, tell: &mut impl FnMut(Seen), backoff: &mut Backoff) {
    let mut changes = match making.store.watch_with_history(">").await {
        Ok(changes) => changes,
        Err(error) => return tracing::debug!(%error, "could not watch a bucket"),
    };
    *backoff = Backoff::new(PAUSE, LONGEST_PAUSE);
    while let Some(Ok(entry)) = changes.next().await {
        making.told.fetch_max(entry.revision, Ordering::Relaxed);
        let revision = making.revision(entry.revision);
        tell(match entry.operation {
            Operation::Put => Seen::Put(entry.key, revision, entry.value),
            _ => Seen::Gone(entry.key, revision),
        });
    }
    tracing::debug!(bucket = making.store.name, "lost the watch over a bucket");
}
