//! One message from its delivery to its end.

use std::time::Duration;

use lattice_rpc::{CallError, Invocation, Peer, RemoteError, TraceContext};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;
use tracing::field::Empty;

use super::call::{HANDLE, HANDLER, outcome, params};
use super::pace::Pace;
use super::settings::PushSettings;
use crate::backoff::Backoff;
use crate::error::chain;
use crate::link::ProviderLink;
use crate::queue::backend::{Delivery, Outcome, QueueError, Queues};
use crate::queue::elsewhere;
use crate::queue::linked::{Linked, spent};
use crate::queue::receipt::Scope;
use crate::session::Session;
use crate::telemetry::{self, Begun, TARGET};

/// How often a settling is tried again that may pass, while the lease lasts.
const FIRST_AGAIN: Duration = Duration::from_millis(100);
const LONGEST_AGAIN: Duration = Duration::from_secs(2);

/// Calls the handler of one link.
#[derive(Debug)]
pub(crate) struct Worker<B> {
    pub(crate) linked: Linked<B>,
    pub(crate) settings: PushSettings,
    pub(crate) pace: Pace,
    /// What the link is called in logs.
    pub(crate) link: String,
    peer: Peer,
    /// The call, complete but for its deadline.
    call: Invocation,
    over: CancellationToken,
    /// Where deliveries are settled that only this process can settle.
    home: Option<String>,
}

/// How a call ended.
enum Ended {
    /// The handler has said what to do.
    Said(Outcome),
    /// It has failed.
    Failed(String),
    /// The link ends, so nobody waits for it any more.
    Over,
    /// The lease was lost before a call began.
    Lost,
}

impl<B: Queues> Worker<B> {
    pub(crate) fn new(
        session: &Session,
        link: &ProviderLink,
        linked: Linked<B>,
        settings: PushSettings,
        over: CancellationToken,
    ) -> Self {
        Self {
            linked,
            settings,
            pace: Pace::new(),
            link: link.to_string(),
            peer: session.peer().clone(),
            call: session.call_through(link, HANDLER, HANDLE, Instant::now()),
            over,
            home: B::HELD_HERE.then(|| elsewhere::home(session)),
        }
    }

    /// Has a message handled and settles it.
    pub(crate) async fn work(&self, delivery: Delivery) {
        let (receipt, attempt) = (delivery.receipt.clone(), delivery.attempt);
        if self.linked.is_spent(attempt) {
            self.settle(&receipt, Outcome::Reject(spent(attempt))).await;
            return;
        }
        let id = delivery.id.clone();
        let how = match self.handled(delivery).await {
            Ended::Said(outcome) => self.heeded(outcome, attempt),
            Ended::Failed(why) => {
                tracing::warn!(
                    link = self.link,
                    id,
                    attempt,
                    error = why,
                    "a handler failed"
                );
                self.after_failure(why, attempt)
            }
            Ended::Over => Outcome::Retry(None),
            Ended::Lost => return,
        };
        self.settle(&receipt, how).await;
    }

    /// Messages that came when nobody is called any more.
    pub(crate) async fn give_back(&self, deliveries: Vec<Delivery>) {
        let queue = self.linked.own_queue();
        for delivery in deliveries {
            let given = self
                .linked
                .queues()
                .settle(queue, &delivery.receipt, Outcome::Retry(None));
            if let Err(error) = given.await {
                let error = error.text();
                tracing::debug!(link = self.link, error, "could not give a message back");
            }
        }
    }

    fn is_last(&self, attempt: u32) -> bool {
        let most = self.linked.max_attempts();
        most != 0 && attempt >= most
    }

    /// What a handler said, within what the link allows.
    fn heeded(&self, outcome: Outcome, attempt: u32) -> Outcome {
        match outcome {
            Outcome::Retry(_) if self.is_last(attempt) => Outcome::Reject(format!(
                "the handler asked for it again in attempt {attempt}, the last one"
            )),
            Outcome::Retry(None) => self.again(attempt),
            outcome => outcome,
        }
    }

    fn after_failure(&self, why: String, attempt: u32) -> Outcome {
        match self.is_last(attempt) {
            true => Outcome::Reject(format!("attempt {attempt}, the last one: {why}")),
            false => self.again(attempt),
        }
    }

    fn again(&self, attempt: u32) -> Outcome {
        let delay = self.settings.delay(attempt).as_millis();
        Outcome::Retry(Some(u32::try_from(delay).unwrap_or(u32::MAX)))
    }

    /// Calls the handler and keeps the lease alive meanwhile.
    async fn handled(&self, delivery: Delivery) -> Ended {
        let own = delivery.receipt.clone();
        let lost = CancellationToken::new();
        let call = async {
            let trace = carried(&delivery);
            let scope = Scope {
                queue: self.linked.own_queue(),
                home: self.home.as_deref().unwrap_or_default(),
            };
            let sealed = self.linked.sealed(scope, vec![delivery]).await;
            match sealed.map(|mut sealed| sealed.pop()) {
                Ok(Some(mut delivery)) => {
                    if let Some(home) = &self.home {
                        delivery.receipt = elsewhere::marked(home, &delivery.receipt);
                    }
                    self.call_until_taken(&delivery, trace, &lost).await
                }
                Ok(None) => Ended::Lost,
                Err(error) => Ended::Failed(error.text()),
            }
        };
        tokio::select! {
            biased;
            ended = call => ended,
            () = self.over.cancelled() => Ended::Over,
            () = self.keep_lease(&own, &lost) => Ended::Lost,
        }
    }

    /// Makes the call again for as long as nobody takes it.
    async fn call_until_taken(
        &self,
        delivery: &Delivery,
        trace: Option<TraceContext>,
        lost: &CancellationToken,
    ) -> Ended {
        let params = params(self.linked.own_queue(), delivery);
        loop {
            let call = self.call.clone();
            let call = call.until(Instant::now() + self.settings.timeout);
            let Begun { span, onward } = telemetry::begin(trace.as_ref(), || self.span(delivery));
            let call = call.trace(onward.as_ref().or(trace.as_ref()));
            let answer = async {
                let answer = self.peer.call(call, params.clone()).await;
                if answer.is_err() {
                    telemetry::failed(RemoteError::FAILED);
                }
                answer
            };
            let error = match answer.instrument(span).await.map(outcome) {
                Ok(Ok(outcome)) => {
                    self.pace.recover();
                    return Ended::Said(outcome);
                }
                Ok(Err(error)) => return Ended::Failed(chain(&error)),
                // Our own side ends, which is not the handler's failure.
                Err(CallError::Cancelled) => return Ended::Over,
                Err(error) if !error.never_started() => return Ended::Failed(chain(&error)),
                Err(error) => error,
            };
            let next = self.pace.slow_down(asked(&error));
            tracing::debug!(link = self.link, %error, "nobody takes messages at the moment");
            tokio::select! {
                () = tokio::time::sleep_until(next) => {}
                () = lost.cancelled() => return Ended::Lost,
            }
        }
    }

    fn span(&self, delivery: &Delivery) -> tracing::Span {
        // Names as in the semantic conventions for messaging.
        tracing::info_span!(
            target: TARGET,
            "process",
            otel.name = format!("process {}", self.linked.own_queue()),
            otel.kind = "consumer",
            messaging.destination.name = self.linked.own_queue(),
            messaging.message.id = delivery.id,
            otel.status_code = Empty,
            error.type = Empty,
        )
    }

    /// Extends the lease again and again. One that is lost stops further calls; that of a handler
    /// at work goes on, since what it does is done, and may still be settled by a backend that is
    /// late itself.
    async fn keep_lease(&self, receipt: &str, lost: &CancellationToken) {
        let (queue, lease) = (self.linked.own_queue(), self.linked.lease());
        loop {
            tokio::time::sleep(lease / 3).await;
            match self.linked.queues().extend(queue, receipt, lease).await {
                Ok(()) => {}
                Err(QueueError::ReceiptExpired) => {
                    tracing::warn!(link = self.link, "lost the lease of a message at work");
                    lost.cancel();
                    std::future::pending::<()>().await;
                }
                Err(error) => {
                    let error = error.text();
                    tracing::warn!(link = self.link, error, "could not extend a lease");
                }
            }
        }
    }

    /// Settles, and tries again what may pass for as long as the lease lasts.
    async fn settle(&self, receipt: &str, how: Outcome) {
        let until = Instant::now() + self.linked.lease();
        let mut backoff = Backoff::new(FIRST_AGAIN, LONGEST_AGAIN);
        loop {
            let queue = self.linked.own_queue();
            let settled = self.linked.queues().settle(queue, receipt, how.clone());
            let Err(error) = settled.await else { return };
            let next = Instant::now() + backoff.delay();
            let is_over = self.over.is_cancelled();
            if !error.may_pass() || next >= until || is_over {
                let error = error.text();
                tracing::warn!(link = self.link, error, "could not settle a message");
                return;
            }
            tokio::time::sleep_until(next).await;
        }
    }
}

/// After which time an overloaded component asks to be called again.
fn asked(error: &CallError) -> Duration {
    match error {
        CallError::Remote(error) => Duration::from_millis(error.retry_after_ms.unwrap_or(0)),
        _ => Duration::ZERO,
    }
}

/// The trace that a message belongs to, if its sender has left it there.
fn carried(delivery: &Delivery) -> Option<TraceContext> {
    let value = |name: &str| {
        let mut attributes = delivery.message.attributes.iter();
        let found = attributes.find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.clone())
    };
    Some(TraceContext {
        traceparent: value("traceparent")?,
        tracestate: value("tracestate"),
    })
}
