//! Comparing and swapping.

use crate::bindings::exports::lattice::conformance::suite::Failure;
use crate::bindings::wasi::keyvalue::atomics::{Cas, CasError, increment, swap};
use crate::bindings::wasi::keyvalue::store::{Bucket, Error};
use crate::kit::{Case, Run, Verdict, equal, failed};

/// The cases of this file.
pub(crate) const CASES: &[Case] = &[
    ("a handle knows what it saw", current),
    ("a swap of what was seen is made", made),
    ("a stale swap gives what is there", stale),
    ("an absent key is swapped in by the first", absent),
    ("a key that was deleted meanwhile is stale", deleted),
    ("a swap sees that a number was counted", counted),
    (
        "a swap sees that the same value was written again",
        same_value,
    ),
    ("swaps one after the other lose nothing", many),
];

/// A handle; a store without them has to say so by name.
fn handle(run: &Run<'_>, bucket: &Bucket, key: &str) -> Result<Cas, Failure> {
    match (run.feature("cas"), Cas::new(bucket, key)) {
        (Some(_), made) => Ok(made?),
        (None, Err(Error::Other(why))) if why.contains("compare and swap") => {
            Err(Failure::Refused(why))
        }
        (None, other) => Err(failed(format!(
            "a store without `cas` answered {}",
            if other.is_ok() {
                "with a handle"
            } else {
                "with another error"
            }
        ))),
    }
}

/// A swap that has to be made.
fn swapped(cas: Cas, value: &[u8]) -> Verdict {
    match swap(cas, value) {
        Ok(()) => Ok(()),
        Err(CasError::StoreError(error)) => Err(error.into()),
        Err(CasError::CasFailed(_)) => Err(failed("a swap of what was seen was stale")),
    }
}

/// A swap that has to be stale; returns the handle to try again with.
fn refused(cas: Cas, value: &[u8]) -> Result<Cas, Failure> {
    match swap(cas, value) {
        Ok(()) => Err(failed("a stale swap was made")),
        Err(CasError::StoreError(error)) => Err(error.into()),
        Err(CasError::CasFailed(fresh)) => Ok(fresh),
    }
}

fn some(text: &str) -> Option<Vec<u8>> {
    Some(text.as_bytes().to_vec())
}

fn current(run: &Run<'_>) -> Verdict {
    let (bucket, key) = (run.bucket()?, run.key("c:current"));
    let none = handle(run, &bucket, &key)?;
    equal("current of an absent key", none.current()?, None)?;
    bucket.set(&key, b"")?;
    let empty = handle(run, &bucket, &key)?;
    bucket.set(&key, b"later")?;
    equal("current of an empty value", empty.current()?, some(""))?;
    equal("current asked again", empty.current()?, some(""))?;
    Ok(bucket.delete(&key)?)
}

fn made(run: &Run<'_>) -> Verdict {
    let (bucket, key) = (run.bucket()?, run.key("c:made"));
    for value in ["one", "", "two"] {
        swapped(handle(run, &bucket, &key)?, value.as_bytes())?;
        equal("get after swap", bucket.get(&key)?, some(value))?;
    }
    Ok(bucket.delete(&key)?)
}

fn stale(run: &Run<'_>) -> Verdict {
    let (bucket, key) = (run.bucket()?, run.key("c:stale"));
    bucket.set(&key, b"one")?;
    let first = handle(run, &bucket, &key)?;
    bucket.set(&key, b"two")?;
    let fresh = refused(first, b"three")?;
    equal("get after a stale swap", bucket.get(&key)?, some("two"))?;
    equal("current of the new handle", fresh.current()?, some("two"))?;
    swapped(fresh, b"three")?;
    equal("get after another try", bucket.get(&key)?, some("three"))?;
    Ok(bucket.delete(&key)?)
}

fn absent(run: &Run<'_>) -> Verdict {
    let (bucket, key) = (run.bucket()?, run.key("c:absent"));
    let one = handle(run, &bucket, &key)?;
    let two = handle(run, &bucket, &key)?;
    swapped(one, b"first")?;
    let fresh = refused(two, b"second")?;
    equal("current of the new handle", fresh.current()?, some("first"))?;
    Ok(bucket.delete(&key)?)
}

fn deleted(run: &Run<'_>) -> Verdict {
    let (bucket, key) = (run.bucket()?, run.key("c:deleted"));
    bucket.set(&key, b"one")?;
    let seen = handle(run, &bucket, &key)?;
    bucket.delete(&key)?;
    let fresh = refused(seen, b"two")?;
    equal("current of the new handle", fresh.current()?, None)?;
    equal("exists after a stale swap", bucket.exists(&key)?, false)?;
    swapped(fresh, b"two")?;
    equal("get after another try", bucket.get(&key)?, some("two"))?;
    Ok(bucket.delete(&key)?)
}

fn counted(run: &Run<'_>) -> Verdict {
    let (bucket, key) = (run.bucket()?, run.key("c:counted"));
    increment(&bucket, &key, 1)?;
    let seen = handle(run, &bucket, &key)?;
    increment(&bucket, &key, 1)?;
    let fresh = refused(seen, b"100")?;
    equal("current of the new handle", fresh.current()?, some("2"))?;
    swapped(fresh, b"100")?;
    equal("a number after a swap", increment(&bucket, &key, 1)?, 101)?;
    Ok(bucket.delete(&key)?)
}

fn same_value(run: &Run<'_>) -> Verdict {
    let (bucket, key) = (run.bucket()?, run.key("c:same"));
    bucket.set(&key, b"one")?;
    let seen = handle(run, &bucket, &key)?;
    bucket.set(&key, b"two")?;
    bucket.set(&key, b"one")?;
    let done = match run.feature("cas") {
        Some("version") => refused(seen, b"three").map(drop),
        // Such a store compares the value, and says so.
        _ => swapped(seen, b"three"),
    };
    bucket.delete(&key)?;
    done
}

fn many(run: &Run<'_>) -> Verdict {
    let (bucket, key) = (run.bucket()?, run.key("c:many"));
    let mut handles = Vec::new();
    for _ in 0..16 {
        handles.push(handle(run, &bucket, &key)?);
    }
    for mut cas in handles {
        loop {
            let text = cas.current()?.unwrap_or_else(|| b"0".to_vec());
            let text = String::from_utf8(text).map_err(|_| failed("a value is no text"))?;
            let number: u64 = text.parse().map_err(|_| failed("a value is no number"))?;
            match swap(cas, (number + 1).to_string().as_bytes()) {
                Ok(()) => break,
                Err(CasError::StoreError(error)) => return Err(error.into()),
                Err(CasError::CasFailed(fresh)) => cas = fresh,
            }
        }
    }
    equal("the sum", bucket.get(&key)?, some("16"))?;
    Ok(bucket.delete(&key)?)
}
