//! `lattice:lock@0.1.0`.

use lattice_core::values::lock as plain;

use super::super::lanes::Define;
use super::{Import, lane, record, variant};

record! {
    /// `lease`.
    Lease as plain::Lease {
        store: String = "store",
        name: String = "name",
        token: String = "token",
        fence: u64 = "fence",
        ttl_ms: u32 = "ttl-ms",
    }
}

record! {
    /// `holder`.
    Holder as plain::Holder {
        owner: String = "owner",
        fence: u64 = "fence",
        expires_in_ms: Option<u32> = "expires-in-ms",
    }
}

variant! {
    /// `error`.
    Error as plain::Error {
        0 Held(Option<Holder>) = "held",
        1 NotHeld = "not-held",
        2 InvalidName(String) = "invalid-name",
        3 InvalidTtl(String) = "invalid-ttl",
        4 AccessDenied = "access-denied",
        5 Unavailable(String) = "unavailable",
        6 Other(String) = "other",
    }
}

/// The lane of a function.
pub(super) fn find(function: &str, import: &Import) -> Option<Define> {
    match function {
        "acquire" => lane::<(String, String, u32, u32), Lease, Error>(import),
        "renew" => lane::<(String, String, u32), Lease, Error>(import),
        "release" => lane::<(String, String), (), Error>(import),
        "inspect" => lane::<(String, String), Option<Holder>, Error>(import),
        _ => None,
    }
}
