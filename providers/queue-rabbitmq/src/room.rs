//! How many bytes of messages the workers of one link have.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use lattice_provider_sdk::LinkKey;
use lattice_rpc::throttle::LogThrottle;
use parking_lot::Mutex;
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
    full: LogThrottle,
}

/// The rooms of the links of one server. A link that is put again has the one that it had, as long as some of
/// its messages are leased.
#[derive(Debug, Default)]
pub(crate) struct Rooms(Mutex<HashMap<LinkKey, Weak<Room>>>);

impl Rooms {
    /// The room of a link.
    pub(crate) fn of(&self, link: LinkKey) -> Arc<Room> {
        let mut rooms = self.0.lock();
        rooms.retain(|_, room| room.strong_count() > 0);
        if let Some(room) = rooms.get(&link).and_then(Weak::upgrade) {
            return room;
        }
        let room = Arc::<Room>::default();
        rooms.insert(link, Arc::downgrade(&room));
        room
    }
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
pub(crate) mod tests {
    use std::time::Duration;

    use lattice_core::{ComponentId, LinkName, WitName};
    use lattice_provider_sdk::LinkRole;

    use super::*;

    pub(crate) fn link(name: &str) -> LinkKey {
        LinkKey {
            role: LinkRole::Target,
            peer: ComponentId::new("worker").unwrap(),
            namespace: WitName::new("lattice").unwrap(),
            package: WitName::new("queue").unwrap(),
            name: LinkName::new(name).unwrap(),
        }
    }

    #[test]
    fn a_link_has_one_room_as_long_as_its_messages_are_leased() {
        let rooms = Rooms::default();
        let first = rooms.of(link("jobs"));
        let share = first.share(MOST);
        drop(first);
        assert!(rooms.of(link("jobs")).is_full());
        assert!(!rooms.of(link("mails")).is_full());
        drop(share);
        assert!(!rooms.of(link("jobs")).is_full());
        let kept: Vec<_> = rooms.0.lock().keys().cloned().collect();
        assert_eq!(kept, [link("jobs")]);
    }

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
