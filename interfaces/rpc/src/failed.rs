//! Calls that failed so that nobody but their caller knows of it.
//!
//! What the called side reports of itself is told by its own host. That nobody serves a function, that
//! whoever did so has died, or that no answer came in time is seen at this end alone.

use std::sync::Arc;

use lattice_core::event::InvocationFailed;
use lattice_core::reply::{ErrorCode, message_chain};
use lattice_core::subject::rpc::parse_invocation;
use tokio::sync::mpsc;

use crate::call::Invocation;
use crate::error::CallError;
use crate::peer::Peer;
use crate::throttle::{Reports, Throttled};

/// Failures of one function of one entity for one reason are told together.
impl Throttled for InvocationFailed {
    type Kind = (String, String, ErrorCode);

    fn kind(&self) -> Self::Kind {
        (self.component_id.clone(), self.operation.clone(), self.code)
    }

    fn suppressed(&mut self) -> &mut u64 {
        &mut self.suppressed
    }
}

/// Where a peer tells of the calls of one entity that failed.
#[derive(Debug, Clone)]
pub struct FailedCalls {
    source: Arc<str>,
    reports: Arc<Reports<InvocationFailed>>,
}

impl FailedCalls {
    /// What the codes of calls are that failed without a word of the called side.
    pub const CODES: [ErrorCode; 4] = [
        ErrorCode::Unreachable,
        ErrorCode::Timeout,
        ErrorCode::ComponentFailed,
        ErrorCode::Internal,
    ];

    /// Has calls of `source` told to `queue`. Calls that it passes on for others are theirs to tell of.
    #[must_use]
    pub fn new(source: &str, queue: mpsc::Sender<InvocationFailed>) -> Self {
        Self {
            source: source.into(),
            reports: Arc::new(Reports::new(queue)),
        }
    }

    fn tell(&self, call: &Caller<'_>, error: &CallError) {
        if call.source != Some(&*self.source) {
            return;
        }
        let Some(code) = code(error).filter(|_| !call.may_be_nowhere || !error.is_nowhere()) else {
            return;
        };
        let Some((_, target, operation)) = parse_invocation(call.subject) else {
            return;
        };
        self.reports.send(InvocationFailed {
            // The host puts itself there.
            host_id: String::new(),
            component_id: target.as_str().to_owned(),
            source_id: Some((*self.source).to_owned()),
            operation: operation.to_owned(),
            code,
            error: message_chain(error),
            suppressed: 0,
        });
    }
}

/// What of a call is needed to tell of it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Caller<'a> {
    pub(crate) subject: &'a str,
    pub(crate) source: Option<&'a str>,
    pub(crate) may_be_nowhere: bool,
}

impl Peer {
    /// Tells of a call that failed, as far as that is news.
    pub(crate) fn tell_failed(&self, call: &Caller<'_>, error: &CallError) {
        if let Some(failed) = &self.inner.config.failed {
            failed.tell(call, error);
        }
    }

    /// Tells of a call that its caller has given up because of this error. The errors that calls end
    /// with are told by themselves.
    pub fn gave_up(&self, call: &Invocation, error: &CallError) {
        self.tell_failed(&call.as_caller(), error);
    }
}

/// The kind of a failure that is news.
fn code(error: &CallError) -> Option<ErrorCode> {
    match error {
        CallError::NotServed { .. } | CallError::NotLocal { .. } | CallError::Gone { .. } => {
            Some(ErrorCode::Unreachable)
        }
        CallError::Deadline { .. } => Some(ErrorCode::Timeout),
        CallError::Incomplete { .. } => Some(ErrorCode::ComponentFailed),
        CallError::Protocol(_)
        | CallError::Decode(_)
        | CallError::TooLarge { .. }
        | CallError::SlowReader { .. }
        | CallError::Send(_) => Some(ErrorCode::Internal),
        // The called side tells of what it answered. The others are the caller's own doing.
        CallError::Remote(_)
        | CallError::NotSent { .. }
        | CallError::Cancelled
        | CallError::Aborted(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::time::Duration;

    use crate::error::RemoteError;

    const SUBJECT: &str = "default.web.wrpc.0.0.1.wrpc:http/incoming-handler@0.1.0.handle";

    fn told(
        source: Option<&str>,
        may_be_nowhere: bool,
        error: &CallError,
    ) -> Option<InvocationFailed> {
        let (queue, mut coming) = mpsc::channel(1);
        let call = Caller {
            subject: SUBJECT,
            source,
            may_be_nowhere,
        };
        FailedCalls::new("httpserver", queue).tell(&call, error);
        coming.try_recv().ok()
    }

    fn nowhere() -> CallError {
        CallError::NotServed {
            subject: SUBJECT.to_owned(),
        }
    }

    #[test]
    fn what_only_the_caller_knows_is_told() {
        let one = told(Some("httpserver"), false, &nowhere()).unwrap();
        assert_eq!(one.component_id, "web");
        assert_eq!(one.source_id.as_deref(), Some("httpserver"));
        assert_eq!(one.operation, "wrpc:http/incoming-handler@0.1.0.handle");
        assert_eq!(one.code, ErrorCode::Unreachable);
        let late = CallError::Deadline {
            subject: SUBJECT.to_owned(),
            after: Duration::from_secs(1),
            sent: true,
        };
        let one = told(Some("httpserver"), true, &late).unwrap();
        assert_eq!(one.code, ErrorCode::Timeout);
        assert!(FailedCalls::CODES.contains(&one.code));
    }

    #[test]
    fn what_others_tell_and_what_is_no_failure_is_not() {
        let answered = CallError::Remote(RemoteError::new(RemoteError::FAILED, "it trapped"));
        let cases = [
            (Some("httpserver"), false, answered),
            (Some("httpserver"), false, CallError::Cancelled),
            (Some("httpserver"), true, nowhere()),
            (Some("web"), false, nowhere()),
            (None, false, nowhere()),
        ];
        for (source, may_be_nowhere, error) in cases {
            assert_eq!(told(source, may_be_nowhere, &error), None, "{error}");
        }
    }
}
