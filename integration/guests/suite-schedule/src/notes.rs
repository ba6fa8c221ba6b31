//! What ticks leave behind. What one instance is told another has to see, so each tick is noted as a
//! job that is never due.

use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::Suite;
use crate::bindings::exports::lattice::conformance::suite::Failure;
use crate::bindings::exports::lattice::schedule::handler::Guest;
use crate::bindings::lattice::conformance::witness;
use crate::bindings::lattice::schedule::scheduler;
use crate::kit::{FAR, Verdict, drop_job, failed, put};
use crate::outage::WITNESSED;

/// How long a case waits for its ticks.
const PATIENCE: Duration = Duration::from_secs(40);

/// A tick as it was told.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Noted {
    pub(crate) due_ms: u64,
    /// How often it had been told before.
    pub(crate) before: usize,
    pub(crate) missed: u32,
    pub(crate) payload: String,
}

impl Guest for Suite {
    fn on_tick(job: String, due_ms: u64, missed: u32, payload: Vec<u8>) -> Result<(), String> {
        let payload = String::from_utf8_lossy(&payload).into_owned();
        if payload.starts_with(WITNESSED) {
            return witness::saw(&payload);
        }
        let told = noted(&job).map_err(|error| format!("{error:?}"))?;
        let before = told.iter().filter(|tick| tick.due_ms == due_ms).count();
        let note = format!("{}{due_ms}|{before}", prefix(&job));
        put(&note, FAR, &format!("{missed}|{payload}")).map_err(|error| format!("{error:?}"))?;
        match payload.as_str() {
            "fails once" if before == 0 => Err("not yet".to_owned()),
            "traps once" if before == 0 => panic!("as it was told to"),
            _ => Ok(()),
        }
    }
}

fn prefix(job: &str) -> String {
    format!("noted|{job}|")
}

/// The ticks of a job so far, in the order in which they were due.
pub(crate) fn noted(job: &str) -> Result<Vec<Noted>, Failure> {
    let prefix = prefix(job);
    let mut ticks = Vec::new();
    for note in scheduler::list_jobs()? {
        let Some(rest) = note.name.strip_prefix(&prefix) else {
            continue;
        };
        let text = String::from_utf8_lossy(&note.payload).into_owned();
        let read = || {
            let (due, before) = rest.split_once('|')?;
            let (missed, payload) = text.split_once('|')?;
            Some(Noted {
                due_ms: due.parse().ok()?,
                before: before.parse().ok()?,
                missed: missed.parse().ok()?,
                payload: payload.to_owned(),
            })
        };
        ticks.push(read().ok_or_else(|| failed(format!("`{}` is no note", note.name)))?);
    }
    ticks.sort_by_key(|tick| (tick.due_ms, tick.before));
    Ok(ticks)
}

/// Waits for some ticks of a job.
pub(crate) fn wait(job: &str, count: usize) -> Result<Vec<Noted>, Failure> {
    let end = Instant::now() + PATIENCE;
    loop {
        let ticks = noted(job)?;
        if ticks.len() >= count {
            return Ok(ticks);
        }
        if Instant::now() >= end {
            return Err(failed(format!("{count} ticks did not come: {ticks:?}")));
        }
        sleep(Duration::from_millis(50));
    }
}

/// Deletes a job with all that was noted of it. A tick may be under way.
pub(crate) fn clear(job: &str) -> Verdict {
    drop_job(job)?;
    sleep(Duration::from_millis(100));
    for note in scheduler::list_jobs()? {
        if note.name.starts_with(&prefix(job)) {
            drop_job(&note.name)?;
        }
    }
    Ok(())
}
