//! Turns control messages into calls of a [`ControlApi`] and their results into replies.

mod dispatch;
mod lanes;
mod reply;
mod worker;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_nats::{Client, Subscriber};
use lattice_core::subject::{ControlSubjects, Filter, TopicPrefix};
use lattice_core::{HostId, LatticeName};
use lattice_rpc::TraceContext;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use crate::api::ControlApi;
use crate::settle::settle;
use worker::Worker;

/// How long the server waits for NATS to know its subscriptions.
const SUBSCRIBE_DEADLINE: Duration = Duration::from_secs(10);
/// How long an aborted worker may take to end.
const ABORT_GRACE: Duration = Duration::from_secs(1);

/// Makes a request's span the child of the trace that the client sent.
pub type SpanLinker = Arc<dyn Fn(&tracing::Span, &TraceContext) + Send + Sync>;

/// What a server serves, and how much at once.
#[derive(Clone)]
pub struct ServerConfig {
    /// What subjects start with.
    pub topic_prefix: TopicPrefix,
    /// The lattice.
    pub lattice: LatticeName,
    /// The host that answers.
    pub host_id: HostId,
    /// Whether the host takes part in auctions for components.
    pub component_auctions: bool,
    /// Whether the host takes part in auctions for providers.
    pub provider_auctions: bool,
    /// How many requests are worked on at once.
    pub max_in_flight: usize,
    /// How many more requests may wait; those beyond are refused, and auctions are left unanswered.
    pub max_queued: usize,
    /// How long one waits for its turn; it is refused then, since whoever asked waits no longer.
    pub max_wait: Duration,
    /// How long one request may take.
    pub handler_deadline: Duration,
    /// Joins the traces of clients, when tracing is on.
    pub span_linker: Option<SpanLinker>,
}

impl ServerConfig {
    /// The usual settings for a host.
    #[must_use]
    pub fn new(lattice: LatticeName, host_id: HostId) -> Self {
        Self {
            topic_prefix: TopicPrefix::default(),
            lattice,
            host_id,
            component_auctions: true,
            provider_auctions: true,
            max_in_flight: 64,
            max_queued: 512,
            // As long as clients of 1.9 wait for an answer.
            max_wait: Duration::from_secs(2),
            handler_deadline: Duration::from_secs(120),
            span_linker: None,
        }
    }
}

impl fmt::Debug for ServerConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerConfig")
            .field("topic_prefix", &self.topic_prefix)
            .field("lattice", &self.lattice)
            .field("host_id", &self.host_id)
            .field("max_in_flight", &self.max_in_flight)
            .field("max_queued", &self.max_queued)
            .finish_non_exhaustive()
    }
}

/// Why a server could not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServerError {
    /// A subscription was refused.
    #[error("could not subscribe to `{subject}`")]
    Subscribe {
        /// The subject.
        subject: String,
        /// What the client said.
        source: async_nats::SubscribeError,
    },
    /// NATS did not confirm the subscriptions.
    #[error("NATS did not confirm the control subscriptions: {reason}")]
    Unconfirmed {
        /// Why not.
        reason: String,
    },
}

/// Starts servers; the running one is a [`ServerHandle`].
#[derive(Debug)]
pub struct Server;

impl Server {
    /// Subscribes and serves. When this returns, NATS delivers every request to this host.
    ///
    /// # Errors
    ///
    /// Fails when NATS refuses a subscription or does not answer.
    pub async fn start(
        nats: Client,
        config: ServerConfig,
        api: Arc<dyn ControlApi>,
    ) -> Result<ServerHandle, ServerError> {
        let subjects = ControlSubjects::new(&config.topic_prefix, &config.lattice);
        let filters = subjects.filters(
            &config.host_id,
            config.component_auctions,
            config.provider_auctions,
        );
        let mut subscriptions = Vec::with_capacity(filters.len());
        for filter in filters {
            subscriptions.push(subscribe(&nats, filter).await?);
        }
        settle(&nats, SUBSCRIBE_DEADLINE)
            .await
            .map_err(|error| ServerError::Unconfirmed {
                reason: error.to_string(),
            })?;
        let (stop, stopped) = oneshot::channel();
        let worker = Worker::new(nats, subjects, config, api, subscriptions);
        let task = tokio::spawn(worker.run(stopped));
        Ok(ServerHandle {
            stop: Some(stop),
            task,
        })
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "owns the subjects of control, answering"
)]
async fn subscribe(nats: &Client, filter: Filter) -> Result<Subscriber, ServerError> {
    let Filter { subject, queue } = filter;
    let subscription = match queue {
        Some(queue) => nats.queue_subscribe(subject.clone(), queue).await,
        None => nats.subscribe(subject.clone()).await,
    };
    subscription.map_err(|source| ServerError::Subscribe { subject, source })
}

/// How a drain ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drained {
    /// Requests that were cut off because the deadline passed.
    pub unfinished: usize,
}

/// A running server. Dropping it cuts off requests under way; [`ServerHandle::drain`] does not.
#[derive(Debug)]
pub struct ServerHandle {
    stop: Option<oneshot::Sender<Instant>>,
    task: JoinHandle<Drained>,
}

impl ServerHandle {
    /// Takes no more requests, finishes those that arrived and cuts off what is left at the
    /// deadline.
    pub async fn drain(mut self, deadline: Duration) -> Drained {
        if let Some(stop) = self.stop.take() {
            // Fails only when the worker has ended already.
            let _ = stop.send(Instant::now() + deadline);
        }
        match timeout(deadline + ABORT_GRACE, &mut self.task).await {
            Ok(Ok(drained)) => drained,
            Ok(Err(error)) => {
                tracing::error!(%error, "control server ended badly");
                Drained { unfinished: 0 }
            }
            Err(_) => {
                tracing::error!("control server did not end in time");
                Drained { unfinished: 0 }
            }
        }
    }

    /// Whether the server has ended, which it does by itself only when the connection is closed.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.task.is_finished()
    }
}

impl Drop for ServerHandle {
    fn drop(&mut self) {
        self.task.abort();
    }
}
