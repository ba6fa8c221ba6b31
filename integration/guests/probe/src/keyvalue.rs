//! Uses the key-value store that is linked.

use crate::Probe;
use crate::bindings::exports::test::probe::keyvalue::Guest;
use crate::bindings::wasi::keyvalue::store::{self, Bucket, Error};
use crate::bindings::wasi::keyvalue::{atomics, batch};

type Outcome<T> = Result<T, String>;

impl Guest for Probe {
    fn increment(bucket: String, key: String, delta: u64) -> Outcome<u64> {
        atomics::increment(&bucket_named(&bucket)?, &key, delta).map_err(text)
    }

    fn get(bucket: String, key: String) -> Outcome<Option<Vec<u8>>> {
        bucket_named(&bucket)?.get(&key).map_err(text)
    }

    fn set(bucket: String, key: String, value: Vec<u8>) -> Outcome<()> {
        bucket_named(&bucket)?.set(&key, &value).map_err(text)
    }

    fn delete(bucket: String, key: String) -> Outcome<()> {
        bucket_named(&bucket)?.delete(&key).map_err(text)
    }

    fn exists(bucket: String, key: String) -> Outcome<bool> {
        bucket_named(&bucket)?.exists(&key).map_err(text)
    }

    fn list_keys(bucket: String, cursor: Option<u64>) -> Outcome<(Vec<String>, Option<u64>)> {
        let page = bucket_named(&bucket)?.list_keys(cursor).map_err(text)?;
        Ok((page.keys, page.cursor))
    }

    fn get_many(bucket: String, keys: Vec<String>) -> Outcome<Vec<Option<(String, Vec<u8>)>>> {
        batch::get_many(&bucket_named(&bucket)?, &keys).map_err(text)
    }

    fn set_many(bucket: String, pairs: Vec<(String, Vec<u8>)>) -> Outcome<()> {
        batch::set_many(&bucket_named(&bucket)?, &pairs).map_err(text)
    }

    fn delete_many(bucket: String, keys: Vec<String>) -> Outcome<()> {
        batch::delete_many(&bucket_named(&bucket)?, &keys).map_err(text)
    }

    fn open(bucket: String) -> Outcome<()> {
        bucket_named(&bucket).map(drop)
    }
}

fn bucket_named(name: &str) -> Outcome<Bucket> {
    store::open(name).map_err(text)
}

/// The error as a test compares it.
fn text(error: Error) -> String {
    match error {
        Error::NoSuchStore => "no-such-store".to_owned(),
        Error::AccessDenied => "access-denied".to_owned(),
        Error::Other(message) => message,
    }
}
