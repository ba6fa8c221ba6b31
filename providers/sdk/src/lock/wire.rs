//! What the functions pass, as it stands on the wire.

use super::{Holder, Lease, LockError};
use crate::wire::{record, variant};

record!(Lease {
    store,
    name,
    token,
    fence,
    ttl_ms
});

record!(Holder {
    owner,
    fence,
    expires_in_ms
});

variant!(LockError {
    0 Held(holder),
    1 NotHeld,
    2 InvalidName(why),
    3 InvalidTtl(why),
    4 AccessDenied,
    5 Unavailable(why),
    6 Other(why),
});
