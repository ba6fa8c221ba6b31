//! Numbers with a sign.

use crate::bindings::wasi::keyvalue::atomics::increment;
use crate::kit::{Case, Run, Verdict, equal, failed, refused};

/// The cases of this file.
pub(crate) const CASES: &[Case] = &[
    ("an absent number counts from zero", from_absent),
    ("a number falls below zero and comes back", below_zero),
    ("numbers are decimal text", decimal_text),
    ("what is no number is refused and stays", no_number),
    ("a number does not pass its ends", ends),
];

fn from_absent(run: &Run<'_>) -> Verdict {
    let (bucket, key) = (run.bucket()?, run.key("s:n"));
    equal("the first increment", increment(&bucket, &key, 5)?, 5)?;
    equal("an increment by zero", increment(&bucket, &key, 0)?, 5)?;
    bucket.delete(&key)?;
    equal("after a delete", increment(&bucket, &key, -1)?, -1)?;
    Ok(bucket.delete(&key)?)
}

fn below_zero(run: &Run<'_>) -> Verdict {
    let (bucket, key) = (run.bucket()?, run.key("s:below"));
    for (delta, sum) in [(3, 3), (-10, -7), (-1, -8), (8, 0), (1 << 40, 1 << 40)] {
        equal("a sum", increment(&bucket, &key, delta)?, sum)?;
    }
    Ok(bucket.delete(&key)?)
}

fn decimal_text(run: &Run<'_>) -> Verdict {
    let (bucket, key) = (run.bucket()?, run.key("s:text"));
    bucket.set(&key, b"-41")?;
    equal("an increment of text", increment(&bucket, &key, -1)?, -42)?;
    equal("what is stored", bucket.get(&key)?, Some(b"-42".to_vec()))?;
    Ok(bucket.delete(&key)?)
}

fn no_number(run: &Run<'_>) -> Verdict {
    let (bucket, key) = (run.bucket()?, run.key("s:word"));
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

fn ends(run: &Run<'_>) -> Verdict {
    let (bucket, key) = (run.bucket()?, run.key("s:end"));
    for (end, delta) in [(i64::MAX, 1), (i64::MIN, -1)] {
        let text = end.to_string().into_bytes();
        bucket.set(&key, &text)?;
        refused("a sum beyond the end", increment(&bucket, &key, delta))?;
        equal("what is stored", bucket.get(&key)?, Some(text))?;
        equal(
            "a step back",
            increment(&bucket, &key, -delta)?,
            end - delta,
        )?;
    }
    Ok(bucket.delete(&key)?)
}
