//! Being one of a queue group: joining it, leaving it, and being away for a while.

#![expect(clippy::disallowed_methods, reason = "owns the subjects of calls")]

use std::sync::Arc;
use std::time::Duration;

use async_nats::Subscriber;
use lattice_core::Backoff;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::IncomingCall;
use super::intake::{Arrived, Intake, Places};
use crate::counted::Counted;
use crate::error::ConnectError;
use crate::peer::Peer;
use crate::relief::Absences;

/// How long leaving a queue group waits for messages that are on their way.
const LEAVE_WITHIN: Duration = Duration::from_secs(2);

/// The pauses between attempts to join a queue group again.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// A place in the queue group of a function.
pub(super) struct Member {
    pub(super) subscriber: Subscriber,
    /// `None` once it has left: what was on its way still comes.
    counted: Option<Counted>,
}

impl Member {
    pub(super) async fn join(
        peer: &Peer,
        subject: &str,
        queue: &str,
    ) -> Result<Self, ConnectError> {
        let joined = peer
            .nats()
            .queue_subscribe(subject.to_owned(), queue.to_owned())
            .await;
        let subscriber = joined.map_err(|error| ConnectError::Subscribe {
            subject: subject.chars().take(80).collect(),
            reason: error.to_string(),
        })?;
        Ok(Self {
            subscriber,
            counted: Some(Counted::new(peer)),
        })
    }
}

/// When a function takes no more calls.
pub(super) struct Leaving {
    /// None but what calls under way in this process call.
    pub(super) retire: CancellationToken,
    /// None at all, which implies the other.
    pub(super) leave: CancellationToken,
}

impl<H, F> Intake<H>
where
    H: Fn(IncomingCall) -> F + Send + Sync + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    /// Takes calls in as one of the queue group, and leaves it and comes back whenever that is
    /// wished for. Calls of this process, and those that others hand on, come all the time.
    pub(super) async fn run(self: Arc<Self>, mut member: Member, leaving: Leaving) {
        let places = self.list();
        let mut arrived = Arrived::default();
        let mut absences = self.options.relief.absences();
        loop {
            let end = async {
                tokio::select! {
                    biased;
                    () = leaving.retire.cancelled() => false,
                    () = absences.begins() => true,
                }
            };
            let end = self.take_in_until(end, &mut member.subscriber, &mut arrived);
            if end.await != Some(true) {
                break;
            }
            let away = self.stay_away(member, &mut arrived, &mut absences, &leaving.retire);
            match away.await {
                Some(again) => member = again,
                // It has left already.
                None => return self.unlist(places, leaving),
            }
        }
        self.unlist(places, leaving);
        if !self.abort.is_cancelled() {
            self.leave(&mut member.subscriber, &mut arrived).await;
        }
    }

    /// Takes no more calls of this process, and of those that others hand on, or keeps a place for what
    /// calls under way call until the end.
    fn unlist(self: &Arc<Self>, places: Places, leaving: Leaving) {
        let Leaving { retire, leave } = leaving;
        if leave.is_cancelled() || !retire.is_cancelled() {
            return;
        }
        let Some(place) = places.retire() else {
            return;
        };
        // The board finds what somebody has.
        let intake = Arc::clone(self);
        self.kept.spawn(async move {
            tokio::select! {
                biased;
                () = leave.cancelled() => {}
                () = intake.abort.cancelled() => {}
            }
            drop(place);
        });
    }

    /// Stays out of the queue group until the absence ends, or this function does.
    async fn stay_away(
        self: &Arc<Self>,
        mut member: Member,
        arrived: &mut Arrived,
        absences: &mut Absences,
        leave: &CancellationToken,
    ) -> Option<Member> {
        self.leave(&mut member.subscriber, arrived).await;
        member.counted = None;
        let end = async {
            tokio::select! {
                biased;
                () = leave.cancelled() => None,
                again = async { absences.ends().await; self.join_again().await } => Some(again),
            }
        };
        // What comes late, as after a connection that was made again, is taken in all the same.
        let end = self.take_in_until(end, &mut member.subscriber, arrived);
        let again = end.await.flatten();
        self.take_all(&mut member.subscriber, arrived).await;
        again
    }

    async fn join_again(&self) -> Member {
        let mut backoff = Backoff::exact(FIRST_PAUSE, LONGEST_PAUSE);
        loop {
            let pause = backoff.delay();
            match Member::join(&self.peer, &self.subject, &self.queue).await {
                Ok(member) => return member,
                Err(error) if pause == FIRST_PAUSE => {
                    tracing::warn!(%error, "could not come back to a queue group, going on to try");
                }
                Err(_) => {}
            }
            sleep(pause).await;
        }
    }

    /// Leaves the queue group and takes in what the server has sent us until then.
    ///
    /// The client's own `drain` forgets the subscription as soon as it has written that it leaves,
    /// and drops what is on its way. A limit beyond all counting keeps the subscription here,
    /// while the server, which reads no number of so many digits, ends it at once. Then two
    /// messages to ourselves make sure that nothing is on its way any more: the second for a
    /// publisher that had picked us just before.
    async fn leave(self: &Arc<Self>, subscriber: &mut Subscriber, arrived: &mut Arrived) {
        if subscriber.unsubscribe_after(u64::MAX).await.is_err() {
            return;
        }
        for _ in 0..2 {
            let confirmed = async {
                tokio::select! {
                    biased;
                    () = self.abort.cancelled() => None,
                    confirmed = self.peer.confirm(LEAVE_WITHIN) => Some(confirmed),
                }
            };
            let confirmed = self.take_in_until(confirmed, subscriber, arrived).await;
            let Some(Some(confirmed)) = confirmed else {
                return;
            };
            if let Err(error) = confirmed {
                tracing::debug!(%error, "left a queue group without knowing what was on its way");
            }
            self.take_all(subscriber, arrived).await;
        }
    }

    /// Takes calls in until `end`; `None` when none will come any more.
    async fn take_in_until<T>(
        self: &Arc<Self>,
        end: impl Future<Output = T>,
        subscriber: &mut Subscriber,
        arrived: &mut Arrived,
    ) -> Option<T> {
        tokio::pin!(end);
        loop {
            tokio::select! {
                biased;
                end = &mut end => return Some(end),
                some = arrived.wait(subscriber) => if !some { return None },
            }
            self.take_row(arrived).await;
        }
    }

    /// Takes in what is there.
    async fn take_all(self: &Arc<Self>, subscriber: &mut Subscriber, arrived: &mut Arrived) {
        while arrived.gather(subscriber) {
            self.take_row(arrived).await;
        }
    }
}
