//! How much of what is published may wait for a server.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How many bytes of messages there may be that are not written: one of the largest has room.
const MOST: u32 = 64 << 20;
/// How many more there may be of messages that are small: they do not wait behind a large one, which may take
/// all that there is.
const RESERVE: u32 = 4 << 20;
/// What a small message takes at most.
const SMALL: u32 = 64 << 10;
/// What the client keeps of a message until it is confirmed.
const EACH: u32 = 512;
/// How long a message may wait for room.
const WITHIN: Duration = Duration::from_secs(2);

/// Room for what is on its way to a server. The client takes as much as it is given, and keeps it for as long
/// as the server reads nothing, whether or not somebody still waits for it.
pub(crate) struct Room {
    left: Arc<Semaphore>,
    /// For small messages where there is nothing else left.
    reserve: Arc<Semaphore>,
    /// What the last message took that found no room in time; nothing once another has found some.
    missed: AtomicUsize,
}

/// The room of one message.
pub(crate) struct Taken(OwnedSemaphorePermit);

impl Room {
    pub(crate) fn new() -> Self {
        Self {
            left: Arc::new(Semaphore::new(MOST as usize)),
            reserve: Arc::new(Semaphore::new(RESERVE as usize)),
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
        if let Some(taken) = self.take_now(bytes) {
            return Some(taken);
        }
        let mut wait = Wait {
            missed: &self.missed,
            bytes: bytes as usize,
        };
        let taken = Arc::clone(&self.left).acquire_many_owned(bytes);
        let taken = tokio::time::timeout(WITHIN, taken).await;
        let taken = taken.ok().and_then(Result::ok)?;
        wait.bytes = 0;
        Some(Taken(taken))
    }

    /// Nothing is left as long as somebody waits for more, so that nobody is overtaken but by small ones.
    fn take_now(&self, bytes: u32) -> Option<Taken> {
        if let Ok(taken) = Arc::clone(&self.left).try_acquire_many_owned(bytes) {
            self.missed.store(0, Ordering::Relaxed);
            return Some(Taken(taken));
        }
        if bytes > SMALL {
            return None;
        }
        // It says nothing of the room that others miss.
        let taken = Arc::clone(&self.reserve).try_acquire_many_owned(bytes);
        taken.ok().map(Taken)
    }
}

/// Notes at its end what a message took that has waited in vain, also when it is given up before.
struct Wait<'a> {
    missed: &'a AtomicUsize,
    bytes: usize,
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        self.missed.store(self.bytes, Ordering::Relaxed);
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
    use std::pin::pin;

    use futures::FutureExt as _;

    use super::*;

    /// A body with which a message is not small.
    const LARGE: usize = SMALL as usize;

    #[tokio::test]
    async fn a_message_takes_room_until_it_is_written_and_little_until_it_is_confirmed() {
        let room = Room::new();
        let mut first = room.take(usize::MAX).await.unwrap();
        assert!(room.take(LARGE).now_or_never().is_none());
        first.written();
        let second = (MOST - 2 * EACH) as usize;
        let second = room.take(second).now_or_never().flatten().unwrap();
        assert_eq!(room.left.available_permits(), 0);
        drop(first);
        assert_eq!(room.left.available_permits(), EACH as usize);
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
        assert!(room.take(LARGE).await.is_none());
        assert!(room.is_full());
        // Though nobody looks for room again.
        drop(confirmed);
        assert!(room.is_full());
        drop(first);
        assert!(!room.is_full());
    }

    #[tokio::test]
    async fn a_message_that_is_given_up_while_it_waits_has_waited_in_vain() {
        let room = Room::new();
        let first = room.take(usize::MAX).await.unwrap();
        assert!(room.take(LARGE).now_or_never().is_none());
        assert!(room.is_full());
        // What is small finds some, and the others none.
        drop(room.take(1).await.unwrap());
        assert!(room.is_full());
        drop(first);
        assert!(!room.is_full());
    }

    #[tokio::test]
    async fn small_messages_do_not_wait_behind_a_large_one_as_long_as_they_are_few() {
        let room = Room::new();
        let first = room.take(LARGE).await.unwrap();
        let mut large = pin!(room.take(usize::MAX));
        assert!(large.as_mut().now_or_never().is_none());
        let mut small = Vec::new();
        while let Some(taken) = room.take(0).now_or_never().flatten() {
            small.push(taken);
        }
        assert_eq!(small.len(), (RESERVE / EACH) as usize);
        drop(first);
        assert!(large.await.is_some());
    }
}
