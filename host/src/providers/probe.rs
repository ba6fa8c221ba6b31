//! Asks one provider process for its health, from its start to its end.

use std::time::Duration;

use async_nats::Client;
use bytes::Bytes;
use lattice_core::provider::HealthCheckResponse;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::task::AbortOnDropHandle;

/// For how long a new process may stay silent without that being counted.
const SETTLING: Duration = Duration::from_secs(5);
/// The pauses between requests to a new process, growing from the first to the last.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LAST_PAUSE: Duration = Duration::from_secs(1);
/// How much sooner a provider is asked again that did not answer.
const SOONER: u32 = 10;

/// What came of one request.
#[derive(Debug)]
pub(crate) enum Probed {
    Answer(HealthCheckResponse),
    /// No answer, or none that can be read.
    Miss(String),
}

/// How and how often to ask.
#[derive(Debug, Clone)]
pub(crate) struct Probe {
    pub(crate) nats: Client,
    pub(crate) subject: String,
    pub(crate) timeout: Duration,
    pub(crate) interval: Duration,
}

impl Probe {
    /// Asks until dropped. The first answer comes as soon as the process listens.
    pub(crate) fn start(self) -> (mpsc::Receiver<Probed>, AbortOnDropHandle<()>) {
        let (results, queue) = mpsc::channel(4);
        let task = tokio::spawn(self.run(results));
        (queue, AbortOnDropHandle::new(task))
    }

    async fn run(self, results: mpsc::Sender<Probed>) {
        let Some(first) = self.first(&results).await else {
            return;
        };
        let mut probed = first;
        loop {
            let pause = match &probed {
                Probed::Answer(_) => self.interval,
                Probed::Miss(_) => self.interval / SOONER,
            };
            if results.send(probed).await.is_err() {
                return;
            }
            sleep(pause).await;
            probed = self.ask().await;
        }
    }

    /// Waits for the first answer of a new process; `None` when nobody is interested any more.
    async fn first(&self, results: &mpsc::Sender<Probed>) -> Option<Probed> {
        let settled = Instant::now() + SETTLING;
        let mut pause = FIRST_PAUSE;
        loop {
            let probed = self.ask().await;
            if matches!(probed, Probed::Answer(_)) || Instant::now() >= settled {
                return Some(probed);
            }
            sleep(pause).await;
            pause = (pause * 2).min(LAST_PAUSE);
            if results.is_closed() {
                return None;
            }
        }
    }

    async fn ask(&self) -> Probed {
        let request = self.nats.request(self.subject.clone(), Bytes::new());
        match timeout(self.timeout, request).await {
            Ok(Ok(message)) => match serde_json::from_slice(&message.payload) {
                Ok(response) => Probed::Answer(response),
                Err(error) => Probed::Miss(format!("the answer is not readable: {error}")),
            },
            Ok(Err(error)) => Probed::Miss(error.to_string()),
            Err(_) => Probed::Miss(format!("no answer within {:?}", self.timeout)),
        }
    }
}
