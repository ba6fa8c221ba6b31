//! Taking a tick, telling of it, and noting what became of it.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use lattice_provider_sdk::nats::ledger::{Change, Revision};
use lattice_provider_sdk::schedule::Told;
use lattice_provider_sdk::{Backoff, chain};
use tokio::time::Instant;

use crate::bucket::{BucketError, next};
use crate::claim::{self, End, Step, Taken};
use crate::job_store::{Caller, InHand, JobStoreInner, Known};
use crate::record::{Record, Tried};
use crate::settings::Manner;
use crate::ticker::now_ms;

/// The longest pause between two attempts to tell of a tick.
const LONGEST_RETRY: Duration = Duration::from_millis(LONGEST_RETRY_MS);
/// The same in milliseconds.
pub(crate) const LONGEST_RETRY_MS: u64 = 30_000;
/// After how many doublings the shortest pause is the longest.
const MOST_DOUBLINGS: u32 = 15;
/// How often a tick that is being told is noted to be so.
const BEAT: Duration = Duration::from_secs(1);
/// How long it may take to read what became of a note whose answer did not come, and to find the bucket again
/// before one. With the note it is shorter than the silence after which we are taken for gone.
const LOOK_WITHIN: Duration = Duration::from_secs(2);
/// How often something is asked of a bucket that does not answer, and the pauses in between.
const TRIES: usize = 6;
const PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// How long a job is left alone when its record could not be changed.
const LEFT_ALONE: Duration = Duration::from_millis(200);

/// Does what is to be done about a job.
pub(crate) async fn fire(
    job_store_inner: Arc<JobStoreInner>,
    in_hand: InHand,
    key: String,
    known: Known,
    step: Step,
    caller: Arc<Caller>,
) {
    let _in_hand = in_hand;
    match step {
        Step::Take(taken) => {
            if let Some(ours) = take(&job_store_inner, &key, &known, &taken).await {
                let beating = beat(&job_store_inner, &key, &taken, ours);
                let end = tokio::select! {
                    end = tell(&job_store_inner, &key, &taken, &caller) => end,
                    never = beating => match never {},
                };
                settle(&job_store_inner, &key, &taken, end).await;
            }
        }
        Step::Clear => clear(&job_store_inner, &key, known.revision).await,
        Step::Wait(_) | Step::Rest => {}
    }
}

/// A record that says that the tick is being told by us.
type Ours = (Revision, Bytes);

/// Moves the record on; gives what it is then if the tick is ours.
async fn take(
    job_store_inner: &JobStoreInner,
    key: &str,
    known: &Known,
    taken: &Taken,
) -> Option<Ours> {
    let value = taken.record.write();
    match job_store_inner
        .bucket
        .write(key, value.clone(), known.revision)
        .await
    {
        Ok(Change::Done(revision)) => {
            job_store_inner.see(key, revision, &value);
            Some((revision, value))
        }
        Ok(Change::Outdone) => {
            // Another copy was faster, or the job was changed: what it is now comes by the watch.
            catch_up(job_store_inner, key).await;
            None
        }
        Err(error) => {
            tracing::warn!(key, error = chain(&error), "could not take a tick");
            took(job_store_inner, key, taken).await
        }
    }
}

/// The record after a change whose answer was lost, if it has happened.
async fn took(job_store_inner: &JobStoreInner, key: &str, taken: &Taken) -> Option<Ours> {
    let mut backoff = Backoff::new(PAUSE, LONGEST_PAUSE);
    for _ in 0..TRIES {
        tokio::time::sleep(backoff.delay()).await;
        if let Ok(now) = read(job_store_inner, key).await {
            let (revision, record) = now?;
            // The job may have been put anew since.
            return is_ours(&record, taken).then(|| (revision, record.write()));
        }
    }
    None
}

/// Whether a record says that the tick is being told by us.
fn is_ours(record: &Record, taken: &Taken) -> bool {
    let by = |record: &Record| record.running.as_ref().map(|running| running.by.clone());
    by(record) == by(&taken.record)
}

/// Notes again and again that the tick is being told, so that the others do not take us for gone.
async fn beat(job_store_inner: &JobStoreInner, key: &str, taken: &Taken, ours: Ours) -> Infallible {
    let (mut revision, mut value) = ours;
    let mut due = Instant::now() + BEAT;
    loop {
        tokio::time::sleep_until(due).await;
        due = Instant::now() + BEAT;
        if !is_ready(job_store_inner, key).await {
            continue;
        }
        let written = job_store_inner.bucket.write(key, value.clone(), revision);
        // One whose answer was lost with the connection would hold up those that the others need to hear
        // when it is back.
        match tokio::time::timeout(BEAT, written).await {
            Ok(Ok(Change::Done(now))) => {
                job_store_inner.see(key, now, &value);
                revision = now;
            }
            // The job was put anew, or is not ours any more, or an answer was lost or is late.
            Ok(Ok(Change::Outdone)) | Err(_) => {
                if let Some(now) = ours_now(job_store_inner, key, taken).await {
                    (revision, value) = now;
                }
            }
            Ok(Err(error)) => {
                tracing::debug!(
                    key,
                    error = chain(&error),
                    "could not note that a tick goes on"
                );
            }
        }
    }
}

/// Whether the bucket can be used. On a new connection it has to be found first, which would take the time of
/// the note.
async fn is_ready(job_store_inner: &JobStoreInner, key: &str) -> bool {
    let ready = job_store_inner.bucket.ledger().ready();
    let error = match tokio::time::timeout(LOOK_WITHIN, ready).await {
        Ok(Ok(())) => return true,
        Ok(Err(error)) => chain(&error),
        Err(_) => "it was not found in time".to_owned(),
    };
    tracing::debug!(key, error, "no bucket to note in that a tick goes on");
    false
}

/// The record as it is now; `None` when that cannot be told in time. Never ends when it is not ours any more.
async fn ours_now(job_store_inner: &JobStoreInner, key: &str, taken: &Taken) -> Option<Ours> {
    let found = tokio::time::timeout(LOOK_WITHIN, read(job_store_inner, key)).await;
    match found.ok()?.ok()? {
        Some((revision, record)) if is_ours(&record, taken) => Some((revision, record.write())),
        _ => std::future::pending().await,
    }
}

/// Reads what a job has become, for when the watch is late. It is left alone for a moment, so that
/// a watch that is lost does not make it busy.
async fn catch_up(job_store_inner: &JobStoreInner, key: &str) {
    if read(job_store_inner, key).await.is_err() {
        tokio::time::sleep(LEFT_ALONE).await;
    }
}

/// A job with its revision as it is now, which is taken in too.
async fn read(
    job_store_inner: &JobStoreInner,
    key: &str,
) -> Result<Option<(Revision, Record)>, BucketError> {
    let before = job_store_inner.known(key);
    let stored = job_store_inner.bucket.read(key).await?;
    let Some(value) = stored.value else {
        // What was known of it before. It may have been put anew since, and the watch have told so.
        if let Some(before) = before {
            job_store_inner.gone(key, next(before.revision));
        }
        return Ok(None);
    };
    job_store_inner.see(key, stored.revision, &value);
    let record = Record::read(&value).ok();
    Ok(record.map(|record| (stored.revision, record)))
}

/// Tells of a tick, again if the component fails and as long as there is a link. A call that nobody
/// took is no attempt. The tick is put back then, so that it is lost with no copy of the provider, and
/// ends with its job.
async fn tell(job_store_inner: &JobStoreInner, key: &str, taken: &Taken, caller: &Caller) -> End {
    let (mut tick, owner) = (taken.tick.clone(), taken.record.owner());
    let manner = &caller.manner;
    let mut backoff = Backoff::new(manner.pause, LONGEST_RETRY);
    let mut tried = taken.record.tried;
    loop {
        let (why, again) = match caller.handler.tell(&tick, manner.deadline).await {
            Told::Done => return End::Over,
            Told::Unheard(why) => return End::Later(unheard(tried, taken, manner, &why)),
            Told::Failed(why) => (why, true),
            Told::Unknown(why) => (why, manner.again),
        };
        let (job, due) = (&tick.job, tick.due_ms);
        tried = Tried {
            attempts: tried.attempts.saturating_add(1),
            ..Tried::default()
        };
        let attempt = tried.attempts;
        tracing::warn!(job, due, attempt, why, "a handler is not done with a tick");
        if !again || attempt >= manner.attempts {
            return End::Over;
        }
        let pause = backoff.delay();
        tried.again = after(pause);
        tokio::select! {
            () = job_store_inner.stop.cancelled() => return End::Later(tried),
            () = tokio::time::sleep(pause) => {}
        }
        if job_store_inner.caller(&owner).is_none() {
            return End::Later(tried);
        }
        let Some(payload) = payload_now(job_store_inner, key, taken).await else {
            return End::Over;
        };
        tick.payload = payload;
    }
}

/// With what a tick is told again; `None` when its job is deleted by now, or put for another time.
async fn payload_now(job_store_inner: &JobStoreInner, key: &str, taken: &Taken) -> Option<Bytes> {
    let record = match read(job_store_inner, key).await {
        Ok(stored) => Arc::new(stored?.1),
        // What the watch has told last: that nobody answers does not end the attempts.
        Err(_) => job_store_inner.known(key)?.record,
    };
    let is_wanted = is_ours(&record, taken) && !record.tells_of_before();
    is_wanted.then(|| record.payload())
}

/// What was tried, with one more call that nobody took.
fn unheard(mut tried: Tried, taken: &Taken, manner: &Manner, why: &str) -> Tried {
    let (job, due) = (&taken.tick.job, taken.tick.due_ms);
    match tried.unheard {
        0 => tracing::warn!(job, due, why, "nobody is there to be told of a tick"),
        _ => tracing::debug!(job, due, why, "still nobody is there to be told of a tick"),
    }
    let mut backoff = Backoff::new(manner.pause, LONGEST_RETRY);
    let mut pause = backoff.delay();
    for _ in 0..tried.unheard.min(MOST_DOUBLINGS) {
        pause = backoff.delay();
    }
    tried.unheard = tried.unheard.saturating_add(1);
    tried.again = after(pause);
    tried
}

/// The time after a pause.
fn after(pause: Duration) -> u64 {
    let pause = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
    now_ms().saturating_add(pause)
}

/// Notes that a tick is over, so that the next one can come, or that it is put back.
async fn settle(job_store_inner: &JobStoreInner, key: &str, taken: &Taken, end: End) {
    let Some(running) = &taken.record.running else {
        return;
    };
    let mut backoff = Backoff::new(PAUSE, LONGEST_PAUSE);
    let mut tries = 0;
    // A tick that is not put back is lost, so that this is tried for as long as it can be.
    while tries < TRIES || end != End::Over && !job_store_inner.stop.is_cancelled() {
        match settle_once(job_store_inner, key, &running.by, end).await {
            Ok(Change::Done(())) => return,
            Ok(Change::Outdone) => {}
            Err(error) => {
                tracing::debug!(
                    key,
                    error = chain(&error),
                    "could not note the end of a tick"
                );
            }
        }
        tries += 1;
        tokio::time::sleep(backoff.delay()).await;
    }
    tracing::warn!(
        key,
        "the end of a tick is not noted; the next one counts it as missed"
    );
}

async fn settle_once(
    job_store_inner: &JobStoreInner,
    key: &str,
    by: &str,
    end: End,
) -> Result<Change<()>, BucketError> {
    let Some((revision, record)) = read(job_store_inner, key).await? else {
        return Ok(Change::Done(()));
    };
    let Some(settled) = claim::settled(&record, by, end) else {
        return Ok(Change::Done(()));
    };
    if settled.next.is_none() && !settled.stays {
        return Ok(match job_store_inner.bucket.delete(key, revision).await? {
            Change::Done(after) => {
                job_store_inner.gone(key, after);
                Change::Done(())
            }
            Change::Outdone => Change::Outdone,
        });
    }
    let value = settled.write();
    Ok(
        match job_store_inner
            .bucket
            .write(key, value.clone(), revision)
            .await?
        {
            Change::Done(revision) => {
                job_store_inner.see(key, revision, &value);
                Change::Done(())
            }
            Change::Outdone => Change::Outdone,
        },
    )
}

/// Clears the record of a job away that has no ticks to come.
async fn clear(job_store_inner: &JobStoreInner, key: &str, revision: Revision) {
    match job_store_inner.bucket.delete(key, revision).await {
        Ok(Change::Done(after)) => job_store_inner.gone(key, after),
        Ok(Change::Outdone) => catch_up(job_store_inner, key).await,
        Err(error) => {
            tracing::debug!(key, error = chain(&error), "could not clear a job away");
            tokio::time::sleep(LEFT_ALONE).await;
        }
    }
}
