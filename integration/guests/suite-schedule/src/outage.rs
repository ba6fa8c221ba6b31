//! What holds over an outage of the schedule.

use std::collections::HashSet;

use crate::bindings::exports::lattice::conformance::suite::Failure;
use crate::bindings::lattice::schedule::scheduler;
use crate::bindings::lattice::schedule::types::{Error, Trigger};
use crate::kit::{FAR, Run, Verdict, job};
use crate::statement::{Outcome, Statement, Told, away, broken};
use crate::ticks::now_ms;

/// The statements of this file.
pub(crate) const STATEMENTS: &[Statement] = &[
    Statement {
        name: "a job that was put is there after an outage, and one that was deleted is not",
        attempt: put_or_delete,
        check: listed,
    },
    Statement {
        name: "a tick that was due in an outage comes after it",
        attempt: put_due,
        check: ticked,
    },
];

/// Payloads that begin with this are told to the witness.
pub(crate) const WITNESSED: &str = "witnessed";

fn put(name: &str, trigger: Trigger, payload: &str) -> Result<(), Failure> {
    scheduler::put_job(&job(name, trigger, payload)).map_err(away)
}

fn name(told: &Told<'_>, kind: &str, step: u32) -> String {
    Run(told.0).name(&format!("outage-{kind}-{step}"))
}

fn put_or_delete(told: &Told<'_>, step: u32) -> Result<String, Failure> {
    let name = name(told, "kept", step);
    put(&name, FAR, "")?;
    if step % 3 != 2 {
        return Ok("put".to_owned());
    }
    match scheduler::delete_job(&name) {
        Ok(()) => Ok("deleted".to_owned()),
        // An answer may have been lost, and the deletion was made again.
        Err(Error::NoSuchJob) => Ok("deleted".to_owned()),
        Err(error) => Err(away(error)),
    }
}

fn listed(told: &Told<'_>, outcome: &Outcome<'_>) -> Verdict {
    let jobs = scheduler::list_jobs()?;
    let names: HashSet<&str> = jobs.iter().map(|job| job.name.as_str()).collect();
    for (step, what) in outcome.told() {
        let name = name(told, "kept", step);
        if names.contains(name.as_str()) != (what == "put") {
            return Err(broken(format!("`{name}` was {what}, and it is not so")));
        }
    }
    Ok(())
}

fn put_due(told: &Told<'_>, step: u32) -> Result<String, Failure> {
    let name = name(told, "due", step);
    let due = now_ms() + u64::from(step % 5) * 200;
    put(&name, Trigger::AtMs(due), &format!("{WITNESSED} {name}"))?;
    Ok(format!("{WITNESSED} {name}"))
}

fn ticked(_: &Told<'_>, outcome: &Outcome<'_>) -> Verdict {
    let seen: HashSet<&str> = outcome.seen.iter().map(String::as_str).collect();
    let lost: Vec<_> = outcome
        .told()
        .filter(|(_, job)| !seen.contains(job))
        .collect();
    match lost.first() {
        None => Ok(()),
        Some((step, _)) => Err(broken(format!(
            "{} of {} ticks did not come, the first is that of step {step}",
            lost.len(),
            outcome.told().count()
        ))),
    }
}
