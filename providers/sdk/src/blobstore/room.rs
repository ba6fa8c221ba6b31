//! Room for the parts of objects that are being written.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// What room is counted in.
const UNIT: usize = 4 << 10;

/// Bounds what all uploads of a provider hold in memory. A clone shares the room.
#[derive(Debug, Clone)]
pub struct PartRoom {
    units: Arc<Semaphore>,
    all: u32,
}

/// What an upload may hold, until it is dropped.
#[derive(Debug)]
pub struct PartRoomTaken {
    _units: OwnedSemaphorePermit,
}

impl PartRoom {
    /// Room for so many bytes.
    #[must_use]
    pub fn new(bytes: usize) -> Self {
        let all = units(bytes);
        Self {
            units: Arc::new(Semaphore::new(all as usize)),
            all,
        }
    }

    /// Waits for room, in turn. Who wants more than there is at all gets all of it.
    pub async fn take(&self, bytes: usize) -> PartRoomTaken {
        let wanted = units(bytes).min(self.all);
        let taken = Arc::clone(&self.units).acquire_many_owned(wanted).await;
        PartRoomTaken {
            _units: taken.expect("the semaphore is never closed"),
        }
    }
}

fn units(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX >> 3)
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn there_is_room_again_when_it_is_given_back() {
        let room = PartRoom::new(10 * UNIT);
        let first = room.take(6 * UNIT).await;
        let _second = room.clone().take(4 * UNIT).await;
        assert!(room.take(1).now_or_never().is_none());
        drop(first);
        assert!(room.take(6 * UNIT).now_or_never().is_some());
    }

    #[tokio::test]
    async fn what_is_larger_than_the_room_is_alone_in_it() {
        let room = PartRoom::new(10 * UNIT);
        let large = room.take(1000 * UNIT).await;
        assert!(room.take(1).now_or_never().is_none());
        drop(large);
        assert!(room.take(1).now_or_never().is_some());
    }
}
