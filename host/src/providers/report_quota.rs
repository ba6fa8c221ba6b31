//! What a provider process says of calls, on its way to those who watch the lattice.
//!
//! It is believed as little as anything else that it says: it can tell of itself alone, in words that
//! such reports have ([`report_filter`](super::report_filter)), and so often that others are heard beside it.

use std::sync::atomic::{AtomicU64, Ordering};

use async_nats::Subscriber;
use lattice_core::ComponentId;
use lattice_core::event::{CallRefused, InvocationFailed};
use lattice_core::subject::ProviderSubjects;
use lattice_rpc::throttle::{Quota, Reports, Throttled};
use parking_lot::Mutex;
use tokio::sync::mpsc;

use super::ProviderDeps;
use super::failed::FailedCalls;
use super::listen::{next, subscribe};
use super::refused::RefusedCalls;

/// How many reports of one process and kind are taken in a second.
pub(super) const PER_SECOND: u32 = 32;

/// Reports of one kind.
#[derive(Debug)]
pub(super) struct ReportQueue<T> {
    provider: ComponentId,
    /// What the reports are of.
    what: &'static str,
    reports: Reports<T>,
    quota: Mutex<Quota>,
    unreadable: AtomicU64,
}

impl<T: Throttled> ReportQueue<T> {
    pub(super) fn new(provider: ComponentId, what: &'static str, queue: mpsc::Sender<T>) -> Self {
        Self {
            provider,
            what,
            reports: Reports::new(queue),
            quota: Mutex::default(),
            unreadable: AtomicU64::new(0),
        }
    }

    /// Whose reports they are.
    pub(super) fn provider(&self) -> &ComponentId {
        &self.provider
    }

    /// Passes on what was read of a report, if it is one.
    pub(super) fn tell(&self, read: Option<T>) {
        let Some(mut told) = read else {
            // The first one is told, so that its maker finds it.
            if self.unreadable.fetch_add(1, Ordering::Relaxed) == 0 {
                let (provider, what) = (self.provider.as_str(), self.what);
                tracing::warn!(provider, "ignored a report of a {what} call that is none");
            }
            return;
        };
        match self.quota.lock().takes(PER_SECOND) {
            true => self.reports.send(told),
            false => self.reports.lose(1 + *told.suppressed()),
        }
    }
}

/// All that one process says of calls: of those to it and of those by it.
#[derive(Debug)]
pub(super) struct OfCalls {
    refused: RefusedCalls,
    failed: FailedCalls,
}

impl OfCalls {
    pub(super) fn new(provider: &ComponentId, deps: &ProviderDeps) -> Self {
        let links = deps.links.clone();
        Self {
            refused: RefusedCalls::new(provider.clone(), deps.refusals.clone()),
            failed: FailedCalls::new(provider.clone(), links, deps.failures.clone()),
        }
    }

    pub(super) fn tell(&self, said: Said) {
        match said {
            Said::Refused(report) => self.refused.tell(report),
            Said::Failed(report) => self.failed.tell(report),
        }
    }
}

/// One report.
pub(super) enum Said {
    Refused(Result<CallRefused, serde_json::Error>),
    Failed(Result<InvocationFailed, serde_json::Error>),
}

/// Where the reports of one process come in.
#[derive(Debug)]
pub(super) struct Coming {
    refused: Option<Subscriber>,
    failed: Option<Subscriber>,
}

impl Coming {
    /// Of the process that owns the public curve key.
    pub(super) async fn new(deps: &ProviderDeps, subjects: &ProviderSubjects, xkey: &str) -> Self {
        Self {
            refused: subscribe(&deps.nats, subjects.refused_of(xkey)).await,
            failed: subscribe(&deps.nats, subjects.failed_of(xkey)).await,
        }
    }

    pub(super) async fn next(&mut self) -> Option<Said> {
        tokio::select! {
            Some(report) = next(&mut self.refused) => Some(Said::Refused(report)),
            Some(report) = next(&mut self.failed) => Some(Said::Failed(report)),
            else => None,
        }
    }
}
