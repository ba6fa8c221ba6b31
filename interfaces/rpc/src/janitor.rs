//! What a peer does beside its calls: last messages, questions after other ends, empty slots.

use std::sync::Arc;
use std::time::Duration;

use async_nats::connection::State;
use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, timeout};

use crate::exchange::LOST;
use crate::peer::{Farewell, Inner, Peer};

/// The most questions that are sent in one round. With more quiet calls than this every second
/// round, the loss of an other end is noticed later in proportion.
const QUESTIONS: usize = 1024;

/// How long the janitor waits for NATS to take what it sends. Deadlines take its place then.
const SEND_WITHIN: Duration = Duration::from_millis(200);

/// Asks after the other ends of calls in which nothing has come for a while.
async fn ask_around(inner: &Arc<Inner>) {
    // What is not sent yet is not late: calls end by their deadline until NATS is back.
    if inner.nats.connection_state() != State::Connected {
        return;
    }
    let peer = Peer {
        inner: Arc::clone(inner),
    };
    for (id, subject) in inner.slots.questions(QUESTIONS) {
        let reply = format!("{}.{LOST}", inner.inbox.subject(&id)).into();
        if let Err(error) = peer.publish_reply(subject, reply, None, Bytes::new()).await {
            tracing::debug!(%error, "could not ask after the other end of a call");
            return;
        }
    }
}

/// Sends what could not be awaited where it arose, and frees lingering slots.
pub(crate) async fn sweep(inner: Arc<Inner>, mut queue: mpsc::Receiver<Farewell>) {
    let mut tick = tokio::time::interval(Duration::from_millis(500));
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let peer = |farewell: Farewell| {
        let peer = Peer {
            inner: Arc::clone(&inner),
        };
        async move {
            let Farewell {
                subject,
                headers,
                payload,
                offset,
            } = farewell;
            match (offset, peer.inner.bulk.lane()) {
                (Some(offset), Some(lane)) => lane.send(subject, offset, payload).await,
                // The connection is gone, and what it carried has failed.
                (Some(_), None) => Ok(()),
                (None, _) => peer.publish(subject, headers, payload).await,
            }
        }
    };
    loop {
        tokio::select! {
            biased;
            () = inner.stop.cancelled() => break,
            farewell = queue.recv() => match farewell {
                Some(farewell) => {
                    match timeout(SEND_WITHIN, peer(farewell)).await {
                        Ok(Ok(())) => {}
                        Ok(Err(error)) => {
                            tracing::debug!(%error, "a last message of a call was not sent");
                        }
                        Err(_) => tracing::debug!("a last message of a call was not taken"),
                    }
                }
                None => break,
            },
            _ = tick.tick() => {
                inner.slots.sweep();
                if inner.bulk.has_broken() {
                    inner.slots.lose_long();
                }
                if let Some(auth) = &inner.config.auth {
                    auth.sweep();
                }
                if timeout(SEND_WITHIN, ask_around(&inner)).await.is_err() {
                    tracing::debug!("asked after some calls only: NATS takes no messages");
                }
            }
        }
    }
    // What was queued before the stop still goes out, within a short time.
    queue.close();
    let until = Instant::now() + Duration::from_millis(200);
    while let Ok(farewell) = queue.try_recv() {
        if tokio::time::timeout_at(until, peer(farewell))
            .await
            .is_err()
        {
            break;
        }
    }
}
