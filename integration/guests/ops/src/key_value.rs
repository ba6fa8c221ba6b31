//! Key-value.

use crate::bindings::wasi::keyvalue::store;
use crate::{Amount, Done, told};

pub(crate) fn set(key: &str, amount: Amount) -> Done {
    let (bucket, value) = (store::open("").map_err(told)?, amount.bytes());
    amount.each(|_| bucket.set(key, &value).map_err(told))
}

pub(crate) fn get(key: &str, amount: Amount) -> Done {
    let bucket = store::open("").map_err(told)?;
    amount.each(|_| match bucket.get(key).map_err(told)? {
        Some(value) if value.len() == amount.size as usize => Ok(()),
        other => Err(format!(
            "not the value of `{key}`: {:?}",
            other.map(|v| v.len())
        )),
    })
}
