//! Calls that were refused because of who makes them, for those who watch the lattice.

use std::sync::Arc;

use lattice_core::HostId;
use lattice_core::event::{CallRefused, Event};
use lattice_rpc::quiet::tell_some;
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

use crate::events::Events;

/// How many reports may wait.
const WAITING: usize = 256;

/// Tells of refused calls.
#[derive(Debug)]
pub(crate) struct Refusals {
    reports: mpsc::Sender<CallRefused>,
    _task: AbortOnDropHandle<()>,
}

impl Refusals {
    pub(crate) fn start(host: HostId, events: Arc<Events>) -> Self {
        let (reports, coming) = mpsc::channel(WAITING);
        let tell = move |refused: CallRefused| {
            tracing::warn!(
                target = refused.target_id,
                source = refused.source_id,
                operation = refused.operation,
                code = refused.code,
                suppressed = refused.suppressed,
                "refused a call: {}",
                refused.error
            );
            events.publish(Event::CallRefused(CallRefused {
                host_id: host.as_str().to_owned(),
                ..refused
            }));
        };
        let task = tokio::spawn(tell_some(coming, tell));
        Self {
            reports,
            _task: AbortOnDropHandle::new(task),
        }
    }

    /// Where reports go.
    pub(crate) fn reports(&self) -> mpsc::Sender<CallRefused> {
        self.reports.clone()
    }
}
