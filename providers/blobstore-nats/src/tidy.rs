//! What writes have left behind whose provider was killed.
//!
//! Their data are in the stream, but no object has them. They are told from those of a write that
//! still goes on by their age: such a write stores a piece now and then.

use std::collections::HashSet;
use std::time::{Duration, SystemTime};

use async_nats::jetstream::consumer::DeliverPolicy;
use async_nats::jetstream::stream::LastRawMessageErrorKind;
use futures::StreamExt as _;
use lattice_provider_sdk::blobstore::{self, BlobError};

use crate::api::failed;
use crate::consumer::Messages;
use crate::container::Container;

/// How many objects are looked at; what is left behind beyond them is found another time.
const MOST: usize = 50_000;

/// How many descriptions are looked at at once.
const PAGE: usize = 256;

impl Container {
    /// Purges data that no object has and to which nothing was added for `age`. Says of how many
    /// writes they were.
    pub(crate) async fn tidy(&self, age: Duration) -> Result<usize, BlobError> {
        // Before the descriptions, so that data which become an object meanwhile have one there.
        let mut left = self.all_data().await?;
        self.without_used(&mut left).await?;
        let mut count = 0;
        for data in left {
            if self.is_older(&data, age).await? {
                let purged = self.purge(&data).await;
                purged.map_err(BlobError::Unavailable)?;
                count += 1;
            }
        }
        Ok(count)
    }

    async fn all_data(&self) -> Result<HashSet<String>, BlobError> {
        // What is not there is told best by this question.
        let jetstream = self.nats.backend.jetstream();
        let stream = jetstream.get_stream(format!("OBJ_{}", self.name)).await;
        stream.map_err(|error| failed(&self.name, &error))?;
        let before = self.data_subject("");
        let subjects = self.stream.info_with_subjects(format!("{before}>")).await;
        let mut subjects = subjects.map_err(|error| failed(&self.name, &error))?;
        let mut data = HashSet::new();
        while let Some(subject) = subjects.next().await {
            let (subject, _) = subject.map_err(|error| failed(&self.name, &error))?;
            data.extend(subject.strip_prefix(&before).map(str::to_owned));
            if data.len() >= MOST {
                break;
            }
        }
        Ok(data)
    }

    /// Takes those out that an object has.
    async fn without_used(&self, data: &mut HashSet<String>) -> Result<(), BlobError> {
        if data.is_empty() {
            return Ok(());
        }
        let subject = format!("$O.{}.M.>", self.name);
        let begin = DeliverPolicy::All;
        let idle = Duration::from_secs(10);
        let descriptions = Messages::open(self.clone(), subject, begin, idle).await?;
        let mut left = descriptions.count();
        while left > 0 && !data.is_empty() {
            let mut batch = descriptions.ask(PAGE).await?;
            let before = left;
            while let Some(message) = descriptions.next(&mut batch).await? {
                left = left.saturating_sub(1);
                match used(&message.payload) {
                    Some(used) => data.remove(&used),
                    // Whose data they are is not known, so none can be taken away.
                    None => return Err(BlobError::Unavailable("a description is unknown".into())),
                };
            }
            if left == before {
                // Data of the objects that were not told of would look left behind.
                let what = "not all descriptions came";
                return Err(BlobError::Unavailable(what.to_owned()));
            }
        }
        Ok(())
    }

    async fn is_older(&self, data: &str, age: Duration) -> Result<bool, BlobError> {
        let subject = self.data_subject(data);
        let last = match self.stream.get_last_raw_message_by_subject(&subject).await {
            Ok(last) => blobstore::seconds(last.time.into()),
            Err(error) if matches!(error.kind(), LastRawMessageErrorKind::NoMessageFound) => {
                return Ok(false);
            }
            Err(error) => return Err(failed(&self.name, &error)),
        };
        let now = blobstore::seconds(SystemTime::now());
        Ok(now.saturating_sub(last) > age.as_secs())
    }
}

/// The data that an object has, by its description.
fn used(description: &[u8]) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct Named {
        #[serde(default)]
        nuid: String,
    }
    let named: Named = serde_json::from_slice(description).ok()?;
    Some(named.nuid)
}
