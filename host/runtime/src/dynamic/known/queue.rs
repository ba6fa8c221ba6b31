//! `lattice:queue@0.1.0`.

use bytes::Bytes;
use lattice_core::values::queue as plain;

use super::super::lanes::Define;
use super::{Import, lane, record, variant};

record! {
    /// `message`.
    Message as plain::Message {
        body: Bytes = "body",
        content_type: Option<String> = "content-type",
        attributes: Vec<(String, String)> = "attributes",
        dedup_id: Option<String> = "dedup-id",
        group: Option<String> = "group",
    }
}

record! {
    /// `delivery`.
    Delivery as plain::Delivery {
        receipt: String = "receipt",
        id: String = "id",
        message: Message = "message",
        attempt: u32 = "attempt",
        enqueued_at_ms: u64 = "enqueued-at-ms",
        lease_ms: u32 = "lease-ms",
    }
}

record! {
    /// `depth`.
    Depth as plain::Depth {
        ready: u64 = "ready",
        leased: Option<u64> = "leased",
        delayed: Option<u64> = "delayed",
        dead: Option<u64> = "dead",
    }
}

variant! {
    /// `error`.
    Error as plain::Error {
        0 NoSuchQueue = "no-such-queue",
        1 TooLarge(u64) = "too-large",
        2 ReceiptExpired = "receipt-expired",
        3 AccessDenied = "access-denied",
        4 Full(String) = "full",
        5 Invalid(String) = "invalid",
        6 Unavailable(String) = "unavailable",
        7 Unsupported(String) = "unsupported",
        8 Other(String) = "other",
    }
}

variant! {
    /// `outcome`.
    Outcome as plain::Outcome {
        0 Ack = "ack",
        1 Retry(Option<u32>) = "retry",
        2 Reject(String) = "reject",
    }
}

/// The lane of a function of `producer`.
pub(super) fn find_producer(function: &str, import: &Import) -> Option<Define> {
    match function {
        "send" => lane::<(String, Message, Option<u32>), String, Error>(import),
        "send-many" => lane::<(String, Vec<Message>), Vec<Result<String, Error>>, Error>(import),
        _ => None,
    }
}

/// The lane of a function of `consumer`.
pub(super) fn find_consumer(function: &str, import: &Import) -> Option<Define> {
    match function {
        "receive" => lane::<(String, u32, u32, Option<u32>), Vec<Delivery>, Error>(import),
        "settle" => lane::<(String, String, Outcome), (), Error>(import),
        "extend" => lane::<(String, String, u32), (), Error>(import),
        "depth-of" => lane::<(String,), Depth, Error>(import),
        _ => None,
    }
}
