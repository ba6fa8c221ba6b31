//! Fencing numbers, which grow even when etcd has lost its data, or was set back to earlier ones.

use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use lattice_etcd::{Compare, Etcd, EtcdError, Op, Pair, Put, Range, Ranged, Relation, Txn};
use parking_lot::Mutex;

use crate::names;

/// What fences are counted from: when the counting began, in microseconds since 1970. It stands in
/// etcd, for all to count from the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Base {
    text: Bytes,
    made: u64,
}

impl Base {
    fn at(made: u64) -> Self {
        Self {
            text: made.to_string().into(),
            made,
        }
    }

    /// What stands there. Anything but a number counts for nothing.
    fn read(text: Bytes) -> Self {
        let number = std::str::from_utf8(&text).ok();
        let made = number.and_then(|number| number.parse::<u64>().ok());
        let made = made.unwrap_or_default();
        Self { text, made }
    }

    /// The fence of a key that came to be at a revision; revisions are positive. A counting that
    /// begins later counts from a higher number, since etcd makes no million of revisions a second.
    pub(crate) fn fence(&self, revision: i64) -> u64 {
        self.made.saturating_add(revision.unsigned_abs())
    }
}

impl From<Pair> for Base {
    fn from(pair: Pair) -> Self {
        Self::read(pair.value)
    }
}

/// What this process knows about fences.
#[derive(Debug)]
pub(crate) struct Fences {
    key: String,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    /// None until it is read, again where it may have changed.
    base: Option<Base>,
    /// The highest fence that could have been given as far as was seen. One that is not above it
    /// comes from an etcd that was set back.
    highest: u64,
}

impl Fences {
    pub(crate) fn new(prefix: &str) -> Self {
        Self {
            key: names::of_base(prefix),
            known: Mutex::default(),
        }
    }

    /// What fences are counted from. The first one to ask writes it down.
    pub(crate) async fn base(&self, etcd: &Etcd) -> Result<Base, EtcdError> {
        if let Some(base) = self.known.lock().base.clone() {
            return Ok(base);
        }
        let is_absent = Txn::when(Compare::absent(self.key.clone()));
        let base = self.begin(etcd, is_absent).await?;
        // A key that went just now fails the comparisons of whoever uses this.
        Ok(base.unwrap_or_else(|| Base::read(Bytes::new())))
    }

    /// Counts from above all that was seen, unless another has changed it already.
    pub(crate) async fn raise(&self, etcd: &Etcd, base: &Base) -> Result<(), EtcdError> {
        tracing::warn!("etcd was set back to earlier data, fences are counted anew");
        let is_still = Txn::when(self.is_still(base));
        self.begin(etcd, is_still).await.map(drop)
    }

    /// Begins to count if a transaction says so; gives what stands there afterwards.
    async fn begin(&self, etcd: &Etcd, when: Txn) -> Result<Option<Base>, EtcdError> {
        let new = Base::at(self.later());
        let put = Put::new(self.key.clone(), new.text.clone());
        let done = etcd
            .txn(when.then(Op::Put(put)).otherwise(self.look()))
            .await?;
        let base = match done.succeeded {
            true => Some(new),
            false => done.ranged().and_then(Ranged::first).map(Base::from),
        };
        self.known.lock().base.clone_from(&base);
        Ok(base)
    }

    /// Now, or above all that was seen if the clock was set back.
    fn later(&self) -> u64 {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.unwrap_or_default().as_micros();
        let above = self.highest().saturating_add(1);
        u64::try_from(now).unwrap_or(u64::MAX).max(above)
    }

    /// Compares whether `base` still is what is counted from.
    pub(crate) fn is_still(&self, base: &Base) -> Compare {
        Compare::value(self.key.clone(), Relation::Equal, base.text.clone())
    }

    /// Reads what is counted from, for [`Fences::learn`].
    pub(crate) fn look(&self) -> Op {
        Op::Range(Range::key(self.key.clone()))
    }

    /// Takes in what is counted from; whether that is something else than `base`.
    pub(crate) fn learn(&self, base: &Base, read: Option<Ranged>) -> bool {
        let now = read.and_then(Ranged::first).map(Base::from);
        let is_other = now.as_ref() != Some(base);
        if is_other {
            self.known.lock().base = now;
        }
        is_other
    }

    /// Has what is counted from read again: it may have changed.
    pub(crate) fn doubt(&self) {
        self.known.lock().base = None;
    }

    /// The highest fence that was seen.
    pub(crate) fn highest(&self) -> u64 {
        self.known.lock().highest
    }

    /// Takes in that etcd has come to a revision.
    pub(crate) fn saw(&self, revision: i64) {
        let mut known = self.known.lock();
        let fence = known.base.as_ref().map(|base| base.fence(revision));
        known.highest = known.highest.max(fence.unwrap_or_default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_counted_from() {
        let base = Base::at(1000);
        assert_eq!(base.fence(7), 1007);
        assert_eq!(Base::read(base.text.clone()), base);
        assert_eq!(Base::read(Bytes::from("soon")).fence(7), 7);
        assert_eq!(Base::at(u64::MAX).fence(7), u64::MAX);
    }

    #[test]
    fn a_counting_begins_above_all_that_was_seen() {
        let fences = Fences::new("p/");
        assert!(fences.later() > 1_700_000_000_000_000);
        fences.known.lock().base = Some(Base::at(u64::MAX - 100));
        fences.saw(50);
        fences.saw(40);
        assert_eq!(fences.highest(), u64::MAX - 50);
        assert_eq!(fences.later(), u64::MAX - 49);
    }

    #[test]
    fn what_has_changed_is_noticed() {
        let fences = Fences::new("p/");
        let base = Base::at(1000);
        let read = |text: &'static str| {
            let mut ranged = Ranged::default();
            let value = Bytes::from(text);
            ranged.pairs = vec![Pair {
                value,
                ..Pair::default()
            }];
            Some(ranged)
        };
        assert!(!fences.learn(&base, read("1000")));
        assert!(fences.learn(&base, read("2000")));
        assert_eq!(fences.known.lock().base, Some(Base::at(2000)));
        assert!(fences.learn(&base, Some(Ranged::default())));
        assert_eq!(fences.known.lock().base, None);
    }
}
