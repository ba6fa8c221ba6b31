//! What writes have left behind whose provider was killed.
//!
//! Their data are in the stream, but no object has them. They are told from those of a write that
//! still goes on by their age: such a write stores a piece now and then.

use std::collections::HashSet;
use std::time::{Duration, SystemTime};

use async_nats::datetime::parse_rfc3339;
use async_nats::jetstream::consumer::DeliverPolicy;
use async_nats::jetstream::stream::LastRawMessageErrorKind;
use futures::StreamExt as _;
use lattice_provider_sdk::blobstore::{self, BlobError};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::api::failed;
use crate::consumer::Messages;
use crate::container::Container;

/// How many objects are looked at; what is left behind beyond them is found another time.
const MOST: usize = 50_000;

/// How many descriptions are looked at at once.
const PAGE: usize = 256;

/// How long a look at the descriptions counts.
const FRESH: Duration = Duration::from_secs(2);

impl Container {
    /// Purges data that no object has and to which nothing was added for `age`. Says of how many
    /// writes they were.
    pub(crate) async fn tidy(&self, age: Duration) -> Result<usize, BlobError> {
        // Before the descriptions, so that data which become an object meanwhile have one there.
        let mut left = self.all_data().await?;
        self.without_used(&mut left).await?;
        if left.is_empty() {
            return Ok(0);
        }
        let now = self.now().await?;
        let mut old = HashSet::new();
        for data in left {
            if self.is_older(&data, now, age).await? {
                old.insert(data);
            }
        }
        self.purge_unused(old, FRESH).await
    }

    /// Purges those of some data that no object has, as looks tell that count for `fresh`. Says of
    /// how many writes they were.
    pub(crate) async fn purge_unused(
        &self,
        mut data: HashSet<String>,
        fresh: Duration,
    ) -> Result<usize, BlobError> {
        let mut count = 0;
        while !data.is_empty() {
            // Since they were looked for, a write may have ended, however long it had paused. To
            // purge others takes its time too.
            self.without_used(&mut data).await?;
            let looked = Instant::now();
            let mut left = data.into_iter();
            for data in left.by_ref() {
                let purged = self.purge(&data).await;
                purged.map_err(BlobError::Unavailable)?;
                count += 1;
                if looked.elapsed() >= fresh {
                    break;
                }
            }
            data = left.collect();
        }
        Ok(count)
    }

    /// What time it is where pieces get theirs, in seconds. The clock of this machine may be another.
    pub(crate) async fn now(&self) -> Result<u64, BlobError> {
        let (question, nothing) = (format!("STREAM.INFO.OBJ_{}", self.name), json!({}));
        let jetstream = self.nats.backend.jetstream();
        let told = jetstream.request::<_, _, Value>(question, &nothing).await;
        told_time(&told.map_err(|error| BlobError::unavailable(&error))?)
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

    async fn is_older(&self, data: &str, now: u64, age: Duration) -> Result<bool, BlobError> {
        let subject = self.data_subject(data);
        let last = match self.stream.get_last_raw_message_by_subject(&subject).await {
            Ok(last) => blobstore::seconds(last.time.into()),
            Err(error) if matches!(error.kind(), LastRawMessageErrorKind::NoMessageFound) => {
                return Ok(false);
            }
            Err(error) => return Err(failed(&self.name, &error)),
        };
        Ok(now.saturating_sub(last) > age.as_secs())
    }
}

/// The time that a server tells with what it says of a stream.
fn told_time(info: &Value) -> Result<u64, BlobError> {
    match info.get("ts").and_then(Value::as_str) {
        Some(text) => {
            let time = parse_rfc3339(text).map_err(|error| BlobError::unavailable(&*error))?;
            Ok(blobstore::seconds(time.into()))
        }
        // Servers before 2.10 tell none.
        None if info.get("config").is_some() => Ok(blobstore::seconds(SystemTime::now())),
        None => {
            let what = "NATS does not tell of the container";
            Err(BlobError::Unavailable(what.to_owned()))
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_of_the_server_counts_where_it_tells_the_time() {
        let told = json!({"config": {}, "ts": "1970-01-01T00:01:30.5Z"});
        assert_eq!(told_time(&told).unwrap(), 90);
        let before = blobstore::seconds(SystemTime::now());
        assert!(told_time(&json!({"config": {}})).unwrap() >= before);
        for none in [
            json!({"error": {"code": 503}}),
            json!({"config": {}, "ts": "noon"}),
        ] {
            assert!(told_time(&none).is_err(), "{none}");
        }
    }
}
