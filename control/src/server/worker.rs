//! Takes messages, runs a bounded number of requests and sends the replies.

#![expect(
    clippy::disallowed_methods,
    reason = "answers on the inbox that a request names"
)]

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use async_nats::{Client, Message, Subscriber};
use bytes::Bytes;
use futures::stream::SelectAll;
use futures::{FutureExt, StreamExt};
use lattice_core::ErrorCode;
use lattice_core::subject::{ControlOp, ControlSubjects, takes_answers};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout, timeout_at};
use tracing::Instrument;

use super::dispatch::dispatch;
use super::lanes::Lanes;
use super::reply::{Encoded, failure, fit};
use super::{Drained, ServerConfig};
use crate::api::{ControlApi, ControlError};
use crate::settle::settle;
use crate::trace;
use lattice_rpc::throttle::LogThrottle;

/// How long sending a reply may wait for room in the connection's queue.
const REPLY_PATIENCE: Duration = Duration::from_secs(2);

/// How long leaving waits for requests that are on their way.
const LEAVE_PATIENCE: Duration = Duration::from_secs(2);

/// What every request needs.
pub(super) struct Shared {
    pub(super) nats: Client,
    pub(super) subjects: ControlSubjects,
    pub(super) config: ServerConfig,
    pub(super) api: Arc<dyn ControlApi>,
    /// Of the lines about requests that were refused.
    refusals: LogThrottle,
}

/// The task behind a server.
pub(super) struct Worker {
    shared: Arc<Shared>,
    lanes: Lanes,
    messages: SelectAll<Subscriber>,
    requests: JoinSet<()>,
}

impl Worker {
    pub(super) fn new(
        nats: Client,
        subjects: ControlSubjects,
        config: ServerConfig,
        api: Arc<dyn ControlApi>,
        subscriptions: Vec<Subscriber>,
    ) -> Self {
        let lanes = Lanes::new(&config);
        Self {
            shared: Arc::new(Shared {
                nats,
                subjects,
                config,
                api,
                refusals: LogThrottle::default(),
            }),
            lanes,
            messages: futures::stream::select_all(subscriptions),
            requests: JoinSet::new(),
        }
    }

    pub(super) async fn run(mut self, stopped: oneshot::Receiver<Instant>) -> Drained {
        let mut stopped = stopped;
        loop {
            tokio::select! {
                message = self.messages.next() => match message {
                    Some(message) => self.accept(message).await,
                    None => {
                        tracing::warn!("control subscriptions ended, the connection was closed");
                        return Drained { unfinished: 0 };
                    }
                },
                Some(ended) = self.requests.join_next() => {
                    if let Err(error) = ended {
                        tracing::error!(%error, "control request ended badly");
                    }
                }
                // The handle is dropped with this task, so an error cannot be seen here.
                stop = &mut stopped => {
                    return self.drain(stop.unwrap_or_else(|_| Instant::now())).await;
                }
            }
        }
    }

    async fn accept(&mut self, message: Message) {
        let shared = Arc::clone(&self.shared);
        let op = shared.subjects.parse(&message.subject).ok();
        let Some(place) = self.lanes.of(op.as_ref()).place() else {
            return shared.refuse(&message, "too many wait").await;
        };
        self.requests.spawn(async move {
            match place.turn().await {
                Some(_turn) => shared.handle(message).await,
                None => shared.refuse(&message, "it waited for too long").await,
            }
        });
    }

    /// Leaves all subscriptions and accepts what NATS has delivered until then.
    ///
    /// The client's own `drain` forgets a subscription as soon as it has written that it leaves,
    /// and drops what is on its way. A limit beyond all counting keeps the subscription here,
    /// while the server, which reads no number of so many digits, ends it at once.
    async fn leave(&mut self) {
        for subscription in self.messages.iter_mut() {
            if let Err(error) = subscription.unsubscribe_after(u64::MAX).await {
                tracing::warn!(%error, "could not end a control subscription");
            }
        }
        if let Err(error) = settle(&self.shared.nats, LEAVE_PATIENCE).await {
            tracing::warn!(%error, "left control without knowing what was on its way");
        }
        while let Some(Some(message)) = self.messages.next().now_or_never() {
            self.accept(message).await;
        }
    }

    async fn drain(mut self, deadline: Instant) -> Drained {
        let unsubscribed = timeout_at(deadline, self.leave());
        if unsubscribed.await.is_err() {
            tracing::warn!("control subscriptions did not end in time");
        }
        let finished = async { while self.requests.join_next().await.is_some() {} };
        let _ = timeout_at(deadline, finished).await;
        let unfinished = self.requests.len();
        if unfinished > 0 {
            tracing::warn!(unfinished, "cutting off control requests");
        }
        self.requests.shutdown().await;
        Drained { unfinished }
    }
}

impl Shared {
    async fn handle(&self, message: Message) {
        let span = tracing::info_span!("control", subject = %message.subject);
        if let (Some(link), Some(trace)) = (&self.config.span_linker, trace::read(&message)) {
            link(&span, &trace);
        }
        async {
            let work = AssertUnwindSafe(dispatch(self, &message)).catch_unwind();
            match timeout(self.config.handler_deadline, work).await {
                Ok(Ok(Some(reply))) => self.answer(&message, reply).await,
                Ok(Ok(None)) => {}
                Ok(Err(_panic)) => {
                    tracing::error!("control request panicked");
                    let error = ControlError::new(ErrorCode::Internal, "internal error");
                    self.fail(&message, error).await;
                }
                Err(_) => self.fail(&message, self.took_too_long()).await,
            }
        }
        .instrument(span)
        .await;
    }

    async fn refuse(&self, message: &Message, why: &str) {
        if let Some(untold) = self.refusals.turn() {
            let subject = &*message.subject;
            tracing::warn!(subject, untold, "refused a control request: {why}");
        }
        let error = ControlError::new(ErrorCode::Busy, "host is overloaded")
            .with_hint("try again later, or on another host");
        self.fail(message, error).await;
    }

    /// Answers that a request was not worked on to its end. In an auction the host stays silent then, as
    /// one that does not bid: clients of 1.9 go by the first answer, and others may bid.
    async fn fail(&self, message: &Message, error: ControlError) {
        let op = self.subjects.parse(&message.subject);
        if let Ok(ControlOp::ComponentAuction | ControlOp::ProviderAuction) = op {
            return;
        }
        self.answer(message, failure(error)).await;
    }

    fn took_too_long(&self) -> ControlError {
        let within = self.config.handler_deadline;
        tracing::warn!(?within, "control request took too long");
        let text = format!("the request was not finished within {within:?}");
        ControlError::new(ErrorCode::Timeout, text)
    }

    /// Sends a reply if one is wanted.
    async fn answer(&self, message: &Message, reply: Encoded) {
        let Some(to) = message.reply.clone() else {
            return;
        };
        if !takes_answers(&to) {
            tracing::debug!(reply = %to, "left a control request unanswered: nobody waits there");
            return;
        }
        let headers = trace::headers(trace::read(message).as_ref());
        let payload: Bytes = fit(reply, &message.subject, &headers, self.nats.max_payload());
        let sent = if headers.is_empty() {
            timeout(REPLY_PATIENCE, self.nats.publish(to, payload)).await
        } else {
            timeout(
                REPLY_PATIENCE,
                self.nats.publish_with_headers(to, headers, payload),
            )
            .await
        };
        match sent {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "could not send a control reply"),
            Err(_) => tracing::warn!("could not send a control reply in time"),
        }
    }
}
