//! `lattice:schedule@0.1.0`.

use bytes::Bytes;
use lattice_core::values::schedule as plain;

use super::super::lanes::Define;
use super::{Import, lane, record, variant};

variant! {
    /// `trigger`.
    Trigger as plain::Trigger {
        0 Cron(String) = "cron",
        1 EveryMs(u64) = "every-ms",
        2 AtMs(u64) = "at-ms",
    }
}

record! {
    /// `job`.
    Job as plain::Job {
        name: String = "name",
        trigger: Trigger = "trigger",
        time_zone: Option<String> = "time-zone",
        payload: Bytes = "payload",
    }
}

variant! {
    /// `error`.
    Error as plain::Error {
        0 InvalidTrigger(String) = "invalid-trigger",
        1 InvalidJob(String) = "invalid-job",
        2 NoSuchJob = "no-such-job",
        3 LimitReached(String) = "limit-reached",
        4 AccessDenied = "access-denied",
        5 Unavailable(String) = "unavailable",
        6 Other(String) = "other",
    }
}

/// The lane of a function.
pub(super) fn find(function: &str, import: &Import) -> Option<Define> {
    match function {
        "put-job" => lane::<(Job,), (), Error>(import),
        "delete-job" => lane::<(String,), (), Error>(import),
        "list-jobs" => lane::<(), Vec<Job>, Error>(import),
        _ => None,
    }
}
