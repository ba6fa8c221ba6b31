//! Key-value.

use crate::bindings::wasi::keyvalue::store::Bucket;
use crate::bindings::wasi::keyvalue::{atomics, batch, store};
use crate::{Done, done, told};

pub(crate) fn run(what: &str, names: &[&str]) -> Option<Done> {
    let known = [
        "get",
        "set",
        "delete",
        "exists",
        "increment",
        "list-keys",
        "get-many",
        "set-many",
        "delete-many",
    ];
    let (bucket, keys) = names.split_first()?;
    if !known.contains(&what) {
        return None;
    }
    Some(
        store::open(bucket)
            .map_err(told)
            .and_then(|bucket| on(&bucket, what, keys)),
    )
}

fn on(bucket: &Bucket, what: &str, keys: &[&str]) -> Done {
    let key = keys.first().copied().unwrap_or_default();
    let owned: Vec<String> = keys.iter().map(|key| (*key).to_owned()).collect();
    match what {
        "get" => bucket.get(key).map_err(told).map(|value| {
            value.map_or_else(
                || "absent".to_owned(),
                |value| String::from_utf8_lossy(&value).into(),
            )
        }),
        "set" => bucket.set(key, b"value").map(done).map_err(told),
        "delete" => bucket.delete(key).map(done).map_err(told),
        "exists" => bucket.exists(key).map(told).map_err(told),
        "increment" => atomics::increment(bucket, key, 1).map(told).map_err(told),
        "list-keys" => bucket.list_keys(None).map_err(told).map(|page| {
            let mut keys = page.keys;
            keys.sort();
            keys.join(",")
        }),
        "get-many" => batch::get_many(bucket, &owned)
            .map_err(told)
            .map(|found| found.iter().flatten().count().to_string()),
        "set-many" => {
            let pairs: Vec<_> = owned
                .into_iter()
                .map(|key| (key, b"value".to_vec()))
                .collect();
            batch::set_many(bucket, &pairs).map(done).map_err(told)
        }
        _ => batch::delete_many(bucket, &owned).map(done).map_err(told),
    }
}
