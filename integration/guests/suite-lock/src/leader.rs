//! Being elected. The driver links the provider to the component as well, with the name of the
//! election in the setting `election`.

use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::Suite;
use crate::bindings::exports::lattice::conformance::suite::Failure;
use crate::bindings::exports::lattice::lock::leader::Guest;
use crate::bindings::lattice::lock::lock;
use crate::bindings::lattice::lock::types::Lease;
use crate::kit::{Case, Run, Verdict, failed, holds};

/// The cases of this file.
pub(crate) const CASES: &[Case] = &[("a component is told that it is elected", elected)];

const PATIENCE: Duration = Duration::from_secs(30);
/// How long a note is kept.
const KEPT: u32 = 600_000;

// What one instance is told another has to see: notes are locks that are held.
impl Guest for Suite {
    fn on_elected(lease: Lease) -> Result<(), String> {
        note("elected", &lease.name, lease.fence)
    }

    fn on_lost(name: String, fence: u64) {
        if let Err(why) = note("lost", &name, fence) {
            eprintln!("could not note it: {why}");
        }
    }
}

/// The name of a note.
pub(crate) fn of(what: &str, election: &str, fence: u64) -> String {
    format!("note.{what}.{election}.{fence}")
}

fn note(what: &str, election: &str, fence: u64) -> Result<(), String> {
    let noted = lock::acquire("notes", &of(what, election, fence), KEPT, 0);
    noted.map(drop).map_err(|error| format!("{error:?}"))
}

fn is_noted(what: &str, election: &str, fence: u64) -> Result<bool, Failure> {
    let noted = lock::inspect("notes", &of(what, election, fence))?;
    Ok(noted.is_some())
}

fn until<T>(
    what: &str,
    mut look: impl FnMut() -> Result<Option<T>, Failure>,
) -> Result<T, Failure> {
    let end = Instant::now() + PATIENCE;
    while Instant::now() < end {
        if let Some(found) = look()? {
            return Ok(found);
        }
        sleep(Duration::from_millis(50));
    }
    Err(failed(format!("{what}: not within {PATIENCE:?}")))
}

fn election<'a>(run: &'a Run<'_>) -> Result<&'a str, Failure> {
    let election = run.setting("election");
    election.ok_or_else(|| Failure::Refused("the driver holds no election".to_owned()))
}

/// The fence of an office that is newer than `last` and was told.
pub(crate) fn office(election: &str, last: u64) -> Result<u64, Failure> {
    until("a component is elected", || {
        let holder = lock::inspect("", election)?;
        let Some(fence) = holder
            .map(|holder| holder.fence)
            .filter(|fence| *fence > last)
        else {
            return Ok(None);
        };
        Ok(is_noted("elected", election, fence)?.then_some(fence))
    })
}

fn elected(run: &Run<'_>) -> Verdict {
    let election = election(run)?;
    let fence = office(election, 0)?;
    holds(
        "it is not told that it has lost",
        !is_noted("lost", election, fence)?,
    )
}
