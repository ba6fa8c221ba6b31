//! Room for the values of all calls that are under way, those with few apart.

use std::sync::atomic::{AtomicU64, Ordering};

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

/// How much more than all its room calls under way may take for what they pass on. A call that has
/// begun holds room; if it could not go on where others fill the rest, none of them would end.
const TO_PASS_ON: u64 = 2;

/// Counts the parts that values have, from before they are made until their call has ended.
///
/// Nobody waits for room: who waits would hold a place in its component meanwhile, and what it waits
/// for may be a call that waits for it.
pub(crate) struct ValueRoom {
    taken: AtomicU64,
    most: u64,
}

/// There is no room.
#[derive(Debug)]
pub(crate) struct Full;

/// Room for values, given back when it is dropped.
pub(crate) struct Taken<'a> {
    room: &'a ValueRoom,
    parts: u64,
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        self.room.taken.fetch_sub(self.parts, Ordering::Relaxed);
    }
}

impl ValueRoom {
    /// Room on a machine with so many bytes of memory.
    pub(crate) fn new(memory: u64) -> Self {
        Self {
            taken: AtomicU64::new(0),
            most: size(memory),
        }
    }

    /// Takes room for the values of a call that is to begin; few take none.
    pub(crate) fn take(&self, parts: u32) -> Result<Option<Taken<'_>>, Full> {
        self.take_of(parts, self.most)
    }

    /// Takes room for what a call under way passes on.
    pub(crate) fn take_to_pass_on(&self, parts: u32) -> Result<Option<Taken<'_>>, Full> {
        self.take_of(parts, self.most.saturating_mul(TO_PASS_ON))
    }

    fn take_of(&self, parts: u32, most: u64) -> Result<Option<Taken<'_>>, Full> {
        if parts <= FEW_PARTS {
            return Ok(None);
        }
        let parts = u64::from(parts);
        let more = |taken: u64| Some(taken + parts).filter(|taken| *taken <= most);
        let taken = self
            .taken
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        let room = self;
        taken
            .map(|_before| Some(Taken { room, parts }))
            .map_err(|_| Full)
    }
}

fn size(memory: u64) -> u64 {
    (memory / SHARE / PART_BYTES).max(LEAST)
}

#[cfg(test)]
impl ValueRoom {
    /// For how many parts there is room now.
    pub(crate) fn left(&self) -> u64 {
        self.most - self.taken.load(Ordering::Relaxed)
    }

    /// Takes all room but that for so many parts, as calls do that have begun.
    pub(crate) fn take_all_but(&self, parts: u64) -> Taken<'_> {
        self.take_as_it_is(self.left() - parts)
    }

    /// Takes all room, that for what is passed on as well.
    pub(crate) fn take_all_to_pass_on(&self) -> Taken<'_> {
        self.take_as_it_is(self.left() + (TO_PASS_ON - 1) * self.most)
    }

    fn take_as_it_is(&self, parts: u64) -> Taken<'_> {
        self.taken.fetch_add(parts, Ordering::Relaxed);
        Taken { room: self, parts }
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

    #[test]
    fn calls_under_way_go_on_where_no_more_begin() {
        let room = ValueRoom::new(0);
        let others = room.take_all_but(0);
        assert!(room.take(FEW_PARTS + 1).is_err());
        assert!(
            matches!(room.take(FEW_PARTS), Ok(None)),
            "few are not counted"
        );
        let passed = room.take_to_pass_on(FEW_PARTS + 1).unwrap();
        assert!(passed.is_some());
        drop((others, passed));
        assert_eq!(room.left(), LEAST);
        assert!(room.take(FEW_PARTS + 1).unwrap().is_some());
    }

    #[test]
    fn what_is_passed_on_has_a_bound_too() {
        let room = ValueRoom::new(0);
        let most = u32::try_from(LEAST).unwrap();
        let one = room.take_to_pass_on(most).unwrap();
        let other = room.take_to_pass_on(most).unwrap();
        assert!(room.take_to_pass_on(FEW_PARTS + 1).is_err());
        drop((one, other));
    }
}
