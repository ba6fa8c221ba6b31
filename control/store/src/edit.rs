//! Changing a record on the condition that nobody else did meanwhile.

use async_nats::jetstream::kv::{Entry, Operation, UpdateErrorKind};
use bytes::Bytes;
use tokio::time::{Instant, timeout};

use crate::bucket::{Bucket, write_backoff};
use crate::error::StoreError;

/// What an editor wants to happen to a record, and what to return then.
pub(crate) enum Edit<T> {
    /// Replace it.
    Write(Bytes, T),
    /// Leave it.
    Keep(T),
}

/// What a key has after it was to be written back.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Present {
    pub(crate) revision: u64,
    /// `None` when it was deleted.
    pub(crate) value: Option<Bytes>,
}

/// How one attempt ended.
enum Attempt<T> {
    Done(T),
    /// Somebody else wrote first.
    Overtaken,
    Failed(StoreError),
}

impl Bucket {
    /// Reads a record, lets `editor` change it and writes it, provided that it is still what was
    /// read; otherwise all of that again, until the deadline for writes.
    ///
    /// `editor` may run several times and must not have effects of its own. An attempt whose
    /// acknowledgement got lost may have been carried out, so the editor has to come to the same
    /// result when it meets its own change.
    pub(crate) async fn edit<T, E: From<StoreError>>(
        &self,
        key: &str,
        mut editor: impl FnMut(Option<&[u8]>) -> Result<Edit<T>, E>,
    ) -> Result<T, E> {
        let deadline = Instant::now() + self.limits().write;
        let turn = timeout(self.limits().write, self.lane(key).acquire()).await;
        // The semaphores are never closed, so an error is a timeout.
        let Ok(Ok(_turn)) = turn else {
            return Err(self.timed_out().into());
        };
        let mut backoff = write_backoff();
        let mut attempts = 0;
        loop {
            attempts += 1;
            let error = match self.try_edit(key, &mut editor).await? {
                Attempt::Done(value) => return Ok(value),
                Attempt::Overtaken => None,
                Attempt::Failed(error) => Some(error),
            };
            let pause = backoff.pause();
            let hopeless = error.as_ref().is_some_and(|error| !self.may_pass(error));
            if hopeless || Instant::now() + pause >= deadline {
                return Err(error
                    .unwrap_or_else(|| self.contended(key, attempts))
                    .into());
            }
            if error.is_some() {
                // The bucket may have been replaced.
                self.forget();
            }
            tokio::time::sleep(pause).await;
        }
    }

    async fn try_edit<T, E: From<StoreError>>(
        &self,
        key: &str,
        editor: &mut impl FnMut(Option<&[u8]>) -> Result<Edit<T>, E>,
    ) -> Result<Attempt<T>, E> {
        let entry = match self.entry(key).await {
            Ok(entry) => entry,
            Err(error) => return Ok(Attempt::Failed(error)),
        };
        // A deletion marker has a revision too; 0 means that the key was never there.
        let revision = entry.as_ref().map_or(0, |entry| entry.revision);
        let present = entry
            .as_ref()
            .filter(|entry| entry.operation == Operation::Put);
        let (value, result) = match editor(present.map(|entry: &Entry| entry.value.as_ref()))? {
            Edit::Keep(result) => return Ok(Attempt::Done(result)),
            Edit::Write(value, result) => (value, result),
        };
        Ok(match self.write_at(key, value, revision).await {
            Ok(Some(_)) => Attempt::Done(result),
            Ok(None) => Attempt::Overtaken,
            Err(error) => Attempt::Failed(error),
        })
    }

    /// Writes a record back that was lost with its bucket, if nobody has written or deleted it in this
    /// one. Tells what is there then.
    pub(crate) async fn restore(&self, key: &str, value: Bytes) -> Result<Present, StoreError> {
        let present = self.try_restore(key, value).await;
        if present.is_err() {
            // The bucket may have been replaced once more.
            self.forget();
        }
        present
    }

    async fn try_restore(&self, key: &str, value: Bytes) -> Result<Present, StoreError> {
        // Revision 0 is that of a key that was never there: a deletion marker has another one.
        if let Some(revision) = self.write_at(key, value.clone(), 0).await? {
            let value = Some(value);
            return Ok(Present { revision, value });
        }
        let entry = self.entry(key).await?;
        let entry = entry.ok_or_else(|| self.contended(key, 1))?;
        let is_put = entry.operation == Operation::Put;
        Ok(Present {
            revision: entry.revision,
            value: is_put.then_some(entry.value),
        })
    }

    /// Writes when `revision` is still the last one, and tells the new one.
    async fn write_at(
        &self,
        key: &str,
        value: Bytes,
        revision: u64,
    ) -> Result<Option<u64>, StoreError> {
        let store = self.handle().await?;
        match timeout(self.limits().request, store.update(key, value, revision)).await {
            Err(_) => Err(self.timed_out()),
            Ok(Ok(written)) => Ok(Some(written)),
            Ok(Err(error)) if error.kind() == UpdateErrorKind::WrongLastRevision => Ok(None),
            Ok(Err(error)) => Err(self.write(key, error)),
        }
    }

    fn contended(&self, key: &str, attempts: u32) -> StoreError {
        StoreError::Contended {
            bucket: self.name().to_owned(),
            key: key.to_owned(),
            attempts,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::time::Duration;

    use lattice_nats::NewBucket;
    use lattice_nats_box::NatsBox;

    use crate::bucket::Limits;

    #[tokio::test]
    async fn what_was_written_or_deleted_since_is_not_written_back() {
        let nats = NatsBox::start().await.unwrap();
        let client = nats.client().await.unwrap();
        let js = async_nats::jetstream::new(client.clone());
        let new = NewBucket {
            name: "records".to_owned(),
            ..NewBucket::default()
        };
        let limits = Limits {
            request: Duration::from_secs(5),
            write: Duration::from_secs(20),
        };
        let bucket = Bucket::new(client, js, new, limits);
        let (old, newer) = (Bytes::from_static(b"old"), Bytes::from_static(b"newer"));
        let present = bucket.restore("lost", old.clone()).await.unwrap();
        assert_eq!(present.value, Some(old.clone()));
        bucket.put("changed", newer.clone()).await.unwrap();
        let present = bucket.restore("changed", old.clone()).await.unwrap();
        assert_eq!(present.value, Some(newer));
        bucket.put("deleted", old.clone()).await.unwrap();
        bucket.purge("deleted").await.unwrap();
        let present = bucket.restore("deleted", old).await.unwrap();
        assert_eq!(present.value, None);
        assert!(bucket.get("deleted").await.unwrap().is_none());
        assert!(bucket.get("lost").await.unwrap().is_some());
    }
}
