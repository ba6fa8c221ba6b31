//! Numbers without a sign.

use crate::bindings::wasi::keyvalue::atomics::increment;
use crate::kit::{Case, Run, Verdict, equal, failed, refused};

/// The cases of this file.
pub(crate) const CASES: &[Case] = &[
    ("an absent number counts from zero", from_absent),
    ("numbers are decimal text", decimal_text),
    ("what is no number is refused and stays", no_number),
    ("a number does not grow beyond its end", overflow),
    ("a number grows up to the end that is told", to_its_end),
    ("a sum below zero is refused and not made", below_zero),
];

fn from_absent(run: &Run<'_>) -> Verdict {
    let (bucket, key) = (run.bucket()?, run.key("n"));
    equal("the first increment", increment(&bucket, &key, 5)?, 5)?;
    equal("an increment by zero", increment(&bucket, &key, 0)?, 5)?;
    let large = 1 << 40;
    equal("a large one", increment(&bucket, &key, large)?, 5 + large)?;
    bucket.delete(&key)?;
    equal("after a delete", increment(&bucket, &key, 1)?, 1)?;
    Ok(bucket.delete(&key)?)
}

fn decimal_text(run: &Run<'_>) -> Verdict {
    let (bucket, key) = (run.bucket()?, run.key("text"));
    bucket.set(&key, b"41")?;
    equal("an increment of text", increment(&bucket, &key, 1)?, 42)?;
    equal("what is stored", bucket.get(&key)?, Some(b"42".to_vec()))?;
    Ok(bucket.delete(&key)?)
}

fn no_number(run: &Run<'_>) -> Verdict {
    let (bucket, key) = (run.bucket()?, run.key("word"));
    for value in ["seven", "", "1.5", "7 "] {
        bucket.set(&key, value.as_bytes())?;
        let why = refused("an increment of no number", increment(&bucket, &key, 1))?;
        if !why.contains(&key) {
            return Err(failed(format!("the refusal does not name the key: {why}")));
        }
        let kept = Some(value.as_bytes().to_vec());
        equal("what is stored", bucket.get(&key)?, kept)?;
    }
    Ok(bucket.delete(&key)?)
}

fn overflow(run: &Run<'_>) -> Verdict {
    let (bucket, key) = (run.bucket()?, run.key("end"));
    let largest = u64::MAX.to_string();
    bucket.set(&key, largest.as_bytes())?;
    refused(
        "an increment of the largest number",
        increment(&bucket, &key, 1),
    )?;
    let kept = Some(largest.into_bytes());
    equal("what is stored", bucket.get(&key)?, kept)?;
    Ok(bucket.delete(&key)?)
}

fn to_its_end(run: &Run<'_>) -> Verdict {
    let (bucket, key) = (run.bucket()?, run.key("told"));
    let told = run.feature("max-count").and_then(|told| told.parse().ok());
    let end: u64 = told.ok_or_else(|| failed("the provider has no `max-count`"))?;
    bucket.set(&key, (end - 1).to_string().as_bytes())?;
    equal("the last increment", increment(&bucket, &key, 1)?, end)?;
    refused("an increment beyond the end", increment(&bucket, &key, 1))?;
    let kept = Some(end.to_string().into_bytes());
    equal("what is stored", bucket.get(&key)?, kept)?;
    Ok(bucket.delete(&key)?)
}

/// Those who count with a sign may have left such a number.
fn below_zero(run: &Run<'_>) -> Verdict {
    let (bucket, key) = (run.bucket()?, run.key("below"));
    for (stored, delta) in [
        ("-7", 0),
        ("-7", 6),
        ("-10", 9),
        ("-9223372036854775808", 1 << 62),
    ] {
        bucket.set(&key, stored.as_bytes())?;
        let what = format!("{delta} more than {stored}");
        let why = refused(&what, increment(&bucket, &key, delta))?;
        if !why.contains(&key) {
            return Err(failed(format!("the refusal does not name the key: {why}")));
        }
        let kept = Some(stored.as_bytes().to_vec());
        equal("what is stored", bucket.get(&key)?, kept)?;
    }
    bucket.set(&key, b"-7")?;
    equal("a sum that is none below", increment(&bucket, &key, 7)?, 0)?;
    Ok(bucket.delete(&key)?)
}
