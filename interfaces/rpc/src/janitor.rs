//! What a peer does beside its calls: last messages, questions after other ends, empty slots.

use std::sync::Arc;
use std::time::Duration;

use async_nats::Subject;
use async_nats::connection::State;
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, timeout};

use crate::bulk::Offset;
use crate::exchange::{LOST, Question};
use crate::outbox::Outgoing;
use crate::peer::{DeferredSend, Inner, Peer};
use crate::slots::SlotId;

/// The most questions that are sent in one round. With more quiet calls than this every second
/// round, the loss of an other end is noticed later in proportion.
const QUESTIONS: usize = 1024;

/// How long a message waits to be taken. Deadlines take its place then.
const SEND_WITHIN: Duration = Duration::from_millis(200);

/// How many messages wait to be taken before no more are looked at. They wait side by side: a process
/// or a server that takes nothing holds up nobody else.
const WAITING: usize = 2 * QUESTIONS;

/// What is asked after the other ends of calls in which nothing has come for a while.
fn questions(inner: &Inner) -> Vec<Outgoing> {
    // What is not sent yet is not late: calls end by their deadline until NATS is back.
    if inner.nats.connection_state() != State::Connected {
        return Vec::new();
    }
    let message = |(id, question): (SlotId, Question)| {
        let reply = Subject::from(format!("{}.{LOST}", inner.inbox.subject(&id)));
        Outgoing {
            payload: question.sent,
            ..Outgoing::reply(question.subject, reply)
        }
    };
    let questions = inner.slots.questions(QUESTIONS);
    questions.into_iter().map(message).collect()
}

/// Sends a message, unless it is not taken in time.
async fn say(inner: Arc<Inner>, message: Outgoing, offset: Option<Offset>) {
    let peer = Peer { inner };
    let sent = async {
        match (offset, peer.inner.bulk.lane()) {
            (Some(offset), Some(lane)) => lane.send(message.subject, offset, message.payload).await,
            // The connection is gone, and what it carried has failed.
            (Some(_), None) => Ok(()),
            (None, _) => peer.pass(message).await,
        }
    };
    match timeout(SEND_WITHIN, sent).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "a last message or question was not sent"),
        Err(_) => tracing::debug!("a last message or question was not taken"),
    }
}

fn send_deferred(inner: &Arc<Inner>, deferred: DeferredSend) -> impl Future<Output = ()> + use<> {
    let DeferredSend {
        subject,
        headers,
        payload,
        offset,
    } = deferred;
    let message = Outgoing {
        subject,
        reply: None,
        headers,
        payload,
        deadline: None,
    };
    say(Arc::clone(inner), message, offset)
}

/// Frees slots, and ends calls that have lost something on their way.
fn tidy_up(inner: &Inner) {
    inner.slots.sweep();
    if inner.bulk.has_broken() {
        inner.slots.lose_long();
    }
    if let Some(auth) = &inner.config.auth {
        auth.sweep();
    }
}

/// Sends what could not be awaited where it arose, and frees lingering slots.
pub(crate) async fn sweep(inner: Arc<Inner>, mut queue: mpsc::Receiver<DeferredSend>) {
    let mut tick = tokio::time::interval(Duration::from_millis(500));
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut asked, mut said) = (FuturesUnordered::new(), FuturesUnordered::new());
    loop {
        tokio::select! {
            biased;
            () = inner.stop.cancelled() => break,
            // However much there is to be said.
            _ = tick.tick() => {
                tidy_up(&inner);
                for question in questions(&inner) {
                    asked.push(say(Arc::clone(&inner), question, None));
                }
            }
            Some(()) = said.next(), if !said.is_empty() => {}
            Some(()) = asked.next(), if !asked.is_empty() => {}
            deferred = queue.recv(), if said.len() < WAITING => match deferred {
                Some(deferred) => said.push(send_deferred(&inner, deferred)),
                None => break,
            },
        }
    }
    // What was queued before the stop still goes out, within a short time.
    queue.close();
    while let Ok(deferred) = queue.try_recv() {
        said.push(send_deferred(&inner, deferred));
    }
    let last_words = async { while said.next().await.is_some() {} };
    if timeout(SEND_WITHIN, last_words).await.is_err() {
        tracing::debug!("ended without the last messages of some calls");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use lattice_nats_box::{NatsBox, taken_in};

    use crate::auth::LineEnd;
    use crate::local::Switchboard;
    use crate::peer::PeerConfig;

    #[tokio::test]
    #[expect(clippy::disallowed_methods, reason = "a test listens to the wire")]
    async fn a_process_that_takes_nothing_holds_up_nobody_else() {
        let nats = NatsBox::start().await.unwrap();
        let board = Switchboard::default();
        let config = PeerConfig {
            local: Some(board.clone()),
            ..PeerConfig::default()
        };
        let peer = Peer::new(nats.client().await.unwrap(), config);
        let peer = peer.await.unwrap();
        let (line, _queue) = board.add_line(LineEnd::Host);
        let stuck = Subject::from(format!("_LINE.{}.stuck", line.id()));
        let message = || Outgoing::reply(stuck.clone(), Subject::from_static("x"));
        while line.try_pass(message()).is_ok() {}
        let listener = nats.client().await.unwrap();
        let mut heard = listener.subscribe("_INBOX.other").await.unwrap();
        taken_in(&listener).await.unwrap();
        for _ in 0..100 {
            peer.send_later(DeferredSend::empty(stuck.clone()));
        }
        peer.send_later(DeferredSend::empty(Subject::from_static("_INBOX.other")));
        let soon = Duration::from_secs(5);
        timeout(soon, heard.next()).await.unwrap().unwrap();
        peer.close().await;
    }
}
