//! Calls that were refused because of who makes them, for those who watch the lattice.

use std::sync::Arc;

use lattice_core::HostId;
use lattice_core::event::{CallRefused, Event};
use lattice_rpc::throttle::forward_throttled;
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

use crate::events::Events;

/// How many reports may wait.
const WAITING: usize = 256;

/// Tells of refused calls. What processes of providers say of theirs is kept apart, so that it takes no
/// room from what the host itself has seen.
#[derive(Debug)]
pub(crate) struct Refusals {
    own: Told,
    of_providers: Told,
}

/// One queue of reports, and who tells of them.
#[derive(Debug)]
struct Told {
    reports: mpsc::Sender<CallRefused>,
    _task: AbortOnDropHandle<()>,
}

impl Refusals {
    pub(crate) fn start(host: &HostId, events: &Arc<Events>) -> Self {
        let told = || Told::start(host.clone(), Arc::clone(events));
        Self {
            own: told(),
            of_providers: told(),
        }
    }

    /// Where reports of the host go.
    pub(crate) fn reports(&self) -> mpsc::Sender<CallRefused> {
        self.own.reports.clone()
    }

    /// Where those of its provider processes go.
    pub(crate) fn of_providers(&self) -> mpsc::Sender<CallRefused> {
        self.of_providers.reports.clone()
    }
}

impl Told {
    fn start(host: HostId, events: Arc<Events>) -> Self {
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
        let task = tokio::spawn(forward_throttled(coming, tell));
        Self {
            reports,
            _task: AbortOnDropHandle::new(task),
        }
    }
}
