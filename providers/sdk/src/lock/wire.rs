//! What the functions pass, as it stands on the wire.

use lattice_core::values::lock as plain;

use super::{Holder, Lease, LockError};
use crate::wire::{record, variant};

record!(Lease as plain::Lease {
    store,
    name,
    token,
    fence,
    ttl_ms
});

record!(Holder as plain::Holder {
    owner,
    fence,
    expires_in_ms
});

variant!(LockError as plain::Error {
    0 Held(holder),
    1 NotHeld,
    2 InvalidName(why),
    3 InvalidTtl(why),
    4 AccessDenied,
    5 Unavailable(why),
    6 Other(why),
});

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::tests::same;

    #[test]
    fn what_is_handed_over_is_the_same_as_on_the_wire() {
        let text = || "t".to_owned();
        same::<Lease>(plain::Lease {
            store: "s".to_owned(),
            name: "n".to_owned(),
            token: text(),
            fence: 1,
            ttl_ms: 2,
        });
        let holder = plain::Holder {
            owner: text(),
            fence: 1,
            expires_in_ms: Some(2),
        };
        let errors = [
            plain::Error::Held(Some(holder)),
            plain::Error::NotHeld,
            plain::Error::InvalidName(text()),
            plain::Error::InvalidTtl(text()),
            plain::Error::AccessDenied,
            plain::Error::Unavailable(text()),
            plain::Error::Other(text()),
        ];
        errors.into_iter().for_each(same::<LockError>);
    }
}
