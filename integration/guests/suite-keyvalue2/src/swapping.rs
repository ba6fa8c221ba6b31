//! What holds of swaps over an outage of the store.

use crate::bindings::exports::lattice::conformance::suite::Failure;
use crate::bindings::wasi::keyvalue::atomics::{Cas, CasError, swap};
use crate::kit::{Run, Verdict};
use crate::outage::{bucket, number_of};
use crate::statement::{Outcome, Statement, Told, away, broken};

/// The statements of this file.
pub(crate) const STATEMENTS: &[Statement] = &[Statement {
    name: "what was swapped in stays over an outage",
    attempt: swap_in,
    check: stays,
}];

/// How often a swap is tried while others are faster.
const TRIES: usize = 20;

fn key(told: &Told<'_>) -> String {
    Run(told.0).key("outage:swapped")
}

fn can_swap(told: &Told<'_>) -> bool {
    Run(told.0).feature("cas").is_some()
}

/// Puts a number in the place of the one before it.
fn swap_in(told: &Told<'_>, _: u32) -> Result<String, Failure> {
    if !can_swap(told) {
        return Ok(String::new());
    }
    let bucket = bucket()?;
    let mut cas = Cas::new(&bucket, &key(told)).map_err(away)?;
    for _ in 0..TRIES {
        let current = cas
            .current()
            .map_err(away)?
            .unwrap_or_else(|| b"0".to_vec());
        let number: Option<u64> = String::from_utf8(current).ok().and_then(|n| n.parse().ok());
        let next = number.ok_or_else(|| broken("what is there is no number"))? + 1;
        match swap(cas, next.to_string().as_bytes()) {
            Ok(()) => return Ok(next.to_string()),
            Err(CasError::StoreError(error)) => return Err(away(error)),
            Err(CasError::CasFailed(fresh)) => cas = fresh,
        }
    }
    Err(away("others were faster each time"))
}

fn stays(told: &Told<'_>, outcome: &Outcome<'_>) -> Verdict {
    if !can_swap(told) {
        return Err(Failure::Refused("the store tells no `cas`".to_owned()));
    }
    number_of(&key(told), outcome)
}
