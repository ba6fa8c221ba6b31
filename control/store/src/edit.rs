//! Changing a record on the condition that nobody else did meanwhile.

use async_nats::jetstream::kv::UpdateErrorKind;
use bytes::Bytes;
use tokio::time::{Instant, timeout};

use crate::bucket::{Bucket, write_backoff};
use crate::error::StoreError;
use crate::leader::Present;

/// What an editor wants to happen to a record, and what to return then.
pub(crate) enum Edit<T> {
    /// Replace it.
    Write(Bytes, T),
    /// Leave it.
    Keep(T),
    /// Leave it as well, and do not ask the leader: what a server says that may be behind will do.
    KeepAsSaid(T),
}

/// How one attempt ended.
enum Attempt<T> {
    Done(T),
    /// Somebody else wrote first.
    Overtaken,
    /// With the result of a write that may have been carried out all the same.
    Failed(StoreError, Option<T>),
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
        editor: impl FnMut(Option<&[u8]>) -> Result<Edit<T>, E>,
    ) -> Result<T, E> {
        let (result, _before) = self.edit_telling_lost(key, editor).await?;
        Ok(result)
    }

    /// The same, which also gives the result of the last attempt that failed and may have been carried
    /// out.
    pub(crate) async fn edit_telling_lost<T, E: From<StoreError>>(
        &self,
        key: &str,
        mut editor: impl FnMut(Option<&[u8]>) -> Result<Edit<T>, E>,
    ) -> Result<(T, Option<T>), E> {
        self.edit_present(key, |present| editor(present.value.as_deref()))
            .await
    }

    /// The same for an editor that has to tell a record that was deleted from one that was never there.
    pub(crate) async fn edit_present<T, E: From<StoreError>>(
        &self,
        key: &str,
        mut editor: impl FnMut(&Present) -> Result<Edit<T>, E>,
    ) -> Result<(T, Option<T>), E> {
        let deadline = Instant::now() + self.limits().write;
        let turn = timeout(self.limits().write, self.lane(key).acquire()).await;
        // The semaphores are never closed, so an error is a timeout.
        let Ok(Ok(_turn)) = turn else {
            return Err(self.timed_out().into());
        };
        let mut backoff = write_backoff();
        let (mut attempts, mut overtaken, mut before) = (0, false, None);
        loop {
            attempts += 1;
            let error = match self.try_edit(key, overtaken, &mut editor).await? {
                Attempt::Done(value) => return Ok((value, before)),
                Attempt::Overtaken => None,
                Attempt::Failed(error, result) => {
                    before = result.or(before);
                    Some(error)
                }
            };
            overtaken = error.is_none();
            let pause = backoff.delay();
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
        overtaken: bool,
        editor: &mut impl FnMut(&Present) -> Result<Edit<T>, E>,
    ) -> Result<Attempt<T>, E> {
        let said = async {
            let has_copies = self.has_copies().await?;
            self.said(key, has_copies, overtaken).await
        };
        match said.await {
            Ok((said, may_be_behind)) => self.edit_as_said(key, said, may_be_behind, editor).await,
            Err(error) => Ok(Attempt::Failed(error, None)),
        }
    }

    /// What is said of a key, and whether who says it may be behind. Whoever was overtaken may have asked
    /// one that is, and would be told the same again.
    async fn said(
        &self,
        key: &str,
        has_copies: bool,
        overtaken: bool,
    ) -> Result<(Present, bool), StoreError> {
        if has_copies && overtaken {
            return Ok((self.leading(key).await?, false));
        }
        Ok((self.entry(key).await?.into(), has_copies))
    }

    /// Edits what any server has said. One that `may_be_behind` is found out by a write; that nothing is to
    /// be written, or cannot be, has to be so for the leader as well.
    async fn edit_as_said<T, E: From<StoreError>>(
        &self,
        key: &str,
        said: Present,
        may_be_behind: bool,
        editor: &mut impl FnMut(&Present) -> Result<Edit<T>, E>,
    ) -> Result<Attempt<T>, E> {
        let (revision, edit) = match editor(&said) {
            Ok(edit @ (Edit::Write(..) | Edit::KeepAsSaid(_))) => (said.revision, edit),
            as_said if !may_be_behind => (said.revision, as_said?),
            _ => match self.leading(key).await {
                Ok(sure) => (sure.revision, editor(&sure)?),
                Err(error) => return Ok(Attempt::Failed(error, None)),
            },
        };
        let (value, result) = match edit {
            Edit::Keep(result) | Edit::KeepAsSaid(result) => return Ok(Attempt::Done(result)),
            Edit::Write(value, result) => (value, result),
        };
        Ok(match self.write_at(key, value, revision).await {
            Ok(Some(_)) => Attempt::Done(result),
            Ok(None) => Attempt::Overtaken,
            Err(error) => Attempt::Failed(error, Some(result)),
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
        match self.sure(key).await? {
            // It was purged again.
            Present { revision: 0, .. } => Err(self.contended(key, 1)),
            present => Ok(present),
        }
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

    use std::sync::Arc;
    use std::time::Duration;

    use lattice_nats::NewBucket;
    use lattice_nats_box::{NatsBox, NatsBoxOptions};
    use tokio::runtime::Handle;
    use tokio::task::block_in_place;

    use crate::bucket::Limits;

    /// A server whose only user may not publish to this subject.
    async fn nats_without(subject: &str) -> NatsBox {
        let extra_config = format!(
            r#"
            authorization {{
                default_permissions: {{ publish: {{ deny: ["{subject}"] }} }}
                users: [{{ user: a, password: a }}]
            }}
            no_auth_user: a"#
        );
        NatsBox::start_with(NatsBoxOptions {
            extra_config,
            ..NatsBoxOptions::default()
        })
        .await
        .unwrap()
    }

    async fn bucket(nats: &NatsBox) -> Bucket {
        bucket_within(nats, Duration::from_secs(5)).await
    }

    async fn bucket_within(nats: &NatsBox, request: Duration) -> Bucket {
        let client = nats.client().await.unwrap();
        let js = async_nats::jetstream::new(client.clone());
        let new = NewBucket {
            name: "records".to_owned(),
            ..NewBucket::default()
        };
        let limits = Limits {
            request,
            write: Duration::from_secs(20),
        };
        Bucket::new(client, js, new, limits)
    }

    #[tokio::test]
    async fn what_a_server_that_is_behind_has_not_yet_is_asked_of_the_leader() {
        let nats = NatsBox::start().await.unwrap();
        let bucket = bucket(&nats).await;
        bucket.put("a", Bytes::from_static(b"x")).await.unwrap();
        let mut is_there =
            |present: &Present| Ok::<_, StoreError>(Edit::Keep(present.value.is_some()));
        let kept = bucket.edit_as_said("a", Present::default(), true, &mut is_there);
        assert!(matches!(kept.await.unwrap(), Attempt::Done(true)));
        let mut refused = |present: &Present| match &present.value {
            Some(_) => Ok(Edit::Write(Bytes::from_static(b"y"), ())),
            None => Err(bucket.timed_out()),
        };
        let written = bucket.edit_as_said("a", Present::default(), true, &mut refused);
        assert!(matches!(written.await.unwrap(), Attempt::Done(())));
        assert_eq!(bucket.leading("a").await.unwrap().value.unwrap(), "y");
        bucket.purge("a").await.unwrap();
        let gone = bucket.leading("a").await.unwrap();
        assert!(gone.revision > 0 && gone.value.is_none());
        let never = bucket.leading("b").await.unwrap();
        assert_eq!(never, Present::default());
        for may_be_behind in [true, false] {
            let said = Present::default();
            let kept = bucket.edit_as_said("b", said, may_be_behind, &mut is_there);
            assert!(matches!(kept.await.unwrap(), Attempt::Done(false)));
        }
    }

    #[tokio::test]
    async fn a_handle_that_knows_of_fewer_copies_than_there_are_is_used_no_more() {
        let nats = NatsBox::start().await.unwrap();
        let bucket = bucket(&nats).await;
        let opened = bucket.handle().await.unwrap();
        bucket.note_copies(1);
        assert!(Arc::ptr_eq(&opened, &bucket.handle().await.unwrap()));
        bucket.note_copies(3);
        assert!(!Arc::ptr_eq(&opened, &bucket.handle().await.unwrap()));
    }

    #[tokio::test]
    async fn whoever_was_overtaken_asks_the_leader() {
        let nats = nats_without("$JS.API.DIRECT.GET.KV_records.>").await;
        let bucket = bucket(&nats).await;
        bucket.put("a", Bytes::from_static(b"x")).await.unwrap();
        let (said, may_be_behind) = bucket.said("a", true, true).await.unwrap();
        assert_eq!(said.value.unwrap(), "x");
        assert!(!may_be_behind);
    }

    #[tokio::test]
    async fn what_may_be_kept_as_any_server_says_needs_no_leave_to_ask_the_leader() {
        let nats = nats_without("$JS.API.STREAM.MSG.GET.KV_records").await;
        let bucket = bucket(&nats).await;
        bucket.put("a", Bytes::from_static(b"x")).await.unwrap();
        let said = bucket.entry("a").await.unwrap().into();
        let mut is_there =
            |present: &Present| Ok::<_, StoreError>(Edit::KeepAsSaid(present.value.is_some()));
        let kept = bucket.edit_as_said("a", said, true, &mut is_there).await;
        assert!(matches!(kept.unwrap(), Attempt::Done(true)));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn an_attempt_that_was_overtaken_was_not_carried_out() {
        let nats = NatsBox::start().await.unwrap();
        let bucket = bucket(&nats).await;
        let mut meanwhile = Some(Bytes::from_static(b"other"));
        let edited = bucket.edit_telling_lost("a", |_| {
            let Some(other) = meanwhile.take() else {
                return Ok::<_, StoreError>(Edit::Keep("second"));
            };
            block_in_place(|| Handle::current().block_on(bucket.put("a", other)))?;
            Ok(Edit::Write(Bytes::from_static(b"own"), "first"))
        });
        assert_eq!(edited.await.unwrap(), ("second", None));
        assert_eq!(bucket.get("a").await.unwrap().unwrap().value, "other");
    }

    #[tokio::test]
    async fn an_attempt_without_an_answer_may_have_been_carried_out() {
        let nats = nats_without("$KV.records.a").await;
        let bucket = bucket_within(&nats, Duration::from_secs(1)).await;
        let mut is_first = true;
        let edited = bucket.edit_telling_lost("a", |_| {
            Ok::<_, StoreError>(match std::mem::take(&mut is_first) {
                true => Edit::Write(Bytes::from_static(b"own"), "first"),
                false => Edit::Keep("second"),
            })
        });
        assert_eq!(edited.await.unwrap(), ("second", Some("first")));
    }

    #[tokio::test]
    async fn what_was_written_or_deleted_since_is_not_written_back() {
        let nats = NatsBox::start().await.unwrap();
        let bucket = bucket(&nats).await;
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
