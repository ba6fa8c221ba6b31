//! What holds over an outage of the locks.

use crate::bindings::exports::lattice::conformance::suite::Failure;
use crate::bindings::wasi::distributed_lock::locker::acquire;
use crate::cases::{LONG, Run, Verdict, free};
use crate::statement::{Outcome, Statement, Told, away};

/// The statements of this file.
pub(crate) const STATEMENTS: &[Statement] = &[Statement {
    name: "a lock that was released is free after an outage",
    attempt: take_and_give,
    check: all_free,
}];

fn key(told: &Told<'_>, step: u32) -> String {
    Run(told.0).key(&format!("outage-{step}"))
}

fn take_and_give(told: &Told<'_>, step: u32) -> Result<String, Failure> {
    let lock = acquire(&key(told, step), LONG).map_err(away)?;
    lock.release().map_err(away)?;
    Ok(step.to_string())
}

fn all_free(told: &Told<'_>, outcome: &Outcome<'_>) -> Verdict {
    for (step, _) in outcome.told() {
        free(&key(told, step))?;
    }
    Ok(())
}
