//! How many bytes of messages the workers of one link have.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use lattice_rpc::quiet::Pace;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

/// How many bytes they may have before no more is received for them, which several receives at once exceed by what
/// each of them takes.
const MOST: usize = 256 << 20;
/// What a message costs besides its body, about.
const OVERHEAD: usize = 1024;

/// The room for messages that are leased: they stay in memory, as a dead letter and one that is sent again have
/// their bodies.
#[derive(Debug, Default)]
pub(crate) struct Room {
    taken: AtomicUsize,
    freed: Notify,
    /// The lines about receives that find none.
    full: Pace,
}

/// What one message takes of the room until it is dropped.
#[derive(Debug)]
pub(crate) struct Share {
    room: Arc<Room>,
    bytes: usize,
}

impl Room {
    /// How many bytes there is room for, once there is any; `None` when there is none by then.
    pub(crate) async fn left(&self, queue: &str, by: Instant) -> Option<usize> {
        let mut is_first = true;
        loop {
            // Made before it is looked, so that what is freed meanwhile wakes it.
            let freed = self.freed.notified();
            let left = MOST.saturating_sub(self.taken.load(Ordering::Acquire));
            if left > 0 {
                return Some(left);
            }
            if std::mem::take(&mut is_first)
                && let Some(untold) = self.full.turn()
            {
                tracing::warn!(
                    queue,
                    most = MOST,
                    untold,
                    "a link receives nothing until some of its messages are settled"
                );
            }
            timeout_at(by, freed).await.ok()?;
        }
    }

    /// Whether nothing is received at the moment.
    pub(crate) fn is_full(&self) -> bool {
        self.taken.load(Ordering::Acquire) >= MOST
    }

    /// Takes the room of a message with such a body.
    pub(crate) fn share(self: &Arc<Self>, body: usize) -> Share {
        let bytes = body + OVERHEAD;
        self.taken.fetch_add(bytes, Ordering::AcqRel);
        Share {
            room: Arc::clone(self),
            bytes,
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.room.taken.fetch_sub(self.bytes, Ordering::AcqRel);
        self.room.freed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_finds_no_room_waits_until_a_message_is_settled() {
        let room = Arc::new(Room::default());
        let soon = || Instant::now() + Duration::from_secs(1);
        assert_eq!(room.left("jobs", Instant::now()).await, Some(MOST));
        let first = room.share(1000);
        assert_eq!(
            room.left("jobs", soon()).await,
            Some(MOST - 1000 - OVERHEAD)
        );
        let large = room.share(MOST);
        assert_eq!(room.left("jobs", soon()).await, None);
        let begun = Instant::now();
        let settle = async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            drop(first);
            tokio::time::sleep(Duration::from_millis(100)).await;
            drop(large);
        };
        let (left, ()) = tokio::join!(room.left("jobs", soon()), settle);
        assert_eq!(left, Some(MOST));
        let waited = begun.elapsed().as_millis();
        assert!((200..250).contains(&waited), "{waited}");
    }
}
