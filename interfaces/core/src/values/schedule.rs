//! What `lattice:schedule@0.1.0` passes.

use bytes::Bytes;

/// `trigger`: when a job is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trigger {
    /// As a cron expression says.
    Cron(String),
    /// Every so many milliseconds.
    EveryMs(u64),
    /// Once, so many milliseconds after 1970 began.
    AtMs(u64),
}

/// `job`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// What it is called.
    pub name: String,
    /// When it is due.
    pub trigger: Trigger,
    /// Where the clock stands that the trigger goes by; UTC where none is told.
    pub time_zone: Option<String>,
    /// What its handler is given.
    pub payload: Bytes,
}

/// `error`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    /// A trigger that means nothing.
    InvalidTrigger(String),
    /// A job that cannot be.
    InvalidJob(String),
    /// There is no job of that name.
    NoSuchJob,
    /// There are as many jobs as may be.
    LimitReached(String),
    /// The caller may not do that.
    AccessDenied,
    /// The backend cannot be reached, or does not do its work.
    Unavailable(String),
    /// Anything else, in words.
    Other(String),
}
