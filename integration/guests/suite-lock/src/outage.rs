//! What holds over an outage of the locks.

use std::thread::sleep;
use std::time::Duration;

use crate::bindings::exports::lattice::conformance::suite::Failure;
use crate::bindings::lattice::conformance::witness;
use crate::bindings::lattice::lock::lock;
use crate::bindings::lattice::lock::types::{Error, Lease};
use crate::kit::{LONG, Run, Verdict, equal, give, holds, take};
use crate::leader;
use crate::statement::{Outcome, Statement, Told, away, broken};

/// The statements of this file.
pub(crate) const STATEMENTS: &[Statement] = &[
    Statement {
        name: "a lock has one holder at a time over an outage, and fences grow",
        attempt: enter,
        check: one_at_a_time,
    },
    Statement {
        name: "a lease outlasts an outage",
        attempt: renew,
        check: still_held,
    },
    Statement {
        name: "a component is elected over an outage, and is told so",
        attempt: lead,
        check: leads,
    },
];

/// How long a holder may take; one that takes longer is not one any more.
const TTL_MS: u32 = 5000;
const WAIT_MS: u32 = 500;

/// Longer than an office that nobody renews lasts: the driver's election has a `ttl_ms` of 3000.
const LASTS: Duration = Duration::from_millis(3500);

fn name(told: &Told<'_>, name: &str) -> String {
    Run(told.0).name(&format!("outage-{name}"))
}

/// Takes the lock, tells the witness that it came and went, and gives the lock back.
fn enter(told: &Told<'_>, _: u32) -> Result<String, Failure> {
    let name = name(told, "shared");
    let lease = lock::acquire("", &name, TTL_MS, WAIT_MS).map_err(away)?;
    let visit = visit(&lease);
    // A lease that nobody gives back ends by itself.
    let given = lock::release("", &lease.token);
    visit?;
    given.map_err(away)?;
    Ok(lease.fence.to_string())
}

fn visit(lease: &Lease) -> Result<(), Failure> {
    witness::saw(&format!("in {}", lease.fence)).map_err(away)?;
    witness::saw(&format!("out {}", lease.fence)).map_err(away)
}

/// The visits of those who were told that all went well follow each other, with growing fences.
fn one_at_a_time(told: &Told<'_>, outcome: &Outcome<'_>) -> Verdict {
    let whole: Vec<&str> = outcome.told().map(|(_, fence)| fence).collect();
    let (mut inside, mut last) = (None, 0_u64);
    for seen in outcome.seen {
        let Some((what, fence)) = seen.split_once(' ') else {
            continue;
        };
        if !whole.contains(&fence) {
            continue;
        }
        match (what, inside) {
            ("in", None) => {
                let number = fence.parse().map_err(away)?;
                let grows = number > last;
                holds(&format!("fence {number} came after {last}"), grows)?;
                (inside, last) = (Some(fence), number);
            }
            ("in", Some(other)) => {
                return Err(broken(format!("{fence} came in while {other} was there")));
            }
            ("out", Some(own)) if own == fence => inside = None,
            _ => return Err(broken(format!("{fence} was out and was not in"))),
        }
    }
    let lease = take(&name(told, "shared"), TTL_MS)?;
    holds("the next fence is greater than all", lease.fence > last)?;
    give(&lease)
}

/// Renews the lease that the first attempt has taken.
fn renew(told: &Told<'_>, step: u32) -> Result<String, Failure> {
    if step == 0 {
        let lease = take(&name(told, "long"), LONG)?;
        return Ok(format!("{} {}", lease.fence, lease.token));
    }
    let (fence, token) = split(told.first()?)?;
    match lock::renew("", token, LONG) {
        Ok(lease) if lease.fence == fence => Ok(String::new()),
        Ok(lease) => Err(broken(format!("fence {fence} became {}", lease.fence))),
        Err(Error::NotHeld) => Err(broken("the lease is gone before its time")),
        Err(error) => Err(away(error)),
    }
}

fn split(first: &str) -> Result<(u64, &str), Failure> {
    let split = first.split_once(' ');
    let read = split.and_then(|(fence, token)| Some((fence.parse().ok()?, token)));
    read.ok_or_else(|| broken(format!("`{first}` is no fence with its token")))
}

fn still_held(told: &Told<'_>, _: &Outcome<'_>) -> Verdict {
    let (fence, token) = split(told.first()?)?;
    let name = name(told, "long");
    let holder = lock::inspect("", &name)?.map(|holder| holder.fence);
    // Asked again, it has been given back already.
    if holder.is_some() {
        equal("the holder", holder, Some(fence))?;
        lock::release("", token)?;
    }
    let next = take(&name, LONG)?;
    holds("the next fence is greater", next.fence > fence)?;
    let stale = lock::renew("", token, LONG);
    equal("a renewal by the one before", stale, Err(Error::NotHeld))?;
    give(&next)
}

/// Tells the fence of the component that is elected and was told so.
fn lead(told: &Told<'_>, _: u32) -> Result<String, Failure> {
    let Some(election) = told.setting("election") else {
        return Ok(String::new());
    };
    let holder = lock::inspect("", election).map_err(away)?;
    let fence = holder.map(|holder| holder.fence);
    let fence = fence.ok_or_else(|| away("nobody is elected"))?;
    let note = leader::of("elected", election, fence);
    match lock::inspect("notes", &note).map_err(away)? {
        Some(_) => Ok(fence.to_string()),
        None => Err(away("it was not told so far")),
    }
}

fn leads(told: &Told<'_>, outcome: &Outcome<'_>) -> Verdict {
    let Some(election) = told.setting("election") else {
        return Err(Failure::Refused("the driver holds no election".to_owned()));
    };
    let fences = outcome.told().filter_map(|(_, fence)| fence.parse().ok());
    let last: u64 = fences.max().unwrap_or_default();
    // The same office may have lasted.
    let fence = leader::office(election, last.saturating_sub(1))?;
    // Of one whose holder is gone nothing may be left but the rest of its time.
    sleep(LASTS);
    leader::office(election, fence.saturating_sub(1)).map(drop)
}
