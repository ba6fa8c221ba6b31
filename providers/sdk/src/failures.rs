//! Calls of the provider that failed, told to its host.
//!
//! The peer tells of them, through which all calls go, so that no provider has to. What the called side
//! reports of itself is told by its own host.

use async_nats::{Client, Subject};
use lattice_core::event::InvocationFailed;
use lattice_core::provider::HostData;
use lattice_core::subject::ProviderSubjects;
use lattice_core::{ComponentId, LatticeName};
use lattice_rpc::FailedCalls;
use lattice_rpc::throttle::{Reports, Throttled, forward_throttled};
use tokio::sync::mpsc;

use crate::error::RunError;
use crate::manage::publish;

/// How many may wait to be told.
const WAITING: usize = 256;

/// Failed calls, on their way to the host.
#[derive(Debug)]
pub(crate) struct Failures {
    calls: FailedCalls,
    coming: mpsc::Receiver<InvocationFailed>,
    /// Where the host is told.
    subject: Subject,
}

impl Failures {
    /// Those of a provider whose host takes them.
    pub(crate) fn of(data: &HostData) -> Result<Option<Self>, RunError> {
        if !data.lattice_takes_failures {
            return Ok(None);
        }
        let lattice = LatticeName::new(&data.lattice_rpc_prefix)?;
        let subjects = ProviderSubjects::new(&lattice, &ComponentId::new(&data.provider_key)?);
        let (queue, coming) = mpsc::channel(WAITING);
        Ok(Some(Self {
            calls: FailedCalls::new(&data.provider_key, queue),
            coming,
            subject: subjects.failed_of(&data.provider_xkey_public_key).into(),
        }))
    }

    /// Where the peer tells of them.
    pub(crate) fn calls(&self) -> FailedCalls {
        self.calls.clone()
    }

    /// Tells the host as long as the provider lives.
    pub(crate) async fn tell(self, nats: Client) {
        let write = serde_json::to_vec::<InvocationFailed>;
        tell_host(self.coming, write, nats, self.subject).await;
    }
}

/// Tells the host of what may come again and again, as `write` puts it: the first of a kind at once,
/// and what follows within a second together. A flood of one kind takes no room from the others, as the
/// host hears only so many. Ends when nobody reports any more.
pub(crate) async fn tell_host<T: Throttled>(
    coming: mpsc::Receiver<T>,
    write: impl Fn(&T) -> serde_json::Result<Vec<u8>>,
    nats: Client,
    subject: Subject,
) {
    let (queue, mut due) = mpsc::channel(WAITING);
    let queue = Reports::new(queue);
    let choosing = forward_throttled(coming, move |report| queue.send(report));
    let telling = async {
        while let Some(report) = due.recv().await {
            if let Ok(payload) = write(&report) {
                publish(&nats, subject.clone(), payload.into()).await;
            }
        }
    };
    tokio::join!(choosing, telling);
}
