//! Several keys at once. The suites of both drafts share this file.

use crate::bindings::wasi::keyvalue::batch;
use crate::kit::{Case, Run, Verdict, equal, failed, refused};

/// The cases of this file.
pub(crate) const CASES: &[Case] = &[
    ("many keys come in their order with gaps", order_with_gaps),
    ("many keys are set and deleted", set_and_delete_many),
    ("batches of nothing do nothing", nothing),
    ("a batch of a thousand keys is taken", thousand),
    ("a batch whose values are too many is refused", too_large),
];

fn order_with_gaps(run: &Run<'_>) -> Verdict {
    let bucket = run.bucket()?;
    let key = |name: &str| run.key(&format!("order:{name}"));
    let entries = [("b", "2"), ("a", "1"), ("c", "3")];
    for (name, value) in entries {
        bucket.set(&key(name), value.as_bytes())?;
    }
    let asked = ["a", "x", "c", "b", "a"].map(key);
    let entry = |name: &str, value: &str| Some((key(name), value.as_bytes().to_vec()));
    let wanted = vec![
        entry("a", "1"),
        None,
        entry("c", "3"),
        entry("b", "2"),
        entry("a", "1"),
    ];
    equal("get-many", batch::get_many(&bucket, &asked)?, wanted)?;
    Ok(batch::delete_many(&bucket, &asked)?)
}

fn set_and_delete_many(run: &Run<'_>) -> Verdict {
    let bucket = run.bucket()?;
    let key = |name: &str| run.key(&format!("many:{name}"));
    let entry = |(name, value): (&str, &str)| (key(name), value.as_bytes().to_vec());
    let entries = [("a", "1"), ("b", ""), ("a", "2")].map(entry);
    batch::set_many(&bucket, &entries)?;
    let value = Some(b"2".to_vec());
    equal("the last value of a key", bucket.get(&key("a"))?, value)?;
    equal("an empty value", bucket.get(&key("b"))?, Some(Vec::new()))?;
    batch::delete_many(&bucket, &[key("a"), key("never"), key("b")])?;
    for name in ["a", "b"] {
        equal(
            "exists after delete-many",
            bucket.exists(&key(name))?,
            false,
        )?;
    }
    Ok(())
}

fn nothing(run: &Run<'_>) -> Verdict {
    let bucket = run.bucket()?;
    batch::set_many(&bucket, &[])?;
    equal(
        "get-many of nothing",
        batch::get_many(&bucket, &[])?.len(),
        0,
    )?;
    Ok(batch::delete_many(&bucket, &[])?)
}

fn thousand(run: &Run<'_>) -> Verdict {
    let bucket = run.bucket()?;
    let keys: Vec<_> = (0..1_000)
        .map(|n| run.key(&format!("thousand:{n}")))
        .collect();
    let entry = |key: &String| (key.clone(), key.clone().into_bytes());
    let entries: Vec<_> = keys.iter().map(entry).collect();
    batch::set_many(&bucket, &entries)?;
    let got = batch::get_many(&bucket, &keys)?;
    let wanted: Vec<_> = entries.into_iter().map(Some).collect();
    equal("get-many of a thousand keys", got, wanted)?;
    batch::delete_many(&bucket, &keys)?;
    let left = batch::get_many(&bucket, &keys)?;
    equal("what is left", left.iter().flatten().count(), 0)
}

/// A short question for more than any answer can carry.
fn too_large(run: &Run<'_>) -> Verdict {
    const SIZE: usize = 256 << 10;
    const MOST: usize = 64 << 20;
    let (bucket, key) = (run.bucket()?, run.key("large"));
    bucket.set(&key, &vec![7; SIZE])?;
    let asked = vec![key.clone(); MOST / SIZE + 1];
    let why = refused(
        "a batch of too many bytes",
        batch::get_many(&bucket, &asked),
    )?;
    if !why.contains(&MOST.to_string()) {
        return Err(failed(format!(
            "the refusal does not tell the limit: {why}"
        )));
    }
    let some = batch::get_many(&bucket, &asked[..2])?;
    let sizes: Vec<_> = some
        .iter()
        .flatten()
        .map(|(_, value)| value.len())
        .collect();
    equal("the values of a smaller batch", sizes, vec![SIZE; 2])?;
    Ok(bucket.delete(&key)?)
}
