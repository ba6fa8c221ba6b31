//! Room for the values of all calls that are under way, those with few apart.

use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;

/// How many parts the values of a call may have that are not counted together with those of others.
/// They take no more than the instance itself, and whoever calls with few is not to suffer from those
/// who call with many.
const FEW_PARTS: u32 = 1024;

/// For how many parts there is room on any machine.
const LEAST: u64 = 16 << 20;

/// What most parts take, in bytes; those with names take up to a hundred.
const PART_BYTES: u64 = 40;

/// One part in so many of the machine's memory is for values.
const SHARE: u64 = 8;

/// How long a call waits for room. Short, because it may itself be what another call waits for that
/// has taken the room.
const PATIENCE: Duration = Duration::from_secs(3);

/// A permit for each part that values have, from before they are made until their call has ended.
pub(crate) struct ValueRoom(Semaphore);

/// There was no room, even after a while.
pub(crate) struct Full;

impl ValueRoom {
    /// Room on a machine with so many bytes of memory.
    pub(crate) fn new(memory: u64) -> Self {
        Self(Semaphore::new(size(memory)))
    }

    /// Takes room for values with so many parts, and waits for it a little; few take none.
    pub(crate) async fn take(&self, parts: u32) -> Result<Option<SemaphorePermit<'_>>, Full> {
        if parts <= FEW_PARTS {
            return Ok(None);
        }
        match timeout(PATIENCE, self.0.acquire_many(parts)).await {
            Ok(Ok(permit)) => Ok(Some(permit)),
            _ => Err(Full),
        }
    }
}

fn size(memory: u64) -> usize {
    let parts = (memory / SHARE / PART_BYTES).max(LEAST);
    let most = Semaphore::MAX_PERMITS;
    usize::try_from(parts).map_or(most, |parts| parts.min(most))
}

#[cfg(test)]
impl ValueRoom {
    /// For how many parts there is room now.
    pub(crate) fn left(&self) -> usize {
        self.0.available_permits()
    }

    /// Takes all room but that for so many parts.
    pub(crate) fn take_all_but(&self, parts: usize) -> SemaphorePermit<'_> {
        let others = u32::try_from(self.left() - parts).unwrap();
        self.0.try_acquire_many(others).unwrap()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_machine_has_more_room_and_a_small_one_no_less_than_a_few_calls_take() {
        assert_eq!(size(512 << 20), 16 << 20);
        assert_eq!(size(64 << 30), (8 << 30) / 40);
    }
}
