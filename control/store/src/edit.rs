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
            Ok(true) => Attempt::Done(result),
            Ok(false) => Attempt::Overtaken,
            Err(error) => Attempt::Failed(error),
        })
    }

    /// Writes when `revision` is still the last one; false when it is not.
    async fn write_at(&self, key: &str, value: Bytes, revision: u64) -> Result<bool, StoreError> {
        let store = self.handle().await?;
        match timeout(self.limits().request, store.update(key, value, revision)).await {
            Err(_) => Err(self.timed_out()),
            Ok(Ok(_)) => Ok(true),
            Ok(Err(error)) if error.kind() == UpdateErrorKind::WrongLastRevision => Ok(false),
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
