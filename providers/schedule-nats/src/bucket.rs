//! The bucket of the jobs.

use std::collections::BTreeMap;
use std::time::Duration;

use async_nats::jetstream::consumer::push::OrderedConfig;
use async_nats::jetstream::consumer::{DeliverPolicy, OrderedPushConsumer, ReplayPolicy};
use async_nats::jetstream::kv;
use bytes::Bytes;
use futures::StreamExt as _;
use lattice_nats::{NewBucket, OpenBucketError};
use lattice_provider_sdk::nats::ledger::{Change, LedgerError, Revision, Stored};
use lattice_provider_sdk::nats::{Ledger, NatsBackend, NatsError};
use lattice_provider_sdk::{BoxError, Session};
use tokio::time::Instant;

use crate::settings::JobStoreSettings;

/// The header that tells a deletion from a value.
const OPERATION: &str = "KV-Operation";
/// How long a listing may take.
const LISTING: Duration = Duration::from_secs(4);
/// How long the next message of a listing may take, besides what the line takes.
const NEXT: Duration = Duration::from_millis(250);

/// Why the bucket cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenError {
    /// No connection.
    #[error(transparent)]
    Nats(#[from] NatsError),
    /// No bucket.
    #[error(transparent)]
    Bucket(#[from] OpenBucketError),
}

/// Why the bucket did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BucketError {
    /// What every bucket may say.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// A job could not be taken away.
    #[error("could not delete the job")]
    Purge(#[source] BoxError),
    /// The jobs could not be listed.
    #[error("could not list the jobs")]
    List(#[source] BoxError),
}

/// One bucket.
#[derive(Debug)]
pub(crate) struct Bucket {
    ledger: Ledger,
}

impl Bucket {
    /// Connects, and opens or creates the bucket.
    pub(crate) async fn open(
        settings: &JobStoreSettings,
        session: &Session,
    ) -> Result<Self, OpenError> {
        let nats = NatsBackend::open(&settings.nats, session).await?;
        let new = NewBucket {
            name: settings.bucket.clone(),
            replicas: settings.replicas,
            ..NewBucket::default()
        };
        let ledger = Ledger::open(nats, new).await?;
        Ok(Self { ledger })
    }

    /// What is known of it, and its changes.
    pub(crate) fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Reads a key.
    pub(crate) async fn read(&self, key: &str) -> Result<Stored, BucketError> {
        Ok(self.ledger.read(key).await?)
    }

    /// Writes a key that has not changed since it was read; gives its new revision.
    pub(crate) async fn write(
        &self,
        key: &str,
        value: Bytes,
        read: Revision,
    ) -> Result<Change<Revision>, BucketError> {
        Ok(self.ledger.write(key, value, read).await?)
    }

    /// Deletes a key that has not changed since it was read, and what the deletion leaves behind: a
    /// component may put a job of a new name for every single time. What is gone was written before the
    /// revision that this gives; whatever the key has got since is later.
    ///
    /// The value goes first: a server that is killed would find it again in its files if only the
    /// mark that stands in its place were taken away.
    pub(crate) async fn delete(
        &self,
        key: &str,
        read: Revision,
    ) -> Result<Change<Revision>, BucketError> {
        if self.purge(key, read).await? == 0 {
            return Ok(Change::Outdone);
        }
        let after = next(read);
        let blank = Revision { number: 0, ..read };
        // Tells the other copies, unless the job has been put anew, which tells them more.
        if let Change::Outdone = self.ledger.delete(key, blank).await? {
            return Ok(Change::Done(after));
        }
        let marker = self.read(key).await?;
        if marker.value.is_none() && marker.revision.number > 0 {
            // Up to the mark, so that a job that was put since is not touched.
            if let Err(error) = self.purge(key, marker.revision).await {
                tracing::debug!(%error, "the mark of a deleted job stays");
            }
        }
        Ok(Change::Done(after))
    }

    /// Takes away what a key was up to a revision; gives the number of changes. Of a bucket that was
    /// made since it takes nothing.
    async fn purge(&self, key: &str, last: Revision) -> Result<u64, BucketError> {
        let (store, blank) = self.ledger.store().await?;
        if blank.making != last.making {
            return Ok(0);
        }
        let subject = format!("{}{key}", store.prefix);
        let purge = store.stream.purge().filter(subject);
        let purged = purge.sequence(next(last).number).await;
        let purged = purged.map_err(|error| BucketError::Purge(error.into()))?;
        Ok(purged.purged)
    }

    /// The values of all keys with a prefix, as the leader of the stream knows them now.
    pub(crate) async fn list(&self, prefix: &str) -> Result<Vec<Bytes>, BucketError> {
        let (store, _) = self.ledger.store().await?;
        let all = async {
            loop {
                let listed = self.list_all(&store, prefix).await;
                if let Some(values) = listed.map_err(BucketError::List)? {
                    return Ok(values);
                }
            }
        };
        let listed = tokio::time::timeout(LISTING, all).await;
        listed.unwrap_or_else(|_| Err(BucketError::List("it took too long".into())))
    }

    /// Reads the last message of each key; `None` when the rest does not come, since it was deleted
    /// meanwhile.
    async fn list_all(
        &self,
        store: &kv::Store,
        prefix: &str,
    ) -> Result<Option<Vec<Bytes>>, BoxError> {
        let config = OrderedConfig {
            deliver_subject: self.ledger.nats().inbox(),
            description: Some("a list of jobs".to_owned()),
            filter_subject: format!("{}{prefix}>", store.prefix),
            replay_policy: ReplayPolicy::Instant,
            deliver_policy: DeliverPolicy::LastPerSubject,
            ..OrderedConfig::default()
        };
        let asked = Instant::now();
        let consumer = store.stream.create_consumer(config).await?;
        // The server hears only from now on where they go, so that the first takes as long as this did.
        let wait = NEXT + 2 * asked.elapsed();
        let info = consumer.cached_info();
        let (name, count) = (info.name.clone(), usize::try_from(info.num_pending)?);
        let listed = take(consumer, count, wait).await;
        // The server would keep it for a while, and has a limit.
        if let Err(error) = store.stream.delete_consumer(&name).await {
            tracing::debug!(%error, "what listed the jobs goes by itself");
        }
        listed
    }
}

/// The revision after one.
pub(crate) fn next(revision: Revision) -> Revision {
    Revision {
        number: revision.number.saturating_add(1),
        ..revision
    }
}

/// The values that `consumer` hands over, `count` and what is written meanwhile. It waits `wait` for each of
/// the former.
async fn take(
    consumer: OrderedPushConsumer,
    count: usize,
    wait: Duration,
) -> Result<Option<Vec<Bytes>>, BoxError> {
    if count == 0 {
        return Ok(Some(Vec::new()));
    }
    let mut messages = consumer.messages().await?;
    // By subject: a 2.9 server may send what is being written twice, and count it as one that
    // is still to come.
    let mut values = BTreeMap::new();
    loop {
        let limit = if values.len() < count { wait } else { NEXT };
        let message = match tokio::time::timeout(limit, messages.next()).await {
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

#[cfg(test)]
mod tests {
    use super::*;

    use lattice_nats_box::{Middleman, NatsBox};

    async fn bucket(client: async_nats::Client) -> Bucket {
        let new = NewBucket {
            name: "jobs".to_owned(),
            ..NewBucket::default()
        };
        let ledger = Ledger::open(NatsBackend::on(client, None), new).await;
        Bucket {
            ledger: ledger.unwrap(),
        }
    }

    #[tokio::test]
    async fn jobs_are_listed_over_a_slow_line() {
        let nats = NatsBox::start().await.unwrap();
        let line = Middleman::before(nats.port).await.unwrap();
        let client = async_nats::connect(line.instead_of(&nats.url)).await;
        let bucket = bucket(client.unwrap()).await;
        for key in ["a", "b"] {
            let blank = bucket.ledger().blank();
            bucket.write(key, "x".into(), blank).await.unwrap();
        }
        line.delay(Duration::from_millis(200));
        assert_eq!(bucket.list("").await.unwrap(), ["x", "x"]);
    }

    #[tokio::test]
    async fn a_deletion_tells_up_to_where_it_went() {
        let nats = NatsBox::start().await.unwrap();
        let bucket = bucket(nats.client().await.unwrap()).await;
        let write = async |read| match bucket.write("a", "x".into(), read).await.unwrap() {
            Change::Done(revision) => revision,
            Change::Outdone => panic!("nobody else writes"),
        };
        let old = write(bucket.ledger().blank()).await;
        let Change::Done(after) = bucket.delete("a", old).await.unwrap() else {
            panic!("nobody has changed it");
        };
        let anew = write(bucket.read("a").await.unwrap().revision).await;
        assert!(old < after && after <= anew, "{old:?}, {after:?}, {anew:?}");
    }
}
