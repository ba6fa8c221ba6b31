//! How much of what is published may wait for a server.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How many bytes of messages there may be that are not written: one of the largest has room.
const MOST: u32 = 64 << 20;
/// What the client keeps of a message until it is confirmed.
const EACH: u32 = 512;
/// How long a message may wait for room.
const WITHIN: Duration = Duration::from_secs(2);

/// Room for what is on its way to a server. The client takes as much as it is given, and keeps it for as long
/// as the server reads nothing, whether or not somebody still waits for it.
pub(crate) struct Room {
    left: Arc<Semaphore>,
    /// What the last message took that found no room in time; nothing once another has found some.
    missed: AtomicUsize,
}

/// The room of one message.
pub(crate) struct Taken(OwnedSemaphorePermit);

impl Room {
    pub(crate) fn new() -> Self {
        Self {
            left: Arc::new(Semaphore::new(MOST as usize)),
            missed: AtomicUsize::new(0),
        }
    }

    /// Whether a message has waited in vain, and there is no room for it yet.
    pub(crate) fn is_full(&self) -> bool {
        self.left.available_permits() < self.missed.load(Ordering::Relaxed)
    }

    /// Waits until there is room for so many bytes; `None` if it takes too long.
    pub(crate) async fn take(&self, bytes: usize) -> Option<Taken> {
        let bytes = u32::try_from(bytes).unwrap_or(MOST);
        let bytes = bytes.saturating_add(EACH).min(MOST);
        let taken = Arc::clone(&self.left).acquire_many_owned(bytes);
        let taken = tokio::time::timeout(WITHIN, taken).await;
        let taken = taken.ok().and_then(Result::ok);
        let missed = if taken.is_some() { 0 } else { bytes as usize };
        self.missed.store(missed, Ordering::Relaxed);
        taken.map(Taken)
    }
}

impl Taken {
    /// The server has been sent the message; it has yet to confirm it.
    pub(crate) fn written(&mut self) {
        let bytes = self.0.num_permits().saturating_sub(EACH as usize);
        drop(self.0.split(bytes));
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn a_message_takes_room_until_it_is_written_and_little_until_it_is_confirmed() {
        let room = Room::new();
        let mut first = room.take(usize::MAX).await.unwrap();
        assert!(room.take(1).now_or_never().is_none());
        first.written();
        let second = (MOST - 2 * EACH) as usize;
        let second = room.take(second).now_or_never().flatten().unwrap();
        assert!(room.take(1).now_or_never().is_none());
        drop(first);
        assert!(room.take(0).now_or_never().flatten().is_some());
        drop(second);
    }

    #[tokio::test]
    async fn a_room_is_full_once_a_message_has_waited_in_vain_until_there_is_some() {
        let room = Room::new();
        let confirmed = room.take(0).await.unwrap();
        let large = (MOST - 2 * EACH) as usize;
        let first = room.take(large).await.unwrap();
        // Nobody has waited yet.
        assert!(!room.is_full());
        assert!(room.take(1).await.is_none());
        assert!(room.is_full());
        // Though nobody looks for room again.
        drop(confirmed);
        assert!(room.is_full());
        drop(first);
        assert!(!room.is_full());
    }
}
