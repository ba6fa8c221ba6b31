//! Giving calls away while others have room and we have none.
//!
//! NATS prefers the members of a queue group that are near the caller, however busy they are, so
//! that one behind a leaf gets nothing while those at the hub let calls wait. Whoever lets calls
//! wait for long asks the other servers of the entity for room. Calls that find no free turn here are
//! then handed on to one that has some, as they came, so that it answers their callers itself.
//! Nobody leaves a queue group for that: when the other goes, calls just stay again. Servers of
//! the 1.9 lattice are not asked; they get their part from NATS.

#![expect(
    clippy::disallowed_methods,
    reason = "owns the subject at which servers ask for room"
)]

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_nats::{Message, Subject, Subscriber};
use futures::StreamExt as _;
use lattice_core::subject::RpcPrefix;
use parking_lot::Mutex;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::error::ConnectError;
use crate::limiter::Limiter;
use crate::peer::Peer;

/// How long the others may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_millis(50);

/// The time between two questions.
const PAUSE: Duration = Duration::from_millis(10);

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

/// What all functions of an entity that one process serves know of the other servers.
///
/// Clones share everything. Until [`Relief::watch`] nothing is given away.
#[derive(Debug, Clone, Default)]
pub struct Relief {
    other: Arc<Mutex<Option<Other>>>,
}

impl Relief {
    /// Begins to watch the `limiter` of the entity with this prefix, all of whose functions are
    /// served with this relief. Ends when what it returns is dropped.
    ///
    /// # Errors
    ///
    /// [`ConnectError::Subscribe`] when NATS refuses.
    pub async fn watch(
        &self,
        peer: &Peer,
        prefix: &RpcPrefix,
        limiter: Arc<Limiter>,
    ) -> Result<Watching, ConnectError> {
        let subject = prefix.room();
        let questions = peer.nats().subscribe(subject.clone()).await;
        let questions = questions.map_err(|error| ConnectError::Subscribe {
            subject: subject.clone(),
            reason: error.to_string(),
        })?;
        let state = Arc::new(State::default());
        let watch = Watch {
            counted: Counted::new(peer),
            limiter,
            relief: self.clone(),
            subject,
            state: Arc::clone(&state),
        };
        Ok(Watching {
            state,
            _work: AbortOnDropHandle::new(tokio::spawn(watch.run(questions))),
        })
    }

    /// Where the next call may be handed on to.
    pub(crate) fn place(&self) -> Option<Subject> {
        let mut other = self.other.lock();
        let found = other.as_mut()?;
        if found.left == 0 || found.until < Instant::now() {
            *other = None;
            return None;
        }
        found.left -= 1;
        Some(found.place.clone())
    }

    fn set(&self, other: Option<Other>) {
        *self.other.lock() = other;
    }
}

#[derive(Debug, Default)]
struct State {
    ending: CancellationToken,
    /// When somebody was last told of room.
    told: Mutex<Option<Instant>>,
}

/// A relief at work.
#[derive(Debug)]
pub struct Watching {
    state: Arc<State>,
    _work: AbortOnDropHandle<()>,
}

impl Watching {
    /// Takes no more calls of others, and waits until those are here that were promised room. To be
    /// called before the functions are drained.
    pub async fn end(&self) {
        self.state.ending.cancel();
        let told = *self.state.told.lock();
        if let Some(at) = told {
            tokio::time::sleep_until(at + VALID + ANSWER_WITHIN).await;
        }
    }
}

/// Counts a subscription as long as it is held.
#[derive(Debug)]
struct Counted(Peer);

impl Counted {
    fn new(peer: &Peer) -> Self {
        peer.inner.subscriptions.fetch_add(1, Ordering::Relaxed);
        Self(peer.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.inner.subscriptions.fetch_sub(1, Ordering::Relaxed);
    }
}

struct Watch {
    counted: Counted,
    limiter: Arc<Limiter>,
    relief: Relief,
    subject: String,
    state: Arc<State>,
}

impl Watch {
    fn peer(&self) -> &Peer {
        &self.counted.0
    }

    async fn run(self, questions: Subscriber) {
        let stopped = self.peer().inner.stop.clone();
        tokio::select! {
            biased;
            () = stopped.cancelled() => {}
            () = self.state.ending.cancelled() => {}
            () = self.answer_all(questions) => {}
            () = self.relieve() => {}
        }
        self.relief.set(None);
    }

    async fn answer_all(&self, mut questions: Subscriber) {
        while let Some(question) = questions.next().await {
            self.answer(question).await;
        }
    }

    async fn answer(&self, question: Message) {
        let (room, peer) = (self.limiter.room(), self.peer());
        let Some(reply) = question.reply.filter(|reply| !peer.is_own(reply)) else {
            return;
        };
        if room == 0 {
            return;
        }
        *self.state.told.lock() = Some(Instant::now());
        let place = format!("{}.{room}", peer.inner.inbox.place()).into();
        if let Err(error) = peer
            .publish_reply(reply, place, None, bytes::Bytes::new())
            .await
        {
            tracing::debug!(%error, "could not tell of room");
        }
    }

    /// Looks for others with room, as long as there is none here and calls wait for long.
    async fn relieve(&self) {
        loop {
            self.limiter.pressed().await;
            while self.limiter.room() == 0 {
                let told = self.peer().ask(&self.subject, ANSWER_WITHIN).await;
                self.relief.set(told.as_ref().and_then(read));
                tokio::time::sleep(PAUSE).await;
            }
            self.relief.set(None);
        }
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
        relief.set(read(&"inbox.at.2".into()));
        assert_eq!(relief.place().as_deref(), Some("inbox.at"));
        assert!(relief.place().is_some() && relief.place().is_none());
        relief.set(read(&"inbox.at.2".into()));
        tokio::time::advance(2 * VALID).await;
        assert_eq!(relief.place(), None);
        assert!(read(&"inbox.at.many".into()).is_none());
    }
}
