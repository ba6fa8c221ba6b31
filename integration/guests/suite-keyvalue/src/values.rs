//! Values under keys. The suites of both drafts share this file.

use crate::bindings::exports::lattice::conformance::suite::Failure;
use crate::bindings::wasi::keyvalue::store::Bucket;
use crate::kit::{Case, Run, Verdict, equal, failed, refused};

/// The cases of this file.
pub(crate) const CASES: &[Case] = &[
    ("what is set is there until it is deleted", set_and_delete),
    ("an empty value is not absent", empty_value),
    ("deleting what is absent is fine", delete_absent),
    ("a value of one mebibyte comes back", large_value),
    (
        "a value beyond the limit is refused and changes nothing",
        beyond_limit,
    ),
    ("a key may be any text", any_key),
    ("a key may have 512 bytes", long_key),
    (
        "a key at the limit is taken, and one beyond it is refused by name",
        key_limit,
    ),
    ("two buckets do not mix", two_buckets),
    ("a bucket opened twice is the same", same_bucket),
];

/// What every backend takes.
const MEBIBYTE: usize = 1 << 20;
/// The largest value that a case makes.
const LARGEST: usize = 4 << 20;

fn set_and_delete(run: &Run<'_>) -> Verdict {
    let (bucket, key) = (run.bucket()?, run.key("set"));
    equal("get of an absent key", bucket.get(&key)?, None)?;
    equal("exists of an absent key", bucket.exists(&key)?, false)?;
    for value in [b"one", b"two"] {
        bucket.set(&key, value)?;
        equal("get after set", bucket.get(&key)?, Some(value.to_vec()))?;
        equal("exists after set", bucket.exists(&key)?, true)?;
    }
    bucket.delete(&key)?;
    equal("get after delete", bucket.get(&key)?, None)?;
    equal("exists after delete", bucket.exists(&key)?, false)?;
    bucket.set(&key, b"three")?;
    equal("get after all", bucket.get(&key)?, Some(b"three".to_vec()))?;
    Ok(bucket.delete(&key)?)
}

fn empty_value(run: &Run<'_>) -> Verdict {
    let (bucket, key) = (run.bucket()?, run.key("empty"));
    bucket.set(&key, b"")?;
    equal("get of an empty value", bucket.get(&key)?, Some(Vec::new()))?;
    equal("exists of an empty value", bucket.exists(&key)?, true)?;
    Ok(bucket.delete(&key)?)
}

fn delete_absent(run: &Run<'_>) -> Verdict {
    let (bucket, key) = (run.bucket()?, run.key("never"));
    bucket.delete(&key)?;
    bucket.set(&key, b"x")?;
    bucket.delete(&key)?;
    bucket.delete(&key)?;
    equal("exists after two deletes", bucket.exists(&key)?, false)
}

fn bytes(length: usize) -> Vec<u8> {
    (0..=u8::MAX).cycle().take(length).collect()
}

fn large_value(run: &Run<'_>) -> Verdict {
    let (bucket, key) = (run.bucket()?, run.key("large"));
    let most = run.number("max-value-bytes").unwrap_or(LARGEST);
    if most < MEBIBYTE {
        return Err(failed(format!("values may have {most} bytes at most")));
    }
    let value = bytes(MEBIBYTE);
    bucket.set(&key, &value)?;
    let got = bucket.get(&key)?;
    bucket.delete(&key)?;
    equal("the value of 1 MiB is the same", got == Some(value), true)
}

fn beyond_limit(run: &Run<'_>) -> Verdict {
    let (bucket, key) = (run.bucket()?, run.key("limit"));
    let most = run
        .number("max-value-bytes")
        .filter(|most| *most <= LARGEST);
    let Some(most) = most else {
        return Err(Failure::Refused(format!(
            "values may be longer than the {LARGEST} bytes that this guest makes"
        )));
    };
    bucket.set(&key, b"kept")?;
    let why = refused(
        "a value beyond the limit",
        bucket.set(&key, &bytes(most + 1)),
    )?;
    if !why.contains(&key) {
        return Err(failed(format!("the refusal does not name the key: {why}")));
    }
    equal(
        "get after a refusal",
        bucket.get(&key)?,
        Some(b"kept".to_vec()),
    )?;
    bucket.set(&key, &bytes(most))?;
    let got = bucket.get(&key)?.map(|value| value.len());
    bucket.delete(&key)?;
    equal("the length at the limit", got, Some(most))
}

/// Keys that somebody had trouble with.
const TEXTS: &[&str] = &[
    " ", ".", "..", "a.b", "a..b", ".a", "a.", "*", "a.*", ">", "a.>", "a b", "user:1", "a/b", "/",
    "//", "=", "=x3A", "a=b", "%", "a%20b", "'", "\"", "\\", "ключ", "🔑", "e\u{301}", "\u{e9}",
    "tab\t", "line\n", "nul\0", "{tag}", "?[a-z]", "_", "a_b", "A", "a",
];

fn any_key(run: &Run<'_>) -> Verdict {
    let bucket = run.bucket()?;
    let keys: Vec<_> = TEXTS
        .iter()
        .map(|text| format!("{}{text}", run.own()))
        .collect();
    for key in &keys {
        equal(&format!("get of {key:?}"), bucket.get(key)?, None)?;
        bucket.set(key, key.as_bytes())?;
    }
    for key in &keys {
        let value = Some(key.clone().into_bytes());
        equal(&format!("get of {key:?}"), bucket.get(key)?, value)?;
    }
    for key in &keys {
        bucket.delete(key)?;
        equal(&format!("exists of {key:?}"), bucket.exists(key)?, false)?;
    }
    Ok(())
}

fn long_key(run: &Run<'_>) -> Verdict {
    let bucket = run.bucket()?;
    let start = run.key("");
    for filling in ["k", "ü", ":"] {
        let mut key = start.clone();
        while key.len() + filling.len() <= 512 {
            key.push_str(filling);
        }
        bucket.set(&key, filling.as_bytes())?;
        let value = Some(filling.as_bytes().to_vec());
        equal("get of a long key", bucket.get(&key)?, value)?;
        // One that differs at its end only is another one.
        let shorter = &key[..key.len() - filling.len()];
        equal("get of a shorter key", bucket.get(shorter)?, None)?;
        bucket.delete(&key)?;
    }
    Ok(())
}

/// The longest key that a case makes.
const LONGEST_KEY: usize = 64 << 10;

fn key_limit(run: &Run<'_>) -> Verdict {
    let told = run.number("max-key-bytes");
    let Some(most) = told.filter(|most| *most <= LONGEST_KEY) else {
        return Err(Failure::Refused(format!(
            "keys may be longer than the {LONGEST_KEY} bytes that this guest makes"
        )));
    };
    let bucket = run.bucket()?;
    let start = run.key("limit-of-key.");
    let key = format!("{start}{}", "k".repeat(most - start.len()));
    bucket.set(&key, b"kept")?;
    let longer = format!("{key}k");
    let why = refused("a key beyond the limit", bucket.set(&longer, b"x"))?;
    if !why.contains("key") {
        return Err(failed(format!(
            "the refusal does not speak of the key: {why}"
        )));
    }
    equal(
        "get at the limit",
        bucket.get(&key)?,
        Some(b"kept".to_vec()),
    )?;
    Ok(bucket.delete(&key)?)
}

fn two_buckets(run: &Run<'_>) -> Verdict {
    let (one, other) = (run.further("cart")?, run.further("car")?);
    let own = run.bucket()?;
    let named: [(&Bucket, &str); 3] = [(&one, "cart"), (&other, "car"), (&own, "own")];
    let key = run.key("t:a");
    for (bucket, value) in named {
        bucket.set(&key, value.as_bytes())?;
    }
    for (bucket, value) in named {
        let value = Some(value.as_bytes().to_vec());
        equal("get of the same key in a bucket", bucket.get(&key)?, value)?;
    }
    one.delete(&key)?;
    equal("the other bucket's key", other.exists(&key)?, true)?;
    own.delete(&key)?;
    Ok(other.delete(&key)?)
}

fn same_bucket(run: &Run<'_>) -> Verdict {
    let key = run.key("twice");
    run.bucket()?.set(&key, b"x")?;
    let again = run.bucket()?;
    equal(
        "get after opening again",
        again.get(&key)?,
        Some(b"x".to_vec()),
    )?;
    Ok(again.delete(&key)?)
}
