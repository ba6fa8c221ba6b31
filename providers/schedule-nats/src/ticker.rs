//! Waiting for what is due.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use lattice_provider_sdk::schedule::ScheduleError;
use tokio::time::Instant;

use crate::claim::{self, Step, Taker};
use crate::firing;
use crate::job_store::JobStoreInner;

/// How long the ticker sleeps at most: the clock may be set meanwhile.
const LONGEST_SLEEP: Duration = Duration::from_secs(1);

/// Milliseconds since 1970.
pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    })
}

/// Takes every tick that is due, for as long as the bucket is in use.
pub(crate) async fn run(job_store_inner: Arc<JobStoreInner>) {
    let mut number = 0_u64;
    while !job_store_inner.stop.is_cancelled() {
        let mut next = now_ms() + millis(LONGEST_SLEEP);
        job_store_inner.listen();
        for (key, known, caller) in job_store_inner.at_hand() {
            number += 1;
            let taker = Taker {
                by: format!("{}-{number}", job_store_inner.copy),
                again: caller.manner.again,
            };
            let quiet = millis(job_store_inner.quiet(&known));
            match claim::step(&known.record, now_ms(), quiet, &taker) {
                Ok(Step::Wait(until)) => next = next.min(until),
                Ok(Step::Rest) => {}
                Ok(step) => {
                    let in_hand = job_store_inner.take_in_hand(&key);
                    let fired = firing::fire(
                        Arc::clone(&job_store_inner),
                        in_hand,
                        key,
                        known,
                        step,
                        caller,
                    );
                    let cut = job_store_inner.cut.clone();
                    job_store_inner.firing.spawn(async move {
                        tokio::select! {
                            () = cut.cancelled() => {}
                            () = fired => {}
                        }
                    });
                }
                Err(error) => unreadable(&key, &error),
            }
        }
        let sleep = Duration::from_millis(next.saturating_sub(now_ms()));
        tokio::select! {
            () = job_store_inner.stop.cancelled() => {}
            () = job_store_inner.changed_by(Instant::now() + sleep) => {}
        }
    }
}

fn unreadable(key: &str, error: &ScheduleError) {
    tracing::debug!(key, error = error.text(), "a job cannot be read");
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
