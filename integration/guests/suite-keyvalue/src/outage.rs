//! What holds over an outage of the store. The suites of both drafts share this file.

use crate::bindings::exports::lattice::conformance::suite::Failure;
use crate::bindings::wasi::keyvalue::atomics::increment;
use crate::bindings::wasi::keyvalue::batch;
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
        name: "what was set or deleted at once stays so over an outage",
        attempt: set_or_delete_many,
        check: all_stay,
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

fn many(told: &Told<'_>, step: u32) -> Vec<String> {
    let name = |of: &str| Run(told.0).key(&format!("outage-{step}-{of}"));
    ["a", "b", "c"].map(name).to_vec()
}

fn set_or_delete_many(told: &Told<'_>, step: u32) -> Result<String, Failure> {
    let (bucket, keys) = (bucket()?, many(told, step));
    let entry = |key: &String| (key.clone(), step.to_string().into_bytes());
    let entries: Vec<_> = keys.iter().map(entry).collect();
    batch::set_many(&bucket, &entries).map_err(away)?;
    if step % 3 != 2 {
        return Ok("set".to_owned());
    }
    batch::delete_many(&bucket, &keys).map_err(away)?;
    Ok("deleted".to_owned())
}

/// Nobody knows which of them an attempt that failed has set.
fn all_stay(told: &Told<'_>, outcome: &Outcome<'_>) -> Verdict {
    let bucket = bucket()?;
    for attempt in outcome.attempts {
        let keys = many(told, attempt.step);
        let value = attempt.step.to_string().into_bytes();
        for (key, found) in keys.iter().zip(batch::get_many(&bucket, &keys)?) {
            let found = found.map(|(_, value)| value);
            match attempt.told.as_deref() {
                Some("deleted") => equal(&format!("`{key}`, deleted"), found, None)?,
                None if found.is_none() => {}
                _ => equal(&format!("`{key}`, set"), found, Some(value.clone()))?,
            }
        }
    }
    Ok(())
}

/// The key that an attempt counts at by itself: how often it was done, others hide elsewhere.
fn own(told: &Told<'_>, step: u32) -> String {
    Run(told.0).key(&format!("outage:own-{step}"))
}

fn count(told: &Told<'_>, step: u32) -> Result<String, Failure> {
    let bucket = bucket()?;
    increment(&bucket, &own(told, step), 1).map_err(away)?;
    let key = Run(told.0).key("outage:counted");
    let number = increment(&bucket, &key, 1).map_err(away)?;
    Ok(number.to_string())
}

fn counted(told: &Told<'_>, outcome: &Outcome<'_>) -> Verdict {
    number_of(&Run(told.0).key("outage:counted"), outcome)?;
    let bucket = bucket()?;
    outcome.each_once(|step| Ok(number(&bucket, &own(told, step))?.unwrap_or_default()))
}

/// The number under a key, if there is anything.
fn number(bucket: &Bucket, key: &str) -> Result<Option<u64>, Failure> {
    let Some(found) = bucket.get(key)? else {
        return Ok(None);
    };
    let text = std::str::from_utf8(&found).ok();
    match text.and_then(|text| text.parse().ok()) {
        Some(number) => Ok(Some(number)),
        None => Err(failed(format!("`{key}` holds {found:?}, no number"))),
    }
}

/// Compares the number under a key with what was told of it.
pub(crate) fn number_of(key: &str, outcome: &Outcome<'_>) -> Verdict {
    let number = number(&bucket()?, key)?;
    outcome.counted(number.ok_or_else(|| failed(format!("nothing is under `{key}`")))?)
}
