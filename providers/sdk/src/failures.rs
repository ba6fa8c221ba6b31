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
use lattice_rpc::quiet::{Reports, tell_some};
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

    /// Tells the host as long as the provider lives: the first of a kind at once, and what follows
    /// within a second together.
    pub(crate) async fn tell(self, nats: Client) {
        let (queue, mut due) = mpsc::channel(WAITING);
        let queue = Reports::new(queue);
        let choosing = tell_some(self.coming, move |failed| queue.send(failed));
        let telling = async {
            while let Some(failed) = due.recv().await {
                if let Ok(payload) = serde_json::to_vec::<InvocationFailed>(&failed) {
                    publish(&nats, self.subject.clone(), payload.into()).await;
                }
            }
        };
        tokio::join!(choosing, telling);
    }
}
