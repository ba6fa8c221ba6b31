//! How much is held, of what there may be.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counts what is held. Nothing else is read by what it says, so the order of its changes among
/// others does not matter.
#[derive(Debug, Default)]
pub(crate) struct Room {
    held: AtomicU64,
}

impl Room {
    #[cfg(test)]
    pub(crate) fn held(&self) -> u64 {
        self.held.load(Ordering::Relaxed)
    }

    /// Takes room, or tells how much is held when it would become more than `most`.
    pub(crate) fn take(&self, bytes: u64, most: u64) -> Result<(), u64> {
        let more = |held: u64| held.checked_add(bytes).filter(|sum| *sum <= most);
        self.held
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more)
            .map(drop)
    }

    /// Gives back what was taken.
    pub(crate) fn give(&self, bytes: u64) {
        self.held.fetch_sub(bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_is_taken_than_there_is() {
        let room = Room::default();
        assert_eq!(room.take(6, 10), Ok(()));
        assert_eq!(room.take(5, 10), Err(6));
        assert_eq!(room.take(4, 10), Ok(()));
        assert_eq!(room.take(u64::MAX, u64::MAX), Err(10));
        room.give(10);
        assert_eq!(room.held(), 0);
    }
}
