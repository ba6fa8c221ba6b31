//! What holds over an outage of the store. The suites of both drafts share this file.

use crate::bindings::exports::lattice::conformance::suite::Failure;
use crate::bindings::wasi::keyvalue::atomics::increment;
use crate::bindings::wasi::keyvalue::store::{self, Bucket};
use crate::kit::{Run, Verdict, equal, failed};
use crate::statement::{Outcome, Statement, Told, away};

/// The statements of this file.
pub(crate) const STATEMENTS: &[Statement] = &[
    Statement {
        name: "what was set or deleted stays so over an outage",
        attempt: set_or_delete,
        check: stays,
    },
    Statement {
        name: "what was counted stays counted over an outage",
        attempt: count,
        check: counted,
    },
];

/// The bucket of the link.
pub(crate) fn bucket() -> Result<Bucket, Failure> {
    store::open("default").map_err(away)
}

fn key(told: &Told<'_>, step: u32) -> String {
    Run(told.0).key(&format!("outage-{step}"))
}

fn set_or_delete(told: &Told<'_>, step: u32) -> Result<String, Failure> {
    let (bucket, key) = (bucket()?, key(told, step));
    let value = step.to_string();
    bucket.set(&key, value.as_bytes()).map_err(away)?;
    if step % 3 != 2 {
        return Ok(value);
    }
    bucket.delete(&key).map_err(away)?;
    Ok("deleted".to_owned())
}

fn stays(told: &Told<'_>, outcome: &Outcome<'_>) -> Verdict {
    let bucket = bucket()?;
    for attempt in outcome.attempts {
        let key = key(told, attempt.step);
        let found = bucket.get(&key)?;
        let value = attempt.step.to_string().into_bytes();
        match attempt.told.as_deref() {
            Some("deleted") => equal(&format!("`{key}`, deleted"), found, None)?,
            Some(_) => equal(&format!("`{key}`, set"), found, Some(value))?,
            None if found.is_none() || found.as_ref() == Some(&value) => {}
            None => equal(&format!("`{key}`, which nobody knows"), found, Some(value))?,
        }
    }
    Ok(())
}

fn count(told: &Told<'_>, _: u32) -> Result<String, Failure> {
    let key = Run(told.0).key("outage:counted");
    let number = increment(&bucket()?, &key, 1).map_err(away)?;
    Ok(number.to_string())
}

fn counted(told: &Told<'_>, outcome: &Outcome<'_>) -> Verdict {
    number_of(&Run(told.0).key("outage:counted"), outcome)
}

/// Compares the number under a key with what was told of it.
pub(crate) fn number_of(key: &str, outcome: &Outcome<'_>) -> Verdict {
    let found = bucket()?.get(key)?;
    let text = found.as_deref().and_then(|text| std::str::from_utf8(text).ok());
    let number = text.and_then(|text| text.parse().ok());
    let number = number.ok_or_else(|| failed(format!("`{key}` holds {found:?}, no number")))?;
    outcome.counted(number)
}
