//! What a provider process says of calls that it refused.
//!
//! It is believed as little as anything else that it says: it can tell of itself alone, in words that
//! refused calls have, and so often that others are heard beside it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use lattice_core::ComponentId;
use lattice_core::event::CallRefused;
use lattice_rpc::RemoteError;
use lattice_rpc::quiet::Reports;
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio::time::Instant;

/// How many reports of one process are taken in a second.
const PER_SECOND: u32 = 32;
/// How much of a text is taken.
const LONGEST_TEXT: usize = 256;
/// How many calls a report may stand for besides.
const MOST_SUPPRESSED: u64 = 1_000_000;

/// The reports of one process, on their way to those who watch the lattice.
#[derive(Debug)]
pub(crate) struct RefusedCalls {
    provider: ComponentId,
    reports: Reports<CallRefused>,
    quota: Mutex<Quota>,
    unreadable: AtomicU64,
}

/// How many reports were taken since when.
#[derive(Debug)]
struct Quota {
    since: Instant,
    taken: u32,
}

impl Quota {
    fn takes(&mut self) -> bool {
        if self.since.elapsed() >= Duration::from_secs(1) {
            (self.since, self.taken) = (Instant::now(), 0);
        }
        self.taken = self.taken.saturating_add(1);
        self.taken <= PER_SECOND
    }
}

impl RefusedCalls {
    pub(crate) fn new(provider: ComponentId, queue: mpsc::Sender<CallRefused>) -> Self {
        let since = Instant::now();
        Self {
            provider,
            reports: Reports::new(queue),
            quota: Mutex::new(Quota { since, taken: 0 }),
            unreadable: AtomicU64::new(0),
        }
    }

    /// Passes a report on, as far as it is one of a refused call.
    pub(crate) fn tell(&self, report: Result<CallRefused, serde_json::Error>) {
        let told = report.ok().and_then(|report| self.read(report));
        let Some(told) = told else {
            // The first one is told, so that its maker finds it.
            if self.unreadable.fetch_add(1, Ordering::Relaxed) == 0 {
                let provider = self.provider.as_str();
                tracing::warn!(provider, "ignored a report of a refused call that is none");
            }
            return;
        };
        match self.quota.lock().takes() {
            true => self.reports.send(told),
            false => self.reports.lose(1 + told.suppressed),
        }
    }

    fn read(&self, report: CallRefused) -> Option<CallRefused> {
        let is_it = |code: &&&str| **code == report.code;
        let code = RemoteError::OF_CALLERS.iter().find(is_it)?;
        Some(CallRefused {
            host_id: String::new(),
            target_id: self.provider.as_str().to_owned(),
            source_id: report.source_id.as_deref().map(clipped),
            operation: clipped(&report.operation),
            code: (*code).to_owned(),
            error: clipped(&report.error),
            suppressed: report.suppressed.min(MOST_SUPPRESSED),
        })
    }
}

fn clipped(text: &str) -> String {
    let plain = |c: char| if c.is_control() { ' ' } else { c };
    text.chars().take(LONGEST_TEXT).map(plain).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(code: &str) -> CallRefused {
        CallRefused {
            target_id: "victim".into(),
            source_id: Some("x".repeat(10_000)),
            operation: "a:b/c.\u{1b}[2Jrun".into(),
            code: code.into(),
            error: "y".repeat(10_000),
            suppressed: u64::MAX,
            ..CallRefused::default()
        }
    }

    fn reporter() -> (RefusedCalls, mpsc::Receiver<CallRefused>) {
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
        assert_eq!((&*told.target_id, &*told.code), ("kv", "replayed"));
        assert_eq!(told.source_id.unwrap().len(), LONGEST_TEXT);
        assert_eq!(told.error.len(), LONGEST_TEXT);
        assert_eq!(told.operation, "a:b/c. [2Jrun");
        assert_eq!(told.suppressed, MOST_SUPPRESSED);
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
        let next = coming.try_recv().unwrap();
        assert_eq!(next.suppressed, u64::from(1000 - PER_SECOND));
    }
}
