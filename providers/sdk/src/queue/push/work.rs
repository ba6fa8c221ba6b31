//! One message from its delivery to its end.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::future::join_all;
use lattice_rpc::throttle::LogThrottle as Lines;
use lattice_rpc::{CallError, Invocation, Peer, Reached, RemoteError, TraceContext};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;
use tracing::field::Empty;

use super::call::{HANDLE, HANDLER, outcome, params};
use super::pace::Pace;
use super::settings::PushSettings;
use super::unbegun::Unbegun;
use crate::Backoff;
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
    /// The lines about retries that the backend cannot do as late as they should come.
    early: Lines,
    /// What was given back before a call began, where the backend counts it.
    unbegun: Unbegun,
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
    /// None has begun: the link ends, or nobody can be called for so long that the backend wants the
    /// message back.
    Unbegun,
    /// The lease was lost before a call began.
    Lost,
}

/// A message that is at work.
struct AtWork {
    received: Instant,
    /// Cancelled when its lease was lost.
    lost: CancellationToken,
    /// Whether a call may have begun.
    is_called: AtomicBool,
}

impl AtWork {
    fn since(received: Instant) -> Self {
        Self {
            received,
            lost: CancellationToken::new(),
            is_called: AtomicBool::new(false),
        }
    }
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
            early: Lines::default(),
            unbegun: Unbegun::default(),
            home: B::HELD_HERE.then(|| elsewhere::home(session)),
        }
    }

    /// Has a message handled and settles it.
    pub(crate) async fn work(&self, mut delivery: Delivery) {
        let received = Instant::now();
        if B::COUNTS_GIVEN_BACK {
            delivery.attempt = self.unbegun.attempt(&delivery.id, delivery.attempt);
        }
        let (receipt, attempt) = (delivery.receipt.clone(), delivery.attempt);
        if self.linked.is_spent(self.linked.own_queue(), attempt) {
            self.unbegun.forget(&delivery.id);
            let how = Outcome::Reject(spent(attempt));
            self.settle(&receipt, Some(how)).await;
            return;
        }
        let id = delivery.id.clone();
        let how = match self.handled(delivery, received).await {
            Ended::Said(outcome) => Some(self.heeded(outcome, attempt)),
            Ended::Failed(why) => {
                tracing::warn!(
                    link = self.link,
                    id,
                    attempt,
                    error = why,
                    "a handler failed"
                );
                Some(self.after_failure(why, attempt))
            }
            Ended::Over => Some(Outcome::Retry(None)),
            Ended::Unbegun => None,
            Ended::Lost => return,
        };
        match &how {
            None if B::COUNTS_GIVEN_BACK => self.unbegun.note(&id),
            Some(Outcome::Ack | Outcome::Reject(_)) => self.unbegun.forget(&id),
            None | Some(Outcome::Retry(_)) => {}
        }
        let how = how.map(|how| self.possible(how, received));
        self.settle(&receipt, how).await;
    }

    /// Messages that came when nobody is called any more.
    pub(crate) async fn give_back(&self, deliveries: Vec<Delivery>) {
        let (queues, queue) = (self.linked.queues(), self.linked.own_queue());
        let mut given = Vec::with_capacity(deliveries.len());
        for delivery in &deliveries {
            given.push(queues.give_back(queue, &delivery.receipt));
        }
        for given in join_all(given).await {
            if let Err(error) = given {
                let error = error.text();
                tracing::debug!(link = self.link, error, "could not give a message back");
            }
        }
    }

    fn is_last(&self, attempt: u32) -> bool {
        let most = self.linked.max_attempts(self.linked.own_queue());
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

    /// As late as the backend can have a message come again: it would refuse what is later, and the
    /// message would come when its lease ends.
    fn possible(&self, how: Outcome, received: Instant) -> Outcome {
        let Outcome::Retry(Some(millis)) = how else {
            return how;
        };
        let wanted = Duration::from_millis(millis.into());
        let longest = B::LONGEST_RETRY.saturating_sub(received.elapsed());
        if wanted <= longest {
            return how;
        }
        if let Some(untold) = self.early.turn() {
            tracing::warn!(
                link = self.link,
                ?wanted,
                ?longest,
                untold,
                "a message is tried again earlier than wanted, as the backend keeps none for so long"
            );
        }
        let longest = u32::try_from(longest.as_millis());
        Outcome::Retry(Some(longest.unwrap_or(u32::MAX)))
    }

    /// Calls the handler and keeps the lease alive meanwhile.
    async fn handled(&self, delivery: Delivery, received: Instant) -> Ended {
        let own = delivery.receipt.clone();
        let at_work = AtWork::since(received);
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
                    self.call_until_taken(&delivery, trace, &at_work).await
                }
                Ok(None) => Ended::Lost,
                Err(error) => Ended::Failed(error.text()),
            }
        };
        tokio::select! {
            biased;
            ended = call => ended,
            () = self.over.cancelled() => match at_work.is_called.load(Ordering::Relaxed) {
                true => Ended::Over,
                false => Ended::Unbegun,
            },
            () = self.keep_lease(&own, &at_work.lost) => Ended::Lost,
        }
    }

    /// Makes the call again for as long as nobody takes it and the message may be held.
    async fn call_until_taken(
        &self,
        delivery: &Delivery,
        trace: Option<TraceContext>,
        at_work: &AtWork,
    ) -> Ended {
        let params = params(self.linked.own_queue(), delivery);
        loop {
            let call = self.call.clone();
            let call = call.until(Instant::now() + self.settings.timeout);
            let Begun { span, onward } = telemetry::begin(trace.as_ref(), || self.span(delivery));
            let call = call.trace(onward.as_ref().or(trace.as_ref()));
            at_work.is_called.store(true, Ordering::Relaxed);
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
                Err(error) if error.reached() == Reached::Never => error,
                Err(error) => return Ended::Failed(chain(&error)),
            };
            at_work.is_called.store(false, Ordering::Relaxed);
            let next = self.pace.slow_down(asked(&error));
            tracing::debug!(link = self.link, %error, "nobody takes messages at the moment");
            // The other half is for a call that begins, and for giving the message back.
            if B::LONGEST_HELD.is_some_and(|longest| next >= at_work.received + longest / 2) {
                return Ended::Unbegun;
            }
            tokio::select! {
                () = tokio::time::sleep_until(next) => {}
                () = at_work.lost.cancelled() => return Ended::Lost,
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

    /// Settles, or gives back what has not begun, and tries again what may pass for as long as the lease
    /// lasts.
    async fn settle(&self, receipt: &str, how: Option<Outcome>) {
        let until = Instant::now() + self.linked.lease();
        let mut backoff = Backoff::new(FIRST_AGAIN, LONGEST_AGAIN);
        loop {
            let (queues, queue) = (self.linked.queues(), self.linked.own_queue());
            let settled = match how.clone() {
                Some(how) => self.linked.end_lease(queue, receipt, how).await,
                None => queues.give_back(queue, receipt).await,
            };
            let Err(error) = settled else { return };
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
