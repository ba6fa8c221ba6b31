//! Schedules.

use crate::bindings::lattice::schedule::scheduler;
use crate::bindings::lattice::schedule::types::{Job, Trigger};
use crate::{Amount, Done, told};

/// So long that no tick comes while it is measured.
const EVERY_MS: u64 = 3_600_000;

pub(crate) fn put(name: &str, amount: Amount) -> Done {
    let mut job = Job {
        name: name.to_owned(),
        trigger: Trigger::EveryMs(EVERY_MS),
        time_zone: None,
        payload: amount.bytes(),
    };
    amount.each(|at| {
        // One that is as it was would not be written.
        job.payload.truncate(amount.size as usize);
        job.payload.extend(at.to_le_bytes());
        scheduler::put_job(&job).map_err(told)
    })
}
