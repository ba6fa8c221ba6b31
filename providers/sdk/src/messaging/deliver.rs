//! Bringing messages to the component at the other end of a link.

use std::sync::Arc;
use std::time::Duration;

use lattice_rpc::TraceContext;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;
use tracing::field::Empty;

use super::handlers::Handlers;
use super::{DeadLetter, DeliveryRules, Failure, Intake, LARGEST_BODY, Message};
use crate::Backoff;
use crate::link::ProviderLink;
use crate::session::Session;
use crate::telemetry::{self, Begun, TARGET};

/// The first and the longest pause before a component is called again that was not reached.
const UNREACHED: Duration = Duration::from_millis(100);
const LONGEST_UNREACHED: Duration = Duration::from_secs(5);
/// The longest that hosts that are overloaded are believed.
const LONGEST_SLOW: Duration = Duration::from_secs(10);

/// A message that came from a broker.
#[derive(Debug, Clone)]
pub struct Arriving {
    /// What the component gets.
    pub message: Message,
    /// The trace that its headers tell of.
    pub trace: Option<TraceContext>,
}

impl From<Message> for Arriving {
    fn from(message: Message) -> Self {
        let trace = None;
        Self { message, trace }
    }
}

/// Who makes the next attempt after one that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Again {
    /// It is made here, after the pause.
    Here,
    /// The broker gives the message again when the pause is over.
    Broker,
}

/// What has become of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The handler has returned.
    Done,
    /// It shall be given again after this time. Only with [`Again::Broker`].
    Again(Duration),
    /// No more attempts are made.
    Dead(DeadLetter),
    /// The link goes while the next attempt is waited for, or the broker has the message back: it
    /// shall keep it.
    Left,
}

/// What has become of one attempt.
#[derive(Debug)]
pub(super) enum Attempted {
    /// The handler has returned.
    Taken,
    /// It failed, or could not be reached for too long.
    Failed(Failure),
    /// The link goes while the component is waited for.
    Left,
}

/// Calls the handler of the component at the other end of one link. Clones share everything.
#[derive(Debug, Clone)]
pub struct Deliverer {
    shared: Arc<Shared>,
    /// Cancelled when the link goes.
    leaving: CancellationToken,
}

#[derive(Debug)]
struct Shared {
    handlers: Handlers,
    link: String,
    component: String,
    rules: DeliveryRules,
    room: Arc<Semaphore>,
    /// For messages that the broker does not keep while they wait; see [`super::unkept`].
    waiting: Arc<Semaphore>,
    /// No calls before this time: hosts are overloaded.
    slow_until: Mutex<Option<Instant>>,
}

impl Deliverer {
    /// Calls the component that `link` names, for messages that `intake` takes.
    #[must_use]
    pub fn new(
        session: &Session,
        link: &ProviderLink,
        rules: DeliveryRules,
        intake: &Intake,
    ) -> Self {
        let shared = Shared {
            handlers: Handlers::new(session, link),
            link: link.to_string(),
            component: link.peer.to_string(),
            room: Arc::new(Semaphore::new(rules.max_in_flight)),
            waiting: Arc::new(Semaphore::new(super::unkept::WAITING)),
            rules,
            slow_until: Mutex::default(),
        };
        Self {
            shared: Arc::new(shared),
            leaving: intake.leaving(),
        }
    }

    /// The same, for a message that the broker takes back when `held` is cancelled, which is a child
    /// of [`Intake::leaving`]: the message is [`Verdict::Left`] then, where no attempt is under way. One
    /// that is comes to its end.
    #[must_use]
    pub fn while_held(&self, held: CancellationToken) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
            leaving: held,
        }
    }

    /// How messages are delivered.
    #[must_use]
    pub fn rules(&self) -> &DeliveryRules {
        &self.shared.rules
    }

    /// What the link is called in logs.
    #[must_use]
    pub fn link(&self) -> &str {
        &self.shared.link
    }

    /// Waits until there is room for one more message; it is taken until the permit is dropped.
    ///
    /// # Panics
    ///
    /// Never: the semaphore is not closed.
    pub async fn room(&self) -> OwnedSemaphorePermit {
        let room = Arc::clone(&self.shared.room).acquire_owned().await;
        room.expect("nobody closes the semaphore")
    }

    pub(super) fn waiting(&self) -> &Arc<Semaphore> {
        &self.shared.waiting
    }

    /// As many permits as there are without waiting, up to `most`.
    #[must_use]
    pub fn more_room(&self, most: usize) -> Vec<OwnedSemaphorePermit> {
        let one = || Arc::clone(&self.shared.room).try_acquire_owned().ok();
        std::iter::from_fn(one).take(most).collect()
    }

    /// Delivers a message that `before` attempts have failed to deliver already.
    ///
    /// A component that cannot be reached is waited for here, whoever makes the next attempt: the
    /// room that the message takes is what keeps more of them from being taken from the broker.
    pub async fn settle(&self, arriving: &Arriving, before: u32, again: Again) -> Verdict {
        let rules = &self.shared.rules;
        let mut attempts = before;
        loop {
            let failure = match self.reach(arriving, attempts).await {
                Attempted::Taken => return Verdict::Done,
                Attempted::Left => return Verdict::Left,
                Attempted::Failed(failure) => failure,
            };
            attempts = attempts.saturating_add(1);
            if self.is_last(&failure, attempts) {
                let cause = crate::error::chain(&failure);
                return Verdict::Dead(self.letter(arriving, attempts, cause));
            }
            let pause = rules.pause(attempts);
            if again == Again::Broker {
                return Verdict::Again(pause);
            }
            if !self.wait(tokio::time::sleep(pause)).await {
                return Verdict::Left;
            }
        }
    }

    /// Whether no attempt follows the one that failed so.
    pub(super) fn is_last(&self, failure: &Failure, attempts: u32) -> bool {
        failure.is_final() || failure.is_unreached() || attempts >= self.shared.rules.max_deliver
    }

    /// Makes one attempt, for which the component is waited for as long as the rules let.
    pub(super) async fn reach(&self, arriving: &Arriving, attempts: u32) -> Attempted {
        let mut waiting = Backoff::new(UNREACHED, LONGEST_UNREACHED);
        let begun = Instant::now();
        loop {
            if !self.wait(self.wait_while_slow()).await {
                return Attempted::Left;
            }
            let Err(failure) = self.attempt(arriving).await else {
                return Attempted::Taken;
            };
            let subject = &*arriving.message.subject;
            tracing::debug!(link = self.shared.link, subject, attempts, %failure, "a message was not taken");
            if !failure.is_unreached() {
                return Attempted::Failed(failure);
            }
            // Hosts that are overloaded know best; those that are not there say nothing.
            let pause = match failure.retry_after() {
                Some(after) => {
                    let after = after.min(LONGEST_SLOW);
                    Backoff::new(after, after).delay()
                }
                None => waiting.delay(),
            };
            let limit = self.shared.rules.unreached;
            if limit.is_some_and(|limit| limit.saturating_sub(begun.elapsed()) <= pause) {
                return Attempted::Failed(failure);
            }
            self.slow_down(&failure);
            if !self.wait(tokio::time::sleep(pause)).await {
                return Attempted::Left;
            }
        }
    }

    /// Waits between attempts; says whether the link is still there.
    pub(super) async fn wait(&self, pause: impl Future<Output = ()>) -> bool {
        self.wait_for(pause).await.is_some()
    }

    /// Waits for something, as long as the link is there.
    pub(super) async fn wait_for<T>(&self, something: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            something = something => Some(something),
            () = self.leaving.cancelled() => None,
        }
    }

    /// Calls the handler once.
    ///
    /// # Errors
    ///
    /// [`Failure`]: the handler's own, and whatever kept it from answering.
    pub async fn attempt(&self, arriving: &Arriving) -> Result<(), Failure> {
        let size = arriving.message.size();
        if size > LARGEST_BODY {
            let limit = LARGEST_BODY;
            return Err(Failure::TooLarge { size, limit });
        }
        let Begun { span, onward } = telemetry::begin(arriving.trace.as_ref(), || {
            tracing::info_span!(
                target: TARGET,
                "process",
                otel.name = format!("process {}", arriving.message.subject),
                otel.kind = "consumer",
                messaging.destination.name = arriving.message.subject,
                messaging.message.body.size = size,
                road = Empty,
                road.why = Empty,
                otel.status_code = Empty,
                error.type = Empty,
            )
        });
        let trace = onward.as_ref().or(arriving.trace.as_ref());
        let until = Instant::now() + self.shared.rules.timeout;
        let handlers = &self.shared.handlers;
        let done = handlers.call(&arriving.message, |call| call.until(until).trace(trace));
        let done = done.instrument(span.clone()).await;
        if done.is_err() {
            span.record("otel.status_code", "ERROR");
            span.record("error.type", "failed");
        }
        done
    }

    /// What is told of a message that is not delivered, and why.
    #[must_use]
    pub fn letter(&self, arriving: &Arriving, attempts: u32, cause: String) -> DeadLetter {
        let letter = DeadLetter {
            cause,
            subject: arriving.message.subject.clone(),
            attempts,
            component: self.shared.component.clone(),
            reply_to: arriving.message.reply_to.clone(),
        };
        let (link, subject, cause) = (&*self.shared.link, &*letter.subject, &*letter.cause);
        tracing::warn!(link, subject, attempts, cause, "gave up on a message");
        letter
    }

    /// Has all messages of the link wait when hosts ask for it.
    fn slow_down(&self, failure: &Failure) {
        if let Some(after) = failure.retry_after() {
            let until = Instant::now() + after.min(LONGEST_SLOW);
            let mut slow_until = self.shared.slow_until.lock();
            *slow_until = Some(slow_until.map_or(until, |known| known.max(until)));
        }
    }

    async fn wait_while_slow(&self) {
        loop {
            let until = *self.shared.slow_until.lock();
            match until.filter(|until| *until > Instant::now()) {
                Some(until) => tokio::time::sleep_until(until).await,
                None => return,
            }
        }
    }
}
