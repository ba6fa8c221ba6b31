//! Room for the parts of objects that are being written.
//!
//! A part takes room as its data come, so that one whose caller is slow holds little. Parts that each
//! have begun and wait for each other's room would never come to their ends; so half of the room is
//! for those that then take all they still need at once, and wait for nothing more.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::BlobError;

/// What room is counted in.
const UNIT: usize = 4 << 10;

/// How often it is waited on for parts of other links while none of the own link moves.
const TURNS: usize = 10;

/// Bounds what all uploads of a provider hold in memory, and those of a link. A clone shares the
/// room.
#[derive(Debug, Clone)]
pub struct PartRoom {
    /// For some more of a part.
    steps: Pool,
    /// For all that a part still needs.
    rests: Pool,
    /// What becomes of the parts of this share, and of all.
    own: Arc<Moves>,
    all: Arc<Moves>,
}

/// What a part holds, until it is dropped.
#[derive(Debug)]
pub struct PartRoomTaken {
    room: PartRoom,
    bytes: usize,
    units: Vec<Taken>,
    is_whole: bool,
}

/// Whether somebody who waits for room may expect some.
#[derive(Debug, Default)]
struct Moves {
    /// How often room was given back.
    given: AtomicU64,
    /// How many parts hold room that wait for no more data: they are on their way to the backend,
    /// which has limits of its own.
    whole: AtomicU64,
}

impl Moves {
    fn given(&self) -> u64 {
        self.given.load(Relaxed)
    }

    fn is_moving(&self, given_before: u64) -> bool {
        self.given() != given_before || self.whole.load(Relaxed) > 0
    }
}

/// Of the share, and of the whole.
type Taken = [OwnedSemaphorePermit; 2];

/// A share of what there is, and all of it.
#[derive(Debug, Clone)]
struct Pool {
    own: Units,
    all: Units,
}

#[derive(Debug, Clone)]
struct Units {
    free: Arc<Semaphore>,
    most: u32,
}

impl PartRoom {
    /// Room for so many bytes.
    #[must_use]
    pub fn new(bytes: usize) -> Self {
        let half = units(bytes) / 2;
        Self {
            steps: Pool::new(half),
            rests: Pool::new(half),
            own: Arc::default(),
            all: Arc::default(),
        }
    }

    /// A share for one link, which is half of the room, or what it takes to end a part of that size.
    #[must_use]
    pub fn share(&self, part: usize) -> Self {
        let rests = (self.rests.all.most / 2).max(units(part));
        Self {
            steps: self.steps.share(self.steps.all.most / 2),
            rests: self.rests.share(rests),
            own: Arc::default(),
            all: Arc::clone(&self.all),
        }
    }

    /// For a part, which holds nothing yet.
    pub(super) fn begin(&self) -> PartRoomTaken {
        PartRoomTaken {
            room: self.clone(),
            bytes: 0,
            units: Vec::new(),
            is_whole: false,
        }
    }

    /// Waits for room for one of the two, and says for which.
    async fn more(&self, step: usize, rest: usize) -> (Taken, usize) {
        tokio::select! {
            biased;
            taken = self.steps.take(step), if self.steps.has(step) => (taken, step),
            taken = self.rests.take(rest) => (taken, rest),
        }
    }
}

impl PartRoomTaken {
    /// Waits for room for `goal` bytes of a part that may come to have `size`.
    pub(super) async fn grow(
        &mut self,
        goal: usize,
        size: usize,
        idle: Duration,
    ) -> Result<(), BlobError> {
        if goal <= self.bytes {
            return Ok(());
        }
        let room = self.room.clone();
        let mut more = pin!(room.more(goal - self.bytes, size - self.bytes));
        let mut turns = 0;
        let (taken, bytes) = loop {
            let (own, all) = (room.own.given(), room.all.given());
            match timeout(idle, more.as_mut()).await {
                Ok(more) => break more,
                // Room is given in turn, and the turn comes nearer.
                Err(_) if room.own.is_moving(own) => {}
                Err(_) if room.all.is_moving(all) && turns < TURNS => turns += 1,
                Err(_) => return Err(BlobError::Busy { after: idle }),
            }
        };
        self.units.push(taken);
        self.bytes += bytes;
        Ok(())
    }

    /// The part waits for no more data.
    pub(super) fn whole(mut self) -> Self {
        if self.bytes > 0 && !self.is_whole {
            self.is_whole = true;
            for moves in [&self.room.own, &self.room.all] {
                moves.whole.fetch_add(1, Relaxed);
            }
        }
        self
    }
}

impl Drop for PartRoomTaken {
    fn drop(&mut self) {
        for moves in [&self.room.own, &self.room.all] {
            moves.given.fetch_add(u64::from(self.bytes > 0), Relaxed);
            moves.whole.fetch_sub(u64::from(self.is_whole), Relaxed);
        }
    }
}

impl Pool {
    fn new(most: u32) -> Self {
        Self {
            own: Units::new(most),
            all: Units::new(most),
        }
    }

    fn share(&self, most: u32) -> Self {
        Self {
            own: Units::new(most),
            all: self.all.clone(),
        }
    }

    /// Whether there is so much at all.
    fn has(&self, bytes: usize) -> bool {
        units(bytes) <= self.own.most.min(self.all.most)
    }

    /// Who wants more than there is at all gets all of it.
    async fn take(&self, bytes: usize) -> Taken {
        let wanted = units(bytes).min(self.own.most).min(self.all.most);
        // Who waits for the share of its link is in nobody else's way.
        let own = self.own.take(wanted).await;
        [own, self.all.take(wanted).await]
    }
}

impl Units {
    fn new(most: u32) -> Self {
        Self {
            free: Arc::new(Semaphore::new(most as usize)),
            most,
        }
    }

    async fn take(&self, wanted: u32) -> OwnedSemaphorePermit {
        let taken = Arc::clone(&self.free).acquire_many_owned(wanted).await;
        taken.expect("the semaphore is never closed")
    }
}

fn units(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX >> 3)
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    const IDLE: Duration = Duration::from_secs(30);

    async fn part(room: &PartRoom, size: usize) -> PartRoomTaken {
        let mut taken = room.begin();
        taken.grow(size, size, IDLE).await.unwrap();
        taken
    }

    #[tokio::test]
    async fn there_is_room_again_when_it_is_given_back() {
        let room = PartRoom::new(20 * UNIT);
        let first = part(&room, 6 * UNIT).await;
        let _second = part(&room.clone(), 10 * UNIT).await;
        assert!(part(&room, 6 * UNIT).now_or_never().is_none());
        drop(first);
        assert!(part(&room, 6 * UNIT).now_or_never().is_some());
    }

    #[tokio::test]
    async fn what_takes_the_rest_of_a_part_waits_for_no_more() {
        let room = PartRoom::new(20 * UNIT);
        let _other = part(&room, 9 * UNIT).await;
        let mut taken = room.begin();
        taken.grow(UNIT, 8 * UNIT, IDLE).await.unwrap();
        taken.grow(2 * UNIT, 8 * UNIT, IDLE).await.unwrap();
        // All that is left, of either half.
        let _last = part(&room, 3 * UNIT).await;
        assert!(part(&room, 1).now_or_never().is_none());
        taken.grow(8 * UNIT, 8 * UNIT, IDLE).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_link_has_a_share_and_is_told_when_that_stands_still() {
        let room = PartRoom::new(40 * UNIT);
        let (one, other) = (room.share(5 * UNIT), room.share(5 * UNIT));
        let mut held = Vec::new();
        for _ in 0..4 {
            held.push(part(&one, 5 * UNIT).await);
        }
        let mut more = one.begin();
        let error = more.grow(UNIT, 5 * UNIT, IDLE).await.unwrap_err();
        assert_eq!(error, BlobError::Busy { after: IDLE });
        assert!(error.to_string().contains("30s"), "{error}");
        for _ in 0..4 {
            held.push(part(&other, 5 * UNIT).now_or_never().unwrap());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_while_others_come_to_their_ends_is_not_told_off() {
        let room = PartRoom::new(8 * UNIT);
        let mut held = Vec::new();
        for _ in 0..8 {
            held.push(part(&room, UNIT).await);
        }
        let others = async {
            for held in held {
                tokio::time::sleep(IDLE * 3 / 4).await;
                drop(held);
            }
        };
        futures::join!(part(&room, 4 * UNIT), others);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_on_its_way_to_the_backend_is_waited_for() {
        let room = PartRoom::new(2 * UNIT);
        let sent = part(&room, UNIT).await.whole();
        let others = part(&room, UNIT).await;
        let sending = async {
            tokio::time::sleep(IDLE * 3).await;
            drop(sent);
        };
        let (second, ()) = futures::join!(part(&room, UNIT), sending);
        // Now no part is whole.
        let error = room.begin().grow(UNIT, UNIT, IDLE).await;
        assert_eq!(error, Err(BlobError::Busy { after: IDLE }));
        drop((others, second));
    }

    #[tokio::test]
    async fn a_part_may_be_as_large_as_half_the_room() {
        let room = PartRoom::new(20 * UNIT);
        let share = room.share(10 * UNIT);
        let _first = part(&share, 10 * UNIT).await;
        assert!(part(&share, 10 * UNIT).now_or_never().is_none());
    }
}
