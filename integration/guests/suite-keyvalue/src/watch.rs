//! Being told of changes: what the component is told it writes down beside the key.
//!
//! The driver links the provider to the component as well, to watch the key that the setting
//! `watched` names.

use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::Suite;
use crate::bindings::exports::lattice::conformance::suite::Failure;
use crate::bindings::exports::wasi::keyvalue::watcher::{Bucket, Guest};
use crate::bindings::wasi::keyvalue::store::{self, Error};
use crate::bindings::wasi::keyvalue::{atomics, batch};
use crate::kit::{Case, Run, Verdict, failed};

/// The cases of this file.
pub(crate) const CASES: &[Case] = &[
    ("a watcher is told of every kind of change", every_change),
    (
        "a watcher may use the bucket that it is given",
        given_bucket,
    ),
];

const PATIENCE: Duration = Duration::from_secs(30);

impl Guest for Suite {
    fn on_set(bucket: Bucket, key: String, value: Vec<u8>) {
        let value = String::from_utf8_lossy(&value).into_owned();
        let has = bucket.exists(&key).unwrap_or_default();
        note(&key, &format!("set {value}, there {has}"));
    }

    fn on_delete(_bucket: Bucket, key: String) {
        note(&key, "deleted");
    }
}

/// Adds a line to what was told of a key. A watcher has nobody to tell of a failure; the case that
/// waits for the line does.
fn note(key: &str, line: &str) {
    let added = store::open("default").and_then(|bucket| {
        let log = log_of(key);
        let mut lines = bucket.get(&log)?.unwrap_or_default();
        lines.extend_from_slice(line.as_bytes());
        lines.push(b'\n');
        bucket.set(&log, &lines)
    });
    if let Err(error) = added {
        eprintln!("could not note `{line}`: {error:?}");
    }
}

fn log_of(key: &str) -> String {
    format!("told.{key}")
}

fn watched<'a>(run: &'a Run<'_>) -> Result<&'a str, Failure> {
    match (run.feature("watch"), run.setting("watched")) {
        (_, Some(key)) => Ok(key),
        (None, None) => Err(Failure::Refused("the provider has no `watch`".to_owned())),
        (Some(_), None) => Err(Failure::Refused("the driver watches no key".to_owned())),
    }
}

/// Waits until the last line of what was told says something.
fn until_told(key: &str, wanted: &str) -> Verdict {
    let began = Instant::now();
    loop {
        let told = store::open("default")?.get(&log_of(key))?;
        let told = String::from_utf8_lossy(&told.unwrap_or_default()).into_owned();
        if told
            .lines()
            .next_back()
            .is_some_and(|line| line.starts_with(wanted))
        {
            return Ok(());
        }
        if began.elapsed() > PATIENCE {
            return Err(failed(format!("`{wanted}` was not told; only: {told:?}")));
        }
        sleep(Duration::from_millis(20));
    }
}

fn every_change(run: &Run<'_>) -> Verdict {
    let (bucket, key) = (run.bucket()?, watched(run)?);
    bucket.set(key, b"one")?;
    until_told(key, "set one,")?;
    batch::set_many(&bucket, &[(key.to_owned(), b"7".to_vec())])?;
    until_told(key, "set 7,")?;
    atomics::increment(&bucket, key, 1)?;
    until_told(key, "set 8,")?;
    bucket.delete(key)?;
    until_told(key, "deleted")?;
    bucket.set(key, b"")?;
    until_told(key, "set ,")?;
    batch::delete_many(&bucket, &[key.to_owned()])?;
    until_told(key, "deleted")?;
    clear(key).map_err(Failure::from)
}

fn given_bucket(run: &Run<'_>) -> Verdict {
    let (bucket, key) = (run.bucket()?, watched(run)?);
    bucket.set(key, b"here")?;
    until_told(key, "set here, there true")?;
    bucket.delete(key)?;
    until_told(key, "deleted")?;
    clear(key).map_err(Failure::from)
}

fn clear(key: &str) -> Result<(), Error> {
    store::open("default")?.delete(&log_of(key))
}
