//! Taking in the calls of one function.

#![expect(clippy::disallowed_methods, reason = "owns the subjects of calls")]

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_nats::{Client, Message, Subscriber};
use futures::{FutureExt as _, StreamExt as _};
use tokio::task::unconstrained;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::running::run_call;
use super::{Context, IncomingCall, ServeOptions};
use crate::detour::Detour;
use crate::error::ConnectError;
use crate::header::Told;
use crate::limiter::LimiterStats;
use crate::local::{Listed, TakeIn};
use crate::params::Params;
use crate::peer::Peer;
use crate::respond::{Inbound, Responder};
use crate::start::{Crew, Starter};

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
pub(super) struct Place {
    pub(super) subject: String,
    pub(super) queue: String,
}

impl Place {
    pub(super) async fn subscribe(&self, nats: &Client) -> Result<Subscriber, ConnectError> {
        nats.queue_subscribe(self.subject.clone(), self.queue.clone())
            .await
            .map_err(|error| ConnectError::Subscribe {
                subject: self.subject.clone(),
                reason: error.to_string(),
            })
    }
}

/// Takes in the calls of one function.
pub(super) struct Intake<H> {
    pub(super) peer: Peer,
    pub(super) place: Place,
    pub(super) options: ServeOptions,
    pub(super) handler: H,
    pub(super) crew: Crew,
    pub(super) detour: Detour,
    pub(super) abort: CancellationToken,
}

impl<H, F> Intake<H>
where
    H: Fn(IncomingCall) -> F + Send + Sync + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    pub(super) async fn run(
        self: Arc<Self>,
        subscriber: Subscriber,
        listed: Option<Listed>,
        leave: CancellationToken,
    ) {
        let mut present = Some((subscriber, listed));
        while let Some((mut subscriber, listed)) = present.take() {
            let left = self.take_all(&mut subscriber, &leave).await;
            drop(listed);
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

    /// Lets calls that are made in this process come here.
    pub(super) fn list(self: &Arc<Self>) -> Option<Listed> {
        let board = self.peer.inner.config.local.as_ref()?;
        let function = Arc::clone(self) as Arc<dyn TakeIn>;
        Some(board.add_function(&self.place.subject, &function))
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
    async fn come_back(self: &Arc<Self>) -> (Subscriber, Option<Listed>) {
        self.options.presence.back().await;
        loop {
            match self.place.subscribe(self.peer.nats()).await {
                Ok(subscriber) => return (subscriber, self.list()),
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

impl<H, F> TakeIn for Intake<H>
where
    H: Fn(IncomingCall) -> F + Send + Sync + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    fn has_room(&self) -> bool {
        let LimiterStats { size, free, queued } = self.options.limiter.stats();
        !self.options.presence.is_away() && (free > 0 || queued < size)
    }

    /// The call begins in a task of its own: whoever makes it may be a guest, on whose stack there
    /// is no room for another.
    fn take(self: Arc<Self>, message: Message) {
        let Some(call) = self.take_in(message) else {
            return;
        };
        let running = Box::pin(run_call(Arc::clone(&self), call));
        if self.detour.is_on() {
            self.crew.begin(running);
        } else {
            self.crew.join(running);
        }
    }
}
