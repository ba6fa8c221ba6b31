//! Several keys at once. The suites of both drafts share this file.

use crate::bindings::wasi::keyvalue::batch;
use crate::kit::{Case, Run, Verdict, equal};

/// The cases of this file.
pub(crate) const CASES: &[Case] = &[
    ("many keys come in their order with gaps", order_with_gaps),
    ("many keys are set and deleted", set_and_delete_many),
    ("batches of nothing do nothing", nothing),
    ("a batch of a thousand keys is taken", thousand),
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
