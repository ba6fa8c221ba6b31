//! What is taken of the reports of a provider process about calls: what it can know of, in words that
//! such reports have and texts of some length.

use lattice_core::event::{CallRefused, InvocationFailed};
use lattice_core::subject::rpc::interface_of;
use lattice_core::text::clipped_line;
use lattice_rpc::{FailedCalls, RemoteError};

/// How much of a text is taken.
pub(super) const LONGEST_TEXT: usize = 256;
/// How many calls a report may stand for besides.
pub(super) const MOST_SUPPRESSED: u64 = 1_000_000;

/// What is taken of a report of a call that `provider` refused; `None` when it is none.
pub(super) fn refused(provider: &str, report: CallRefused) -> Option<CallRefused> {
    let mut codes = RemoteError::OF_CALLERS.iter().chain(&[RemoteError::DENIED]);
    let code = codes.find(|code| **code == report.code)?;
    Some(CallRefused {
        host_id: String::new(),
        target_id: provider.to_owned(),
        source_id: report.source_id.as_deref().map(clipped),
        // Who it was is certain where a host has seen it itself.
        caller_id: None,
        operation: clipped(&report.operation),
        code: (*code).to_owned(),
        error: clipped(&report.error),
        suppressed: report.suppressed.min(MOST_SUPPRESSED),
    })
}

/// What is taken of a report of a call by `provider` that failed; `None` when a host can tell of it, or
/// when the provider is not linked to that target for that interface.
pub(super) fn failed(
    provider: &str,
    report: InvocationFailed,
    is_linked: impl FnOnce(&str, &str) -> bool,
) -> Option<InvocationFailed> {
    if !FailedCalls::CODES.contains(&report.code) {
        return None;
    }
    if !is_linked(&report.component_id, interface_of(&report.operation)) {
        return None;
    }
    Some(InvocationFailed {
        host_id: String::new(),
        source_id: Some(provider.to_owned()),
        operation: clipped(&report.operation),
        error: clipped(&report.error),
        suppressed: report.suppressed.min(MOST_SUPPRESSED),
        component_id: report.component_id,
        code: report.code,
    })
}

/// Some of a text, without what steers terminals.
fn clipped(text: &str) -> String {
    clipped_line(text, LONGEST_TEXT)
}

/// What is told of a message that cannot be read. The error repeats what the process has written, which
/// is not to look like lines of the log.
pub(super) fn unreadable(error: &serde_json::Error) -> String {
    clipped_line(error, LONGEST_TEXT)
}

#[cfg(test)]
mod tests {
    use super::*;

    use lattice_core::provider::LinkReport;

    #[test]
    fn what_cannot_be_read_is_told_in_one_short_line() {
        let told = |state: &str| {
            let json = serde_json::json!({ "state": state }).to_string();
            unreadable(&serde_json::from_str::<LinkReport>(&json).unwrap_err())
        };
        let forged = told("x\n2026-01-01T00:00:00Z ERROR lattice_host: gone");
        assert!(forged.starts_with("unknown variant `x 2026"), "{forged}");
        assert_eq!(told(&"x".repeat(10_000)).len(), LONGEST_TEXT);
    }
}
