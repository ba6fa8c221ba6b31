//! Fencing numbers, which grow even when NATS has lost the bucket.

use bytes::Bytes;
use lattice_provider_sdk::nats::ledger::Revision;
use parking_lot::Mutex;

use crate::record::Record;

/// The fence of a revision: when the bucket was made, in microseconds, and the number of the change
/// on top. A bucket that is made later counts from a higher number, since no bucket is changed a
/// million times a second for as long as it lives; and everybody who sees the bucket knows it.
pub(crate) fn of(revision: Revision) -> u64 {
    revision.made.saturating_add(revision.number)
}

/// What this process knows about fences, for when the clock of NATS was set back by more than the
/// lost bucket was old.
#[derive(Debug, Default)]
pub(crate) struct Fences(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    /// The making of the bucket that is in use.
    making: u64,
    /// The highest number so far.
    highest: u64,
    /// The highest number of earlier makings, or of the same before it lost its last changes.
    earlier: u64,
}

impl Known {
    fn begin(&mut self, making: u64) {
        if self.making < making {
            self.making = making;
            self.earlier = self.highest;
        }
    }

    /// A number above all so far, for an acquisition that has read a revision. Revisions are counted
    /// in, so that copies of the provider that know the same of earlier numbers need not know each
    /// other's new ones. A record may say any number.
    fn next(&mut self, read: Revision) -> u64 {
        let counted = self.earlier.saturating_add(read.number);
        self.highest = self.highest.max(counted).saturating_add(1);
        self.highest
    }
}

impl Fences {
    /// The number that an acquisition has to write down: none as long as that of its own revision
    /// will do.
    pub(crate) fn noted(&self, read: Revision) -> Option<u64> {
        let mut known = self.0.lock();
        known.begin(read.making);
        if read.made >= known.earlier {
            return None;
        }
        Some(known.next(read))
    }

    /// The number that an acquisition has to write down whose own is not above all that was seen
    /// before it was made, as is so where NATS has come back without its last changes.
    pub(crate) fn above(&self, acquired: Revision) -> u64 {
        let mut known = self.0.lock();
        if acquired.made >= known.earlier {
            known.earlier = known.highest;
        }
        known.next(acquired)
    }

    /// The highest number that was seen.
    pub(crate) fn highest(&self) -> u64 {
        self.0.lock().highest
    }

    /// Takes in that a lock is written or gone.
    pub(crate) fn saw(&self, revision: Revision, value: &Bytes) {
        let noted = Record::read(value)
            .ok()
            .map(|record| record.fence(revision));
        let highest = of(revision).max(noted.unwrap_or_default());
        let mut known = self.0.lock();
        known.begin(revision.making);
        known.highest = known.highest.max(highest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn revision(making: u64, made: u64, number: u64) -> Revision {
        Revision {
            making,
            made,
            number,
        }
    }

    #[test]
    fn a_bucket_that_is_made_later_has_higher_fences() {
        let fences = Fences::default();
        fences.saw(revision(1, 1000, 500), &Bytes::new());
        let later = revision(2, 2000, 0);
        assert_eq!(fences.noted(later), None);
        assert!(of(later) > of(revision(1, 1000, 500)));
    }

    #[test]
    fn whatever_a_record_says_is_counted_on_from() {
        let fences = Fences::default();
        let value = br#"{"owner":"a","secret":"b","ttl_ms":1,"fence":18446744073709551615}"#;
        fences.saw(revision(1, 1000, 1), &Bytes::from_static(value));
        assert_eq!(fences.noted(revision(2, 2000, 0)), Some(u64::MAX));
    }

    #[test]
    fn a_clock_that_was_set_back_is_made_up_for() {
        let fences = Fences::default();
        assert_eq!(fences.noted(revision(1, 1000, 0)), None);
        fences.saw(revision(1, 1000, 500), &Bytes::new());
        let back = revision(2, 10, 0);
        assert_eq!(fences.noted(back), Some(1501));
        fences.saw(revision(2, 10, 1), &Bytes::new());
        assert_eq!(fences.noted(back), Some(1502));
    }

    #[test]
    fn numbers_that_come_again_are_counted_on_from() {
        let [one, other] = [(); 2].map(|()| Fences::default());
        for fences in [&one, &other] {
            fences.saw(revision(1, 1000, 500), &Bytes::new());
        }
        let again = revision(1, 1000, 400);
        assert_eq!(one.noted(again), None);
        assert!(of(again) <= one.highest());
        let first = one.above(again);
        assert!(first > 1500);
        // The other has not heard of that one yet, nor the first of this one.
        let second = other.above(revision(1, 1000, 402));
        assert!(second > first, "{second} after {first}");
        let third = one.noted(revision(1, 1000, 403)).unwrap();
        assert!(third > second, "{third} after {second}");
    }
}
