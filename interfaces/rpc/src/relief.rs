//! Giving calls away while others have room and we have none.
//!
//! NATS prefers the members of a queue group that are near the caller, however busy they are, so
//! that one behind a leaf gets nothing while those at the hub let calls wait. Whoever lets calls
//! wait asks the other servers of the entity for room. Calls that wait for a turn here, and those that
//! come and find none, then go to one that has some, so that it answers their callers itself.
//! When the other goes, calls just stay again. Servers of the 1.9 lattice are not asked: where
//! nobody else has room, the functions leave their queue groups for a while ([`aside`]).

#![expect(
    clippy::disallowed_methods,
    reason = "owns the subject at which servers ask for room"
)]

mod aside;
mod others;
mod pressure;
mod promises;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_nats::{Message, Subject, Subscriber};
use futures::StreamExt as _;
use lattice_core::Backoff;
use lattice_core::subject::RpcPrefix;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::counted::Counted;
use crate::dispatch::Via;
use crate::error::ConnectError;
use crate::inbox;
use crate::limiter::Limiter;
use crate::peer::Peer;
pub(crate) use aside::Absences;
use aside::{Aside, Keeper};
pub use others::{Nobody, Others};
use promises::Promises;

/// How long the others may take to answer. Those that are farther away are not relied on: the room that they
/// tell of is promised for [`VALID`] only, which would be over before a call came to them.
const ANSWER_WITHIN: Duration = Duration::from_millis(50);

/// The time between two questions while somebody has room; it grows while nobody has.
const PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_millis(250);

/// How many calls that are refused may wait for an answer of the others.
const ASKING: usize = 64;

/// How long an answer counts.
const VALID: Duration = Duration::from_millis(100);

/// Someone who has room.
#[derive(Debug)]
struct Other {
    /// What its own calls begin with, before the subject of the function.
    place: Subject,
    /// How many calls it still takes.
    left: usize,
    until: Instant,
}

/// What is known of the other servers.
#[derive(Debug, Default)]
struct Known {
    watched: bool,
    other: Option<Other>,
    /// When they are asked again, where nobody had room.
    nobody_until: Option<Instant>,
    /// How many calls wait for their answer to be told whether they are refused.
    asking: usize,
}

impl Known {
    /// Whether it is of use to wait for what the others answer.
    fn is_asked_soon(&self) -> bool {
        let is_later = self.nobody_until.is_some_and(|at| Instant::now() < at);
        self.watched && !is_later && self.asking < ASKING
    }
}

/// A call that waits for an answer.
struct Asking<'a>(&'a Mutex<Known>);

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        self.0.lock().asking -= 1;
    }
}

/// What all functions of an entity that one process serves know of the other servers.
///
/// Clones share everything. Until [`Relief::watch`] nothing is given away.
#[derive(Debug, Clone, Default)]
pub struct Relief {
    known: Arc<Mutex<Known>>,
    /// Told when the others have been asked.
    news: Arc<Notify>,
    aside: Arc<Aside>,
    /// How many calls of others have come here since room was promised last.
    arrived: Arc<AtomicUsize>,
}

impl Relief {
    /// Begins to watch the `limiter` of the entity with this prefix, all of whose functions are
    /// served with this relief. Ends when what it returns is dropped. `others` are those whom
    /// the functions may leave their queue groups to.
    ///
    /// # Errors
    ///
    /// [`ConnectError::Subscribe`] when NATS refuses.
    pub async fn watch(
        &self,
        peer: &Peer,
        prefix: &RpcPrefix,
        limiter: Arc<Limiter>,
        others: Arc<dyn Others>,
    ) -> Result<Watching, ConnectError> {
        let subject = prefix.room();
        let questions = peer.nats().subscribe(subject.clone()).await;
        let questions = questions.map_err(|error| ConnectError::Subscribe {
            subject: subject.clone(),
            reason: error.to_string(),
        })?;
        let state = Arc::new(State::default());
        self.set_watched(true);
        let watch = Watch {
            counted: Counted::new(peer),
            limiter,
            others,
            relief: self.clone(),
            entity: prefix.clone(),
            subject,
            state: Arc::clone(&state),
        };
        Ok(Watching {
            relief: self.clone(),
            state,
            _work: AbortOnDropHandle::new(tokio::spawn(watch.run(questions))),
        })
    }

    /// Where the next call may be handed on to.
    pub(crate) fn place(&self) -> Option<Subject> {
        let other = &mut self.known.lock().other;
        let found = other.as_mut()?;
        if found.left == 0 || found.until < Instant::now() {
            *other = None;
            return None;
        }
        found.left -= 1;
        Some(found.place.clone())
    }

    /// Notes that a call has come here that another server has handed on.
    pub(crate) fn is_handed_one(&self) {
        self.arrived.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether a call may come to be handed on at all.
    pub(crate) fn is_watched(&self) -> bool {
        self.known.lock().watched
    }

    /// Waits until somebody else has room for one call more, for as long as it takes.
    pub(crate) async fn elsewhere(&self) -> Subject {
        loop {
            let news = self.news.notified();
            tokio::pin!(news);
            // Before looking, so that nothing is told unheard in between.
            news.as_mut().enable();
            match self.place() {
                Some(place) => return place,
                None => news.await,
            }
        }
    }

    /// Where a call may go that is refused here, which has the others asked: waits for what they answer, but
    /// not past its deadline, not where nobody had room a moment ago, and not where many wait already.
    pub(crate) async fn elsewhere_soon(&self, deadline: Instant) -> Option<Subject> {
        let news = self.news.notified();
        tokio::pin!(news);
        news.as_mut().enable();
        if let Some(place) = self.place() {
            return Some(place);
        }
        let _asking = {
            let mut known = self.known.lock();
            if !known.is_asked_soon() {
                return None;
            }
            known.asking += 1;
            Asking(&self.known)
        };
        let until = deadline.min(Instant::now() + 2 * ANSWER_WITHIN);
        // Others who are told at the same time may take all the room there is.
        timeout_at(until, news).await.ok()?;
        self.place()
    }

    /// Whether somebody has room, as far as is known.
    pub(crate) fn knows_other(&self) -> bool {
        self.known
            .lock()
            .other
            .as_ref()
            .is_some_and(|other| other.left > 0 && other.until >= Instant::now())
    }

    /// Tells one function when to leave its queue group.
    pub(crate) fn absences(&self) -> Absences {
        self.aside.absences()
    }

    /// Takes in what the others have answered, who are asked again after a pause.
    fn set(&self, other: Option<Other>, pause: Duration) {
        let mut known = self.known.lock();
        known.nobody_until = other.is_none().then(|| Instant::now() + pause);
        known.other = other;
        drop(known);
        self.news.notify_waiters();
    }

    fn set_watched(&self, watched: bool) {
        let mut known = self.known.lock();
        (known.watched, known.other, known.nobody_until) = (watched, None, None);
        drop(known);
        self.news.notify_waiters();
    }
}

#[derive(Debug, Default)]
struct State {
    ended: CancellationToken,
    promises: Mutex<Promises>,
}

/// A relief at work.
#[derive(Debug)]
pub struct Watching {
    relief: Relief,
    state: Arc<State>,
    _work: AbortOnDropHandle<()>,
}

impl Watching {
    /// Takes no more calls of others, and waits until those are here that were promised room, or
    /// until `deadline`. To be called before the functions are drained; those that have left their
    /// queue groups do not come back.
    pub async fn end(&self, deadline: Instant) {
        let last = self.state.promises.lock().end();
        self.state.ended.cancel();
        if let Some(last) = last {
            let here = last + VALID + 2 * ANSWER_WITHIN;
            tokio::time::sleep_until(here.min(deadline)).await;
        }
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.relief.set_watched(false);
    }
}

struct Watch {
    counted: Counted,
    limiter: Arc<Limiter>,
    others: Arc<dyn Others>,
    relief: Relief,
    entity: RpcPrefix,
    subject: String,
    state: Arc<State>,
}

impl Watch {
    fn peer(&self) -> &Peer {
        self.counted.peer()
    }

    async fn run(self, questions: Subscriber) {
        let stopped = self.peer().inner.stop.clone();
        tokio::select! {
            biased;
            () = stopped.cancelled() => {}
            () = self.state.ended.cancelled() => {}
            () = self.answer_all(questions) => {}
            () = self.relieve() => {}
            () = self.step_aside() => {}
        }
        self.relief.set_watched(false);
    }

    async fn answer_all(&self, mut questions: Subscriber) {
        while let Some(question) = questions.next().await {
            self.answer(question).await;
        }
    }

    async fn answer(&self, question: Message) {
        let peer = self.peer();
        let is_for_others =
            |reply: &Subject| !peer.is_own(reply) && peer.inner.may_write_to(reply, Via::Bus);
        let Some(reply) = question.reply.filter(is_for_others) else {
            return;
        };
        // Before the room: what comes in between is better counted twice than not at all.
        let arrived = self.relief.arrived.swap(0, Ordering::Relaxed);
        let (asker, room) = (inbox::owner(&reply), self.limiter.room());
        let room = self.state.promises.lock().make(asker, room, arrived);
        if room == 0 {
            return;
        }
        let place = format!("{}.{room}", peer.inner.inbox.place(&self.entity)).into();
        if let Err(error) = peer
            .publish_reply(reply, place, None, bytes::Bytes::new())
            .await
        {
            tracing::debug!(%error, "could not tell of room");
        }
    }

    /// Looks for others with room, as long as there is none here and calls wait.
    async fn relieve(&self) {
        // Where nobody has room for long, nobody is asked often, also when calls wait only now and then.
        let mut backoff = Backoff::exact(2 * PAUSE, LONGEST_PAUSE);
        loop {
            self.limiter.pressed().await;
            loop {
                let told = self.peer().ask(&self.subject, ANSWER_WITHIN).await;
                let pause = match told {
                    Some(_) => {
                        backoff.reset();
                        PAUSE
                    }
                    None => backoff.delay(),
                };
                self.relief.set(self.other(told), pause);
                tokio::time::sleep(pause).await;
                if !self.limiter.lets_wait() {
                    break;
                }
            }
        }
    }

    /// Who has told of room. A place that is no inbox would have this peer write elsewhere, with its own
    /// rights.
    fn other(&self, told: Option<Subject>) -> Option<Other> {
        let told = told.filter(|place| self.peer().inner.may_write_to(place, Via::Bus));
        told.as_ref().and_then(read)
    }

    /// Has the functions leave their queue groups while that helps.
    async fn step_aside(&self) {
        let keeper = Keeper {
            limiter: &self.limiter,
            others: &*self.others,
            relief: &self.relief,
            ended: &self.state.ended,
            group: self.entity.queue_group(),
        };
        keeper.keep(|| self.is_room_elsewhere()).await;
    }

    async fn is_room_elsewhere(&self) -> bool {
        if self.relief.knows_other() {
            return true;
        }
        let told = self.peer().ask(&self.subject, ANSWER_WITHIN).await;
        let other = self.other(told);
        let has_room = other.is_some();
        if has_room {
            self.relief.set(other, PAUSE);
        }
        has_room
    }
}

/// Reads what an answer says in its reply subject: where, and for how many calls.
fn read(told: &Subject) -> Option<Other> {
    let (place, room) = told.rsplit_once('.')?;
    Some(Other {
        place: place.into(),
        left: room.parse().ok()?,
        until: Instant::now() + VALID,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn no_more_is_given_away_than_there_is_room_and_not_for_long() {
        let relief = Relief::default();
        assert_eq!(relief.place(), None);
        relief.set(read(&"inbox.at.2".into()), PAUSE);
        assert_eq!(relief.place().as_deref(), Some("inbox.at"));
        assert!(relief.place().is_some() && relief.place().is_none());
        relief.set(read(&"inbox.at.2".into()), PAUSE);
        tokio::time::advance(2 * VALID).await;
        assert_eq!(relief.place(), None);
        assert!(read(&"inbox.at.many".into()).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn as_many_leave_as_there_is_room_for_once_it_is_told_of() {
        let relief = Relief::default();
        let waits = || {
            let relief = relief.clone();
            tokio::spawn(async move { relief.elsewhere().await })
        };
        let waiting = [waits(), waits(), waits()];
        tokio::task::yield_now().await;
        relief.set(None, VALID);
        relief.set(read(&"inbox.at.2".into()), PAUSE);
        tokio::time::advance(VALID / 2).await;
        let left = waiting.iter().filter(|call| call.is_finished()).count();
        assert_eq!(left, 2);
        relief.set(read(&"inbox.at.1".into()), PAUSE);
        for call in waiting {
            assert_eq!(call.await.unwrap().as_str(), "inbox.at");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_refused_waits_for_an_answer_and_not_where_nobody_had_room() {
        let relief = Relief::default();
        let late = || Instant::now() + Duration::from_secs(60);
        let begun = Instant::now();
        assert_eq!(relief.elsewhere_soon(late()).await, None);
        assert_eq!(begun.elapsed(), Duration::ZERO);
        relief.set_watched(true);
        let told = async {
            tokio::time::sleep(ANSWER_WITHIN).await;
            relief.set(read(&"inbox.at.1".into()), PAUSE);
        };
        let (place, ()) = tokio::join!(relief.elsewhere_soon(late()), told);
        assert_eq!(place.as_deref(), Some("inbox.at"));
        relief.set(None, VALID);
        let begun = Instant::now();
        assert_eq!(relief.elsewhere_soon(late()).await, None);
        assert_eq!(begun.elapsed(), Duration::ZERO);
        tokio::time::advance(VALID).await;
        let soon = Instant::now() + PAUSE;
        assert_eq!(relief.elsewhere_soon(soon).await, None);
        assert_eq!(Instant::now(), soon);
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_than_some_of_those_that_are_refused_wait() {
        let relief = Relief::default();
        relief.set_watched(true);
        let late = Instant::now() + Duration::from_secs(60);
        let waits = || {
            let relief = relief.clone();
            tokio::spawn(async move { relief.elsewhere_soon(late).await })
        };
        let waiting: Vec<_> = (0..2 * ASKING).map(|_| waits()).collect();
        let left = || waiting.iter().filter(|call| !call.is_finished()).count();
        for _ in 0..waiting.len() {
            tokio::task::yield_now().await;
        }
        assert_eq!(left(), ASKING);
        tokio::time::advance(2 * ANSWER_WITHIN).await;
        for call in waiting {
            assert_eq!(call.await.unwrap(), None);
        }
        assert_eq!(relief.known.lock().asking, 0);
    }
}
