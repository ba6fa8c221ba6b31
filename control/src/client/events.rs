//! Events of a lattice as a stream.

#![expect(
    clippy::disallowed_methods,
    reason = "owns the subjects of events, reading"
)]

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use async_nats::{Message, Subscriber};
use futures::stream::SelectAll;
use futures::{Stream, StreamExt};
use lattice_core::event::{CloudEvent, EventKind};
use lattice_core::subject::event::{all_events, event};
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

use super::{ClientConfig, ClientError};
use crate::settle::{SettleError, settle};
use lattice_rpc::throttle::LogThrottle;

/// Events that wait for a slow reader; further ones are dropped and counted.
const BUFFER: usize = 5_000;

/// What subscribing is called in errors.
const OPERATION: &str = "event subscription";

/// Events in the order they arrive. It ends when the connection is closed.
#[derive(Debug)]
pub struct EventStream {
    events: mpsc::Receiver<CloudEvent>,
    missed: Arc<AtomicU64>,
    _task: AbortOnDropHandle<()>,
}

impl EventStream {
    pub(super) async fn subscribe(
        nats: &async_nats::Client,
        config: &ClientConfig,
        kinds: &[EventKind],
    ) -> Result<Self, ClientError> {
        let failed = |source: Box<dyn std::error::Error + Send + Sync>| ClientError::Transport {
            operation: OPERATION.to_owned(),
            source,
        };
        let subjects = if kinds.is_empty() {
            vec![all_events(&config.lattice)]
        } else {
            kinds
                .iter()
                .map(|kind| event(&config.lattice, kind.name()))
                .collect()
        };
        let mut subscriptions = Vec::with_capacity(subjects.len());
        for subject in subjects {
            let subscription = nats.subscribe(subject).await;
            subscriptions.push(subscription.map_err(|error| failed(error.into()))?);
        }
        match settle(nats, config.timeout).await {
            Ok(()) => {}
            // A user that may not use its inbox so. What is sent next comes after the subscriptions
            // all the same.
            Err(error @ SettleError::Timeout) => tracing::debug!(%error, "did not wait for events"),
            Err(error) => return Err(failed(error.into())),
        }
        let (sender, events) = mpsc::channel(BUFFER);
        let missed = Arc::new(AtomicU64::new(0));
        let messages = futures::stream::select_all(subscriptions);
        let task = tokio::spawn(forward(messages, sender, Arc::clone(&missed)));
        Ok(Self {
            events,
            missed,
            _task: AbortOnDropHandle::new(task),
        })
    }

    /// Waits for the next event. Nothing is lost when the future is dropped.
    pub async fn next(&mut self) -> Option<CloudEvent> {
        self.events.recv().await
    }

    /// Waits for the first event of which `pick` makes something; `None` when none came in time.
    pub async fn wait_for<T>(
        &mut self,
        within: Duration,
        mut pick: impl FnMut(CloudEvent) -> Option<T>,
    ) -> Option<T> {
        let found = async {
            loop {
                if let Some(found) = pick(self.next().await?) {
                    return Some(found);
                }
            }
        };
        timeout(within, found).await.ok().flatten()
    }

    /// How many events were dropped because they were not read in time.
    #[must_use]
    pub fn missed(&self) -> u64 {
        self.missed.load(Ordering::Relaxed)
    }
}

impl Stream for EventStream {
    type Item = CloudEvent;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<CloudEvent>> {
        self.events.poll_recv(cx)
    }
}

async fn forward(
    mut messages: SelectAll<Subscriber>,
    sender: mpsc::Sender<CloudEvent>,
    missed: Arc<AtomicU64>,
) {
    let unreadable = LogThrottle::default();
    while let Some(message) = messages.next().await {
        let Some(event) = parse(&message, &unreadable) else {
            continue;
        };
        match sender.try_send(event) {
            Ok(()) => {}
            Err(TrySendError::Closed(_)) => return,
            Err(TrySendError::Full(_)) => {
                if missed.fetch_add(1, Ordering::Relaxed) == 0 {
                    tracing::warn!("events are not read fast enough, dropping some");
                }
            }
        }
    }
}

fn parse(message: &Message, unreadable: &LogThrottle) -> Option<CloudEvent> {
    serde_json::from_slice(&message.payload)
        .inspect_err(|error| {
            if let Some(untold) = unreadable.turn() {
                tracing::warn!(subject = %message.subject, %error, untold, "unreadable event, ignored");
            }
        })
        .ok()
}
