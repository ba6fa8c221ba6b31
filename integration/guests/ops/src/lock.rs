//! Locks.

use crate::bindings::lattice::lock::lock;
use crate::{Amount, Done, told};

/// How long a lock would last.
const TTL_MS: u32 = 30_000;

pub(crate) fn cycle(name: &str, amount: Amount) -> Done {
    amount.each(|_| {
        let lease = lock::acquire("", name, TTL_MS, 0).map_err(told)?;
        lock::release("", &lease.token).map_err(told)
    })
}
