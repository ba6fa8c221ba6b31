//! One life of a provider: a process, or a task of this one.

use std::error::Error;
use std::process::ExitStatus;
use std::time::Duration;

use lattice_core::provider::HostData;
use lattice_core::reply::message_chain;
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::Child;
use tokio::task::{JoinError, JoinHandle};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use super::ProviderDeps;
use super::error::StartProviderError;
use crate::artifact::Program;
use crate::builtin::BuiltinContext;

/// How long a process that was killed is waited for.
const LAST_BREATH: Duration = Duration::from_secs(2);

/// How long a task that was aborted may go on until its next await.
const LAST_POLL: Duration = Duration::from_secs(1);

type Outcome = Result<(), Box<dyn Error + Send + Sync>>;

/// A provider that runs. It ends when this is dropped.
#[derive(Debug)]
pub(crate) enum Life {
    Process(Box<Child>),
    Inside(Inside),
}

/// A provider that runs in this process.
#[derive(Debug)]
pub(crate) struct Inside {
    task: JoinHandle<Outcome>,
    pub(super) stop: CancellationToken,
}

impl Drop for Inside {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Life {
    pub(crate) async fn begin(
        deps: &ProviderDeps,
        program: &Program,
        data: HostData,
    ) -> Result<Self, StartProviderError> {
        match program {
            Program::File {
                path, arguments, ..
            } => {
                let line = data.to_line()?;
                let child = deps.spawner.spawn(path, arguments, &line).await?;
                Ok(Self::Process(Box::new(child)))
            }
            Program::Builtin(builtin) => {
                let (builtin, stop) = (builtin.clone(), CancellationToken::new());
                let span = tracing::info_span!("builtin", provider = data.provider_key);
                let context = BuiltinContext {
                    nats: deps.nats.clone(),
                    bulk: deps.bulk.clone(),
                    data,
                    local: deps.local.clone(),
                    stop: stop.clone(),
                };
                let life = async move { builtin.run(context).await }.instrument(span);
                let task = match &deps.threads {
                    Some(threads) => threads.spawn(life),
                    None => tokio::spawn(life),
                };
                Ok(Self::Inside(Inside { task, stop }))
            }
        }
    }

    /// Waits for the end, and says how it came.
    pub(crate) async fn ended(&mut self) -> String {
        match self {
            Self::Process(child) => of_process(child.wait().await),
            Self::Inside(inside) => of_task((&mut inside.task).await),
        }
    }

    /// Interrupts it, as a terminal would: who does not listen for that ends at once.
    pub(crate) fn interrupt(&mut self) {
        match self {
            Self::Process(child) => {
                let id = child.id().and_then(|id| i32::try_from(id).ok());
                let Some(id) = id.and_then(Pid::from_raw) else {
                    return;
                };
                if let Err(error) = kill_process(id, Signal::INT) {
                    tracing::warn!(%error, "could not interrupt a provider");
                }
            }
            Self::Inside(inside) => inside.stop.cancel(),
        }
    }

    /// Ends it at once.
    pub(crate) async fn kill(&mut self) {
        match self {
            Self::Process(child) => {
                // A process that waits for a disk or a device ends when that lets it.
                match timeout(LAST_BREATH, child.kill()).await {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => tracing::error!(%error, "could not kill a provider"),
                    Err(_) => tracing::error!("a provider that was killed does not end"),
                }
            }
            Self::Inside(inside) => {
                inside.task.abort();
                // It ends at its next await; until then it may hold its port.
                if timeout(LAST_POLL, &mut inside.task).await.is_err() {
                    tracing::error!("a provider inside the host does not end: it computes");
                }
            }
        }
    }
}

fn of_process(status: std::io::Result<ExitStatus>) -> String {
    match status {
        Ok(status) => status.to_string(),
        Err(error) => format!("its end could not be observed: {error}"),
    }
}

fn of_task(outcome: Result<Outcome, JoinError>) -> String {
    match outcome {
        Ok(Ok(())) => "it came to its end".to_owned(),
        Ok(Err(error)) => message_chain(&*error),
        Err(broken) => match broken.try_into_panic() {
            Ok(panic) => format!("it panicked: {}", said(&*panic)),
            Err(_) => "it was ended".to_owned(),
        },
    }
}

/// What a panic said, as far as it is text.
fn said(panic: &(dyn std::any::Any + Send)) -> &str {
    panic
        .downcast_ref::<&'static str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no text")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_task_says_how_it_ended() {
        let ended = |work: fn() -> Outcome| async move {
            of_task(tokio::spawn(async move { work() }).await)
        };
        assert_eq!(ended(|| Ok(())).await, "it came to its end");
        assert_eq!(ended(|| Err("no port".into())).await, "no port");
        assert_eq!(ended(|| panic!("no luck")).await, "it panicked: no luck");
    }
}
