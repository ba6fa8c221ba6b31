//! What a provider process says of calls of its own that failed.

use std::sync::Arc;

use lattice_core::ComponentId;
use lattice_core::event::InvocationFailed;
use lattice_rpc::Links;
use tokio::sync::mpsc;

use super::report_filter;
use super::report_quota::ReportQueue;

/// The reports of one process.
#[derive(Debug)]
pub(crate) struct FailedCalls {
    report_queue: ReportQueue<InvocationFailed>,
    /// Whom it may call at all.
    links: Arc<dyn Links>,
}

impl FailedCalls {
    pub(crate) fn new(
        provider: ComponentId,
        links: Arc<dyn Links>,
        queue: mpsc::Sender<InvocationFailed>,
    ) -> Self {
        Self {
            report_queue: ReportQueue::new(provider, "failed", queue),
            links,
        }
    }

    /// Passes a report on, as far as it is one of a call that the provider may have made, and that no
    /// host can tell of.
    pub(crate) fn tell(&self, report: Result<InvocationFailed, serde_json::Error>) {
        let read = report.ok().and_then(|report| self.read(report));
        self.report_queue.tell(read);
    }

    fn read(&self, report: InvocationFailed) -> Option<InvocationFailed> {
        let provider = self.report_queue.provider().as_str();
        let is_linked =
            |target: &str, interface: &str| self.links.is_linked(provider, target, interface);
        report_filter::failed(provider, report, is_linked)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::time::Duration;

    use futures::future::BoxFuture;
    use lattice_core::reply::ErrorCode;

    use crate::providers::report_filter::{LONGEST_TEXT, MOST_SUPPRESSED};
    use crate::providers::report_quota::PER_SECOND;

    /// One link, from `web` to `hello`.
    #[derive(Debug)]
    struct OneLink;

    impl Links for OneLink {
        fn is_linked(&self, source: &str, target: &str, interface: &str) -> bool {
            (source, target, interface) == ("web", "hello", "wrpc:http/incoming-handler")
        }

        fn linked<'a>(
            &'a self,
            source: &'a str,
            target: &'a str,
            interface: &'a str,
            _: Duration,
        ) -> BoxFuture<'a, bool> {
            Box::pin(async move { self.is_linked(source, target, interface) })
        }
    }

    fn report(target: &str, code: ErrorCode) -> InvocationFailed {
        InvocationFailed {
            host_id: "another host".to_owned(),
            component_id: target.to_owned(),
            source_id: Some("victim".to_owned()),
            operation: "wrpc:http/incoming-handler@0.1.0.handle".to_owned(),
            code,
            error: format!("\u{1b}[2J{}", "y".repeat(10_000)),
            suppressed: u64::MAX,
        }
    }

    fn reporter(provider: &str) -> (FailedCalls, mpsc::Receiver<InvocationFailed>) {
        let (queue, coming) = mpsc::channel(256);
        let id = ComponentId::new(provider).unwrap();
        (FailedCalls::new(id, Arc::new(OneLink), queue), coming)
    }

    #[tokio::test(start_paused = true)]
    async fn a_process_tells_of_its_own_calls_in_texts_of_some_length() {
        let (reporter, mut coming) = reporter("web");
        reporter.tell(Ok(report("hello", ErrorCode::Unreachable)));
        let told = coming.try_recv().unwrap();
        assert_eq!(told.source_id.as_deref(), Some("web"));
        assert_eq!((&*told.host_id, &*told.component_id), ("", "hello"));
        assert_eq!(told.error.len(), LONGEST_TEXT);
        assert!(told.error.starts_with(" [2J"), "{}", told.error);
        assert_eq!(told.suppressed, MOST_SUPPRESSED);
    }

    #[tokio::test(start_paused = true)]
    async fn what_it_cannot_have_seen_is_not_passed_on() {
        let (web, mut coming) = reporter("web");
        web.tell(Ok(report("hello", ErrorCode::PolicyDenied)));
        web.tell(Ok(report("other", ErrorCode::Unreachable)));
        let operation = "wasi:keyvalue/store@0.2.0-draft.get".to_owned();
        web.tell(Ok(InvocationFailed {
            operation,
            ..report("hello", ErrorCode::Timeout)
        }));
        web.tell(serde_json::from_str("{"));
        assert!(coming.try_recv().is_err());
        let (another, mut coming) = reporter("another");
        another.tell(Ok(report("hello", ErrorCode::Unreachable)));
        assert!(coming.try_recv().is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_floods_is_heard_some_times_a_second_and_the_rest_is_counted() {
        let (reporter, mut coming) = reporter("web");
        let one = InvocationFailed {
            suppressed: 0,
            ..report("hello", ErrorCode::Timeout)
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
        let next = coming.try_recv().unwrap();
        assert_eq!(next.suppressed, u64::from(1000 - PER_SECOND));
    }
}
