//! Leaving calls to others while they have room and we have none.
//!
//! NATS prefers the members of a queue group that are near the caller, however busy they are, so
//! that one behind a leaf gets nothing while those at the hub let calls wait. Whoever lets calls
//! wait for long asks the other servers of the entity for room, and leaves the queue groups if
//! one has it, until there is room here again. Servers of the 1.9 lattice are not asked; they
//! get their part from NATS.

#![expect(
    clippy::disallowed_methods,
    reason = "owns the subject at which servers ask for room"
)]

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_nats::{Message, Subscriber};
use futures::StreamExt as _;
use lattice_core::subject::RpcPrefix;
use tokio_util::task::AbortOnDropHandle;

use crate::error::ConnectError;
use crate::limiter::Limiter;
use crate::peer::Peer;
use crate::presence::Presence;

/// How long the others may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_millis(100);

/// How long to wait between two questions, and so between two times of leaving.
const PAUSE: Duration = Duration::from_millis(100);

/// How often it is looked whether there is room here again.
const LOOK: Duration = Duration::from_millis(5);

/// Gives calls away while they wait for long here, and tells others that ask whether there is room.
/// Ends when it is dropped.
#[derive(Debug)]
pub struct Relief {
    _work: AbortOnDropHandle<()>,
}

impl Relief {
    /// Begins to watch the `limiter` of the entity with this prefix, all of whose functions are
    /// served with this `presence`.
    ///
    /// # Errors
    ///
    /// [`ConnectError::Subscribe`] when NATS refuses.
    pub async fn start(
        peer: &Peer,
        prefix: &RpcPrefix,
        limiter: Arc<Limiter>,
        presence: Presence,
    ) -> Result<Self, ConnectError> {
        let subject = prefix.room();
        let questions = peer.nats().subscribe(subject.clone()).await;
        let questions = questions.map_err(|error| ConnectError::Subscribe {
            subject: subject.clone(),
            reason: error.to_string(),
        })?;
        let watch = Watch {
            counted: Counted::new(peer),
            limiter,
            presence,
            subject,
        };
        Ok(Self {
            _work: AbortOnDropHandle::new(tokio::spawn(watch.run(questions))),
        })
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
    presence: Presence,
    subject: String,
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
            () = self.answer_all(questions) => {}
            () = self.relieve() => {}
        }
    }

    async fn answer_all(&self, mut questions: Subscriber) {
        while let Some(question) = questions.next().await {
            self.answer(question).await;
        }
    }

    async fn answer(&self, question: Message) {
        let Some(reply) = question.reply else {
            return;
        };
        if self.peer().is_own(&reply) || !self.limiter.has_room() {
            return;
        }
        if let Err(error) = self.peer().say_yes(reply).await {
            tracing::debug!(%error, "could not tell of room");
        }
    }

    /// Lets others take calls, whenever some wait for long here and others have room.
    async fn relieve(&self) {
        loop {
            self.limiter.pressed().await;
            if self.peer().ask(&self.subject, ANSWER_WITHIN).await {
                tracing::info!(subject = %self.subject, "calls wait for long; leaves them to others for a while");
                self.presence.step_out();
                self.until_there_is_room().await;
                self.presence.step_in();
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn until_there_is_room(&self) {
        loop {
            tokio::time::sleep(LOOK).await;
            if self.limiter.has_room() {
                return;
            }
        }
    }
}
