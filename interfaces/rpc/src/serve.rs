//! The answering side.

#![expect(clippy::disallowed_methods, reason = "owns the subjects of calls")]

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_nats::{Client, Message, Subscriber};
use futures::{FutureExt as _, StreamExt as _};
use tokio::task::unconstrained;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::detour::Detour;
use crate::error::{ConnectError, RemoteError};
use crate::header::{Told, TraceContext};
use crate::limiter::{Limiter, Permit};
use crate::params::Params;
use crate::peer::Peer;
use crate::presence::Presence;
use crate::respond::{Inbound, Responder};
use crate::start::{Crew, Starter};

/// How a function is served.
#[derive(Debug, Clone)]
pub struct ServeOptions {
    /// Bounds the calls at once; usually shared by all functions of a component.
    pub limiter: Arc<Limiter>,
    /// The deadline of callers that tell none, as those of the 1.9 lattice.
    pub default_deadline: Duration,
    /// The latest deadline that is accepted.
    pub longest_deadline: Duration,
    /// Lets the function leave its queue group for a while; [`Relief`](crate::Relief) does so.
    pub presence: Presence,
}

/// Who calls, how, and until when.
#[derive(Debug, Clone)]
pub struct Context {
    /// The id of the calling entity, if it tells.
    pub source_id: Option<String>,
    /// The name of the link in use; `default` when the caller tells none.
    pub link_name: String,
    /// The called entity, if the caller tells.
    pub target_id: Option<String>,
    /// Trace context, as received.
    pub trace: Option<TraceContext>,
    /// When the answer has to be there.
    pub deadline: Instant,
}

impl Context {
    fn new(told: Told, options: &ServeOptions) -> Self {
        let deadline = told.deadline(options.default_deadline, options.longest_deadline);
        Self {
            source_id: told.source_id,
            link_name: told.link_name.unwrap_or_else(|| "default".to_owned()),
            target_id: told.target_id,
            trace: told.trace,
            deadline,
        }
    }
}

/// One call to answer.
#[derive(Debug)]
pub struct IncomingCall {
    /// Who calls, how, and until when.
    pub context: Context,
    /// The parameters.
    pub params: Params,
    /// Where the answer goes.
    pub responder: Responder,
}

/// A function that is being served. Dropping it stops at once; see [`ServeHandle::drain`].
#[derive(Debug)]
pub struct ServeHandle {
    leave: CancellationToken,
    abort: CancellationToken,
    tasks: TaskTracker,
}

impl ServeHandle {
    /// Leaves the queue group without waiting; what has arrived is still answered.
    pub fn leave(&self) {
        self.leave.cancel();
    }

    /// Leaves the queue group, answers what has arrived, and ends by `deadline` at the latest;
    /// what is still running then is cancelled and its callers are told.
    pub async fn drain(self, deadline: Instant) {
        self.drain_until(tokio::time::sleep_until(deadline)).await;
    }

    /// As [`ServeHandle::drain`], with an end that need not be known beforehand.
    pub async fn drain_until(self, end: impl Future<Output = ()>) {
        self.leave.cancel();
        self.tasks.close();
        tokio::select! {
            biased;
            () = self.tasks.wait() => {}
            () = end => {
                self.abort.cancel();
                self.tasks.wait().await;
            }
        }
    }
}

impl Drop for ServeHandle {
    fn drop(&mut self) {
        self.leave.cancel();
        // After `drain` nothing is left that this could end.
        self.abort.cancel();
    }
}

impl Peer {
    /// Serves the function at `subject` as a member of the queue group `queue`.
    ///
    /// The handler of a call is first polled where calls are taken in, after those that came
    /// before it; it must not compute for long before it waits for something. From then on it runs
    /// in a task of its own, where nothing that another caller does or leaves undone holds it up.
    /// After calls that did compute for long, those that follow begin in tasks of their own. The
    /// handler is dropped when the caller cancels, and when the deadline passes before it has
    /// answered. Call [`Peer::confirm`] after the last function to know that callers reach it.
    ///
    /// # Errors
    ///
    /// [`ConnectError::Subscribe`] when NATS refuses.
    pub async fn serve<H, F>(
        &self,
        subject: &str,
        queue: &str,
        options: ServeOptions,
        handler: H,
    ) -> Result<ServeHandle, ConnectError>
    where
        H: Fn(IncomingCall) -> F + Send + Sync + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let place = Place {
            subject: subject.to_owned(),
            queue: queue.to_owned(),
        };
        let subscriber = place.subscribe(self.nats()).await?;
        self.inner.subscriptions.fetch_add(1, Ordering::Relaxed);
        let handle = ServeHandle {
            leave: self.inner.stop.child_token(),
            abort: self.inner.stop.child_token(),
            tasks: TaskTracker::new(),
        };
        let intake = Arc::new(Intake {
            peer: self.clone(),
            place,
            options,
            handler,
            crew: Crew {
                tasks: handle.tasks.clone(),
                long: self.inner.config.long_calls.clone(),
            },
            detour: Detour::default(),
            abort: handle.abort.clone(),
        });
        handle
            .tasks
            .spawn(intake.run(subscriber, handle.leave.clone()));
        Ok(handle)
    }
}

/// How long leaving a queue group waits for messages that are on their way.
const LEAVE_WITHIN: Duration = Duration::from_secs(2);

/// How many calls are started one after the other in one task. More that have come meanwhile are
/// started in tasks of their own, which other workers may take.
const ROW: usize = 16;

/// How long a row of calls may take until the others are started elsewhere: about as long as a
/// guest is let compute at a stretch.
const LONGEST_ROW: Duration = Duration::from_millis(5);

/// How long to wait before trying again to come back to a queue group.
const COME_BACK: Duration = Duration::from_secs(1);

/// A place in a queue group.
struct Place {
    subject: String,
    queue: String,
}

impl Place {
    async fn subscribe(&self, nats: &Client) -> Result<Subscriber, ConnectError> {
        nats.queue_subscribe(self.subject.clone(), self.queue.clone())
            .await
            .map_err(|error| ConnectError::Subscribe {
                subject: self.subject.clone(),
                reason: error.to_string(),
            })
    }
}

/// Takes in the calls of one function.
struct Intake<H> {
    peer: Peer,
    place: Place,
    options: ServeOptions,
    handler: H,
    crew: Crew,
    detour: Detour,
    abort: CancellationToken,
}

impl<H, F> Intake<H>
where
    H: Fn(IncomingCall) -> F + Send + Sync + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    async fn run(self: Arc<Self>, subscriber: Subscriber, leave: CancellationToken) {
        let mut present = Some(subscriber);
        while let Some(mut subscriber) = present.take() {
            let left = self.take_all(&mut subscriber, &leave).await;
            if !self.abort.is_cancelled() {
                self.leave(&mut subscriber).await;
            }
            drop(subscriber);
            if !left {
                present = leave.run_until_cancelled(self.come_back()).await;
            }
        }
        self.peer
            .inner
            .subscriptions
            .fetch_sub(1, Ordering::Relaxed);
    }

    /// Takes in calls until it is time to leave the queue group; true when that is for good.
    async fn take_all(
        self: &Arc<Self>,
        subscriber: &mut Subscriber,
        leave: &CancellationToken,
    ) -> bool {
        loop {
            tokio::select! {
                biased;
                () = leave.cancelled() => return true,
                message = subscriber.next() => match message {
                    Some(message) => self.take_row(message, subscriber).await,
                    None => return true,
                },
            }
            if self.options.presence.is_away() {
                return false;
            }
        }
    }

    /// Takes part in the queue group again when calls are taken again.
    async fn come_back(&self) -> Subscriber {
        self.options.presence.back().await;
        loop {
            match self.place.subscribe(self.peer.nats()).await {
                Ok(subscriber) => return subscriber,
                Err(error) => tracing::warn!(%error, "could not come back to a queue group"),
            }
            tokio::time::sleep(COME_BACK).await;
        }
    }

    /// Leaves the queue group and takes in what the server has sent us until then.
    ///
    /// The client's own `drain` forgets the subscription as soon as it has written that it leaves,
    /// and drops what is on its way. A limit beyond all counting keeps the subscription here,
    /// while the server, which reads no number of so many digits, ends it at once. Then two
    /// messages to ourselves make sure that nothing is on its way any more: the second for a
    /// publisher that had picked us just before.
    async fn leave(self: &Arc<Self>, subscriber: &mut Subscriber) {
        if subscriber.unsubscribe_after(u64::MAX).await.is_err() {
            return;
        }
        for _ in 0..2 {
            if let Err(error) = self.peer.confirm(LEAVE_WITHIN).await {
                tracing::debug!(%error, "left a queue group without knowing what was on its way");
            }
            while let Some(Some(message)) = unconstrained(subscriber.next()).now_or_never() {
                self.take_row(message, subscriber).await;
            }
        }
    }

    /// Starts a call and those that have come with it.
    async fn take_row(self: &Arc<Self>, first: Message, subscriber: &mut Subscriber) {
        let mut row = vec![first];
        while row.len() < ROW
            && let Some(Some(message)) = subscriber.next().now_or_never()
        {
            row.push(message);
        }
        if row.len() == ROW {
            let intake = Arc::clone(self);
            self.crew.tasks.spawn(async move { intake.start_row(row) });
        } else {
            self.start_row(row);
        }
        // Whoever else is ready, and the answers above all, come before the next row.
        tokio::task::yield_now().await;
    }

    fn start_row(self: &Arc<Self>, row: Vec<Message>) {
        let began = Instant::now();
        let mut starter = Starter::default();
        for message in row {
            let Some(call) = self.take_in(message) else {
                continue;
            };
            let running = Box::pin(run_call(Arc::clone(self), call));
            if began.elapsed() > LONGEST_ROW || self.detour.is_on() {
                self.crew.begin(running);
            } else {
                self.detour.learn(starter.start(running, &self.crew));
            }
        }
    }

    fn take_in(&self, message: Message) -> Option<IncomingCall> {
        let Some(caller) = message.reply else {
            tracing::warn!(subject = %message.subject, "refused a call without a reply subject");
            return None;
        };
        let mut told = Told::read(message.headers.as_ref());
        let unary = told.unary;
        let peer = self.peer.clone();
        let inbound = Arc::new(Inbound::new(peer, message.subject, caller, &mut told));
        let context = Context::new(told, &self.options);
        Some(IncomingCall {
            params: Params::new(
                Arc::clone(&inbound),
                message.payload,
                unary,
                context.deadline,
                Arc::clone(&self.options.limiter),
            ),
            responder: Responder::new(inbound),
            context,
        })
    }
}

/// Counts a call as being served, also when its task is dropped.
struct Serving(Peer);

impl Serving {
    fn enter(peer: &Peer) -> Self {
        peer.inner.serving.fetch_add(1, Ordering::Relaxed);
        Self(peer.clone())
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.0.inner.serving.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Lets a call hold its permit until its handler has ended, also when it is dropped; what reads
/// on in its parameters after that runs without.
struct Running(Arc<Inbound>);

impl Running {
    fn enter(inbound: &Arc<Inbound>, permit: Permit) -> Self {
        *inbound.permit.lock() = Some(permit);
        Self(Arc::clone(inbound))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.permit.lock().take();
    }
}

async fn run_call<H, F>(intake: Arc<Intake<H>>, call: IncomingCall)
where
    H: Fn(IncomingCall) -> F,
    F: Future<Output = ()>,
{
    let inbound = Arc::clone(call.params.inbound());
    let _serving = Serving::enter(&inbound.peer);
    let deadline = call.context.deadline;
    let _running = match intake.options.limiter.acquire(deadline).await {
        Ok(permit) => Running::enter(&inbound, permit),
        Err(error) => {
            if let Err(error) = call.responder.fail(error).await {
                tracing::debug!(%error, "could not refuse a call");
            }
            return;
        }
    };
    if !inbound.newer
        && let Err(error) = inbound.accept().await
    {
        tracing::warn!(%error, subject = %inbound.subject, "could not accept a call");
        return;
    }
    tokio::select! {
        biased;
        () = (intake.handler)(call) => {}
        () = must_end(&inbound, &intake.abort, deadline) => {}
    }
}

/// Resolves when the call has to end before its handler does. What the caller is told is set here,
/// since the handler, and with it the responder that tells it, is dropped as soon as this is done.
async fn must_end(inbound: &Inbound, abort: &CancellationToken, deadline: Instant) {
    let verdict = tokio::select! {
        biased;
        () = abort.cancelled() => {
            RemoteError::new(RemoteError::STOPPING, "the called side stops")
        }
        verdict = given_up_or_overdue(inbound, deadline) => verdict,
    };
    inbound.set_verdict(verdict);
}

/// Resolves when nobody waits for the answer any more. Most calls are over before the first of the
/// two can happen, and wait for no more than that time.
async fn given_up_or_overdue(inbound: &Inbound, deadline: Instant) -> RemoteError {
    let confirm_at = Instant::now() + inbound.peer.inner.config.accept_after;
    tokio::time::sleep_until(confirm_at.min(deadline)).await;
    tokio::select! {
        biased;
        () = given_up(inbound) => {
            tracing::debug!(subject = %inbound.subject, "the caller cancelled its call");
            RemoteError::new("cancelled", "the caller cancelled the call")
        }
        () = overdue(inbound, deadline) => {
            tracing::warn!(subject = %inbound.subject, "a call was not answered by its deadline");
            let text = format!("`{}` did not finish by the call's deadline", inbound.subject);
            RemoteError::new(RemoteError::DEADLINE, text)
        }
    }
}

/// Resolves when the caller gives up. A call that is not answered at once is confirmed to its
/// caller first, which otherwise has no subject to give up at.
async fn given_up(inbound: &Inbound) {
    let accepted = if inbound.has_responded() {
        inbound.slot().await
    } else {
        inbound.accept().await
    };
    match accepted {
        Ok(guard) => poll_fn(|cx| guard.exchange.poll_cancelled(cx)).await,
        // Without a slot the call goes on until its deadline.
        Err(_) => std::future::pending().await,
    }
}

/// Resolves when the deadline passes without an answer. An answer that still streams is bounded
/// by whoever writes it.
async fn overdue(inbound: &Inbound, deadline: Instant) {
    tokio::time::sleep_until(deadline).await;
    if inbound.has_responded() {
        std::future::pending::<()>().await;
    }
}
