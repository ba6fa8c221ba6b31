//! Calls that were refused because of who makes them, for those who watch the lattice.

use std::sync::Arc;

use lattice_core::HostId;
use lattice_core::event::{CallRefused, Event};
use lattice_rpc::throttle::{Throttled, forward_throttled};
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

use crate::events::Events;

/// How many reports may wait.
const WAITING: usize = 256;

/// What a provider process says of a call that it refused. It may say what it likes: whatever it reports
/// takes no room from others.
#[derive(Debug)]
pub(crate) struct Reported(pub(crate) CallRefused);

impl Throttled for Reported {
    type Kind = (Option<String>, String);

    fn kind(&self) -> Self::Kind {
        let Self(refused) = self;
        (refused.source_id.clone(), refused.code.clone())
    }

    fn suppressed(&mut self) -> &mut u64 {
        &mut self.0.suppressed
    }

    fn owner(&self) -> Option<String> {
        Some(self.0.target_id.clone())
    }
}

/// Tells of refused calls. What processes of providers say of theirs is kept apart, so that it takes no
/// room from what the host itself has seen.
#[derive(Debug)]
pub(crate) struct Refusals {
    own: Told<CallRefused>,
    of_providers: Told<Reported>,
}

/// One queue of reports, and who tells of them.
#[derive(Debug)]
struct Told<T> {
    reports: mpsc::Sender<T>,
    _task: AbortOnDropHandle<()>,
}

impl Refusals {
    pub(crate) fn start(host: &HostId, events: &Arc<Events>) -> Self {
        let events = || Arc::clone(events);
        Self {
            own: Told::start(host.clone(), events(), |refused| refused),
            of_providers: Told::start(host.clone(), events(), |Reported(refused)| refused),
        }
    }

    /// Where reports of the host go.
    pub(crate) fn reports(&self) -> mpsc::Sender<CallRefused> {
        self.own.reports.clone()
    }

    /// Where those of its provider processes go.
    pub(crate) fn of_providers(&self) -> mpsc::Sender<Reported> {
        self.of_providers.reports.clone()
    }
}

impl<T: Throttled<Kind: Send> + Send + 'static> Told<T> {
    fn start(host: HostId, events: Arc<Events>, refused: fn(T) -> CallRefused) -> Self {
        let (reports, coming) = mpsc::channel(WAITING);
        let tell = move |report: T| {
            let refused = refused(report);
            tracing::warn!(
                target = refused.target_id,
                source = refused.source_id,
                caller = refused.caller_id,
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
