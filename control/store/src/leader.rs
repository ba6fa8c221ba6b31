//! What the leader of a bucket says of a key.
//!
//! Any server with a copy answers a read, and one that is behind knows nothing yet of what was written
//! a moment ago. So whoever finds that a record is missing asks the leader, where there are copies at all.

use async_nats::jetstream::kv::{self, Entry, Operation};
use async_nats::jetstream::message::StreamMessage;
use async_nats::jetstream::stream::LastRawMessageErrorKind;
use bytes::Bytes;
use tokio::time::timeout;

use crate::bucket::Bucket;
use crate::error::StoreError;
use crate::raw_watch::operation;

/// What there is of a key.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Present {
    /// 0 when the key was never there: a deletion has a revision too.
    pub(crate) revision: u64,
    /// `None` when it is not there, or was deleted.
    pub(crate) value: Option<Bytes>,
}

impl From<Option<Entry>> for Present {
    fn from(entry: Option<Entry>) -> Self {
        entry.map_or_else(Self::default, |entry| Self {
            revision: entry.revision,
            value: (entry.operation == Operation::Put).then_some(entry.value),
        })
    }
}

impl Bucket {
    /// Whether there are several copies: then a read may be behind. It is what was so when the bucket was
    /// opened, or when a watch checked it last.
    pub(crate) async fn has_copies(&self) -> Result<bool, StoreError> {
        let store = self.handle().await?;
        Ok(store.stream.cached_info().config.num_replicas > 1)
    }

    /// What there is of a key for sure: where there are copies, the leader says so.
    pub(crate) async fn sure(&self, key: &str) -> Result<Present, StoreError> {
        match self.has_copies().await? {
            true => self.leading(key).await,
            false => Ok(self.entry(key).await?.into()),
        }
    }

    /// What there is of a key, as the leader knows it.
    pub(crate) async fn leading(&self, key: &str) -> Result<Present, StoreError> {
        let store = self.handle().await?;
        let subject = format!("{}{key}", store.prefix);
        let message = self.last_message(&store, &subject, key).await?;
        Ok(message.map_or_else(Present::default, |message| {
            let is_put = operation(Some(&message.headers)) == Operation::Put;
            Present {
                revision: message.sequence,
                value: is_put.then_some(message.payload),
            }
        }))
    }

    /// The newest revision that the leader still has of what fits a subject; 0 where there is nothing.
    pub(crate) async fn newest(&self, store: &kv::Store, subject: &str) -> Result<u64, StoreError> {
        let message = self.last_message(store, subject, subject).await?;
        Ok(message.map_or(0, |message| message.sequence))
    }

    /// The last message that fits a subject, as the leader has it. Errors tell of `key`.
    async fn last_message(
        &self,
        store: &kv::Store,
        subject: &str,
        key: &str,
    ) -> Result<Option<StreamMessage>, StoreError> {
        let last = store.stream.get_last_raw_message_by_subject(subject);
        match timeout(self.limits().request, last).await {
            Err(_) => Err(self.timed_out()),
            Ok(Ok(message)) => Ok(Some(message)),
            Ok(Err(error)) if error.kind() == LastRawMessageErrorKind::NoMessageFound => Ok(None),
            Ok(Err(error)) => Err(StoreError::Read {
                bucket: self.name().to_owned(),
                key: key.to_owned(),
                source: error.into(),
            }),
        }
    }
}
