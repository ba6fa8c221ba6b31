//! `lattice:messaging@0.1.0`.

use bytes::Bytes;
use lattice_core::values::messaging as plain;

use super::super::lanes::Define;
use super::{Import, lane, record, variant};

record! {
    /// `message`.
    Message as plain::Message {
        subject: String = "subject",
        reply_to: Option<String> = "reply-to",
        content_type: Option<String> = "content-type",
        metadata: Vec<(String, String)> = "metadata",
        body: Bytes = "body",
    }
}

variant! {
    /// `error`.
    Error as plain::Error {
        0 Timeout = "timeout",
        1 Connection(String) = "connection",
        2 PermissionDenied(String) = "permission-denied",
        3 Other(String) = "other",
    }
}

/// The lane of a function.
pub(super) fn find(function: &str, import: &Import) -> Option<Define> {
    match function {
        "publish" => lane::<(Message,), (), Error>(import),
        "request" => lane::<(Message, u32, u32), Vec<Message>, Error>(import),
        _ => None,
    }
}
