//! What a provider process says of calls that it refused.

use lattice_core::ComponentId;
use lattice_core::event::CallRefused;
use tokio::sync::mpsc;

use super::report_filter;
use super::report_quota::ReportQueue;
use crate::refusals::Reported;

/// The reports of one process.
#[derive(Debug)]
pub(crate) struct RefusedCalls(ReportQueue<Reported>);

impl RefusedCalls {
    pub(crate) fn new(provider: ComponentId, queue: mpsc::Sender<Reported>) -> Self {
        Self(ReportQueue::new(provider, "refused", queue))
    }

    /// Passes a report on, as far as it is one of a refused call.
    pub(crate) fn tell(&self, report: Result<CallRefused, serde_json::Error>) {
        let provider = self.0.provider().as_str();
        let read = report.ok();
        let read = read.and_then(|report| report_filter::refused(provider, report));
        self.0.tell(read.map(Reported));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::time::Duration;

    use lattice_rpc::RemoteError;
    use lattice_rpc::throttle::Throttled as _;

    use crate::providers::report_filter::{LONGEST_TEXT, MOST_SUPPRESSED};
    use crate::providers::report_quota::PER_SECOND;

    fn report(code: &str) -> CallRefused {
        CallRefused {
            target_id: "victim".into(),
            source_id: Some("x".repeat(10_000)),
            caller_id: Some("victim".into()),
            operation: "a:b/c.\u{1b}[2Jrun".into(),
            code: code.into(),
            error: "y".repeat(10_000),
            suppressed: u64::MAX,
            ..CallRefused::default()
        }
    }

    fn reporter() -> (RefusedCalls, mpsc::Receiver<Reported>) {
        let (queue, coming) = mpsc::channel(256);
        let id = ComponentId::new("kv").unwrap();
        (RefusedCalls::new(id, queue), coming)
    }

    #[tokio::test(start_paused = true)]
    async fn a_process_tells_of_itself_in_known_words_of_some_length() {
        let (reporter, mut coming) = reporter();
        for code in ["", "made-up", "replayed-1", "stopping"] {
            reporter.tell(Ok(report(code)));
        }
        reporter.tell(serde_json::from_str("{"));
        assert!(coming.try_recv().is_err());
        reporter.tell(Ok(report(RemoteError::REPLAYED)));
        let told = coming.try_recv().unwrap();
        // However many it makes up, they take room from nobody else.
        assert_eq!(told.owner().as_deref(), Some("kv"));
        let Reported(told) = told;
        assert_eq!(told.caller_id, None);
        assert_eq!((&*told.target_id, &*told.code), ("kv", "replayed"));
        assert_eq!(told.source_id.unwrap().len(), LONGEST_TEXT);
        assert_eq!(told.error.len(), LONGEST_TEXT);
        assert_eq!(told.operation, "a:b/c. [2Jrun");
        assert_eq!(told.suppressed, MOST_SUPPRESSED);
        reporter.tell(Ok(report(RemoteError::DENIED)));
        assert_eq!(coming.try_recv().unwrap().0.code, "denied");
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_floods_is_heard_some_times_a_second_and_the_rest_is_counted() {
        let (reporter, mut coming) = reporter();
        let one = CallRefused {
            suppressed: 0,
            ..report(RemoteError::STALE)
        };
        for _ in 0..1000 {
            reporter.tell(Ok(one.clone()));
        }
        let mut heard = 0;
        while coming.try_recv().is_ok() {
            heard += 1;
        }
        assert_eq!(heard, PER_SECOND);
        tokio::time::advance(Duration::from_secs(1)).await;
        reporter.tell(Ok(one));
        let Reported(next) = coming.try_recv().unwrap();
        assert_eq!(next.suppressed, u64::from(1000 - PER_SECOND));
    }
}
