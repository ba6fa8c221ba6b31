//! Pages of keys. The suites of both drafts share this file.

use std::collections::HashMap;

use crate::bindings::exports::lattice::conformance::suite::Failure;
use crate::bindings::wasi::keyvalue::batch;
use crate::bindings::wasi::keyvalue::store::Bucket;
use crate::kit::{Case, Run, Verdict, equal, failed};

/// The cases of this file.
pub(crate) const CASES: &[Case] = &[
    ("an empty bucket lists nothing", empty_bucket),
    ("keys are listed as they were set", any_key),
    ("paging finds every key while others write", paging),
];

/// More than one page takes anywhere.
const KEYS: usize = 11_000;
const AT_ONCE: usize = 2_000;

fn empty_bucket(run: &Run<'_>) -> Verdict {
    let page = run.further("empty")?.list_keys(None)?;
    equal("the keys", page.keys, Vec::new())?;
    equal("whether there is more", page.cursor.is_some(), false)
}

/// Counts how often each key is listed; `between` runs between two pages.
fn list(
    bucket: &Bucket,
    mut between: impl FnMut(usize) -> Verdict,
) -> Result<HashMap<String, usize>, Failure> {
    let mut listed = HashMap::new();
    let mut cursor = None;
    for page in 1.. {
        let found = bucket.list_keys(crate::as_cursor(&cursor))?;
        for key in found.keys {
            *listed.entry(key).or_default() += 1;
        }
        cursor = found.cursor;
        if cursor.is_none() {
            break;
        }
        if page > KEYS {
            return Err(failed("the pages do not end"));
        }
        between(page)?;
    }
    Ok(listed)
}

fn any_key(run: &Run<'_>) -> Verdict {
    let bucket = run.further("any")?;
    let keys = [
        "a b", "user:1", "a/b", "a.b", "*", ">", "ключ", "=x3A", ".", "{t}",
    ];
    for key in keys {
        bucket.set(key, b"")?;
    }
    let listed = list(&bucket, |_| Ok(()))?;
    let mut listed: Vec<_> = listed.into_keys().collect();
    let mut wanted = keys.map(str::to_owned).to_vec();
    listed.sort_unstable();
    wanted.sort_unstable();
    let all = wanted.clone();
    let done = equal("the keys", listed, wanted);
    batch::delete_many(&bucket, &all)?;
    done
}

fn paging(run: &Run<'_>) -> Verdict {
    let bucket = run.further("pages")?;
    let keys: Vec<String> = (0..KEYS).map(|n| format!("key-{n}")).collect();
    for part in keys.chunks(AT_ONCE) {
        let entries: Vec<_> = part.iter().map(|key| (key.clone(), Vec::new())).collect();
        batch::set_many(&bucket, &entries)?;
    }
    let listed = list(&bucket, |page| {
        // One that was listed or not, and one that is new.
        bucket.set(&keys[page], b"again")?;
        Ok(bucket.set(&format!("new-{page}"), b"new")?)
    })?;
    let missing = keys.iter().filter(|key| !listed.contains_key(*key)).count();
    let twice = keys
        .iter()
        .filter(|key| listed.get(*key) > Some(&1))
        .count();
    for part in keys.chunks(AT_ONCE) {
        batch::delete_many(&bucket, part)?;
    }
    equal("how many keys are missing", missing, 0)?;
    match run.feature("paging") {
        Some("once") => equal("how many keys are listed twice", twice, 0),
        _ => Ok(()),
    }
}
