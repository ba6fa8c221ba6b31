//! The jobs behind one link.

use lattice_provider_sdk::nats::ledger::{Change, Revision};
use lattice_provider_sdk::schedule::{Job, ScheduleError, Scheduler};
use lattice_provider_sdk::{Backoff, Shared, chain};
use tokio::sync::Mutex;

use std::time::Duration;

use crate::bucket::BucketError;
use crate::job_store::JobStore;
use crate::key::Owner;
use crate::record::Record;
use crate::settings::Limits;
use crate::ticker::now_ms;

/// How long the name of a job may be, in bytes.
const LONGEST_NAME: usize = 256;
/// How often a change is tried again because another was faster, and the pauses in between.
const TRIES: usize = 16;
const PAUSE: Duration = Duration::from_millis(2);
const LONGEST_PAUSE: Duration = Duration::from_millis(50);

/// The jobs of one owner.
#[derive(Debug)]
pub(crate) struct OwnerJobs {
    job_store: Shared<JobStore>,
    owner: Owner,
    limits: Limits,
    /// Held while a job is counted and written, so that jobs that are put at once are counted one
    /// after the other.
    adding: Mutex<()>,
}

impl From<BucketError> for ScheduleError {
    fn from(error: BucketError) -> Self {
        Self::unavailable(chain(&error))
    }
}

impl OwnerJobs {
    pub(crate) fn new(job_store: Shared<JobStore>, owner: Owner, limits: Limits) -> Self {
        Self {
            job_store,
            owner,
            limits,
            adding: Mutex::default(),
        }
    }

    fn check(&self, job: &Job) -> Result<(), ScheduleError> {
        let invalid = |why: String| Err(ScheduleError::InvalidJob(why));
        if job.name.is_empty() {
            return invalid("the name of a job is empty".to_owned());
        }
        if job.name.len() > LONGEST_NAME {
            return invalid(format!(
                "the name of a job has {} bytes, up to {LONGEST_NAME} are possible",
                job.name.len()
            ));
        }
        let most = self.limits.payload;
        if job.payload.len() > most {
            return invalid(format!(
                "the payload has {} bytes, the `max_payload_bytes` of the link are {most}",
                job.payload.len()
            ));
        }
        Ok(())
    }

    /// Puts a job; one that a link `of` a provider says keeps its record when it is done.
    pub(crate) async fn put(&self, job: Job, of: Option<&str>) -> Result<(), ScheduleError> {
        self.check(&job)?;
        let key = self.owner.key(&job.name);
        let new = Record::new(&self.owner, job, now_ms(), of)?;
        if self.put_known(&key, &new).await? {
            return Ok(());
        }
        let mut backoff = Backoff::new(PAUSE, LONGEST_PAUSE);
        for _ in 0..TRIES {
            let stored = self.job_store.bucket.read(&key).await?;
            let old = stored.value.as_ref();
            let old = old.and_then(|value| Some((value, Record::read(value).ok()?)));
            let written = match old.map(|(value, old)| (value, old.replaced_by(new.clone()))) {
                Some((_, Some(record))) => self.write(&key, &record, stored.revision).await?,
                Some((value, None)) => {
                    // The watch may be late.
                    self.job_store.see(&key, stored.revision, value);
                    true
                }
                None => self.add(&key, &new, stored.revision).await?,
            };
            if written {
                return Ok(());
            }
            tokio::time::sleep(backoff.delay()).await;
        }
        Err(ScheduleError::unavailable("too many change the same job"))
    }

    /// Puts a job in place of one that is known, unless that has changed since it was seen; one that
    /// would stay as it is has to be read to be sure.
    async fn put_known(&self, key: &str, new: &Record) -> Result<bool, ScheduleError> {
        let Some(known) = self.job_store.known(key) else {
            return Ok(false);
        };
        match known.record.replaced_by(new.clone()) {
            Some(record) => self.write(key, &record, known.revision).await,
            None => Ok(false),
        }
    }

    /// Writes a job that is not there yet, as [`OwnerJobs::write`] does, if there may be one more. Other
    /// copies of the provider may add one at the same time.
    async fn add(&self, key: &str, new: &Record, read: Revision) -> Result<bool, ScheduleError> {
        let _one_at_a_time = self.adding.lock().await;
        self.check_count()?;
        self.write(key, new, read).await
    }

    /// Writes a job that has not changed since it was read; says whether it has not.
    async fn write(
        &self,
        key: &str,
        record: &Record,
        read: Revision,
    ) -> Result<bool, ScheduleError> {
        let value = record.write();
        let written = self
            .job_store
            .bucket
            .write(key, value.clone(), read)
            .await?;
        if let Change::Done(revision) = written {
            self.job_store.see(key, revision, &value);
            return Ok(true);
        }
        Ok(false)
    }

    /// The jobs that links `of` a provider have said, but for `now`.
    pub(crate) async fn said(
        &self,
        of: &str,
        now: Option<&str>,
    ) -> Result<Vec<Job>, ScheduleError> {
        let values = self.job_store.bucket.list(&self.owner.prefix()).await?;
        let records = values.iter().filter_map(|value| Record::read(value).ok());
        let said = records.filter(|record| record.of == of && now != Some(record.job.as_str()));
        Ok(said.map(Record::into_job).collect())
    }

    /// Deletes a job that is still the one that was put. By now another copy may have put what the
    /// link says anew, or the component a job of the same name.
    pub(crate) async fn delete_same(&self, job: &Job) -> Result<(), ScheduleError> {
        self.delete_if(&job.name, |value| {
            let stored = Record::read(value).map(Record::into_job);
            stored.is_ok_and(|stored| stored == *job)
        })
        .await
    }

    async fn delete_if(
        &self,
        name: &str,
        wanted: impl Fn(&[u8]) -> bool + Send + Sync,
    ) -> Result<(), ScheduleError> {
        let key = self.owner.key(name);
        let mut backoff = Backoff::new(PAUSE, LONGEST_PAUSE);
        for _ in 0..TRIES {
            let stored = self.job_store.bucket.read(&key).await?;
            match stored.value {
                None => return Err(ScheduleError::NoSuchJob),
                Some(value) if !wanted(&value) => return Ok(()),
                Some(_) => {}
            }
            let deleted = self.job_store.bucket.delete(&key, stored.revision).await?;
            if let Change::Done(after) = deleted {
                self.job_store.gone(&key, after);
                return Ok(());
            }
            tokio::time::sleep(backoff.delay()).await;
        }
        Err(ScheduleError::unavailable("too many change the same job"))
    }

    fn check_count(&self) -> Result<(), ScheduleError> {
        let most = self.limits.jobs;
        if self.job_store.count(&self.owner.prefix()) < most {
            return Ok(());
        }
        Err(ScheduleError::LimitReached(format!(
            "there are {most} jobs already, which is the `max_jobs` of the link"
        )))
    }
}

impl Scheduler for OwnerJobs {
    async fn put_job(&self, job: Job) -> Result<(), ScheduleError> {
        self.put(job, None).await
    }

    async fn delete_job(&self, name: &str) -> Result<(), ScheduleError> {
        self.delete_if(name, |_| true).await
    }

    async fn list_jobs(&self) -> Result<Vec<Job>, ScheduleError> {
        let values = self.job_store.bucket.list(&self.owner.prefix()).await?;
        let records = values.iter().filter_map(|value| Record::read(value).ok());
        // One that is being told for the last time is done as far as anybody can see.
        let to_come = records.filter(|record| record.next.is_some());
        let mut jobs: Vec<_> = to_come.map(Record::into_job).collect();
        jobs.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(jobs)
    }
}
