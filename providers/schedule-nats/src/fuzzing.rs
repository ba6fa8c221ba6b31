//! Doors for the fuzz targets to what is private here. They are no part of the interface: they
//! change with what is behind them.

use crate::claim::{End, GONE_AFTER, Step, Taken, Taker, settled, step};
use crate::record::{Record, Tried};

/// What is due is counted one by one: within so many milliseconds it is soon done.
const LONGEST: u64 = 600_000;

/// Reads a job as it stands in the bucket, and decides about it as at a time.
pub fn job(stored: &[u8], now: u64) {
    let Ok(record) = Record::read(stored) else {
        return;
    };
    assert_eq!(Record::read(&record.write()).ok().as_ref(), Some(&record));
    assert!(record.owner().key(&record.job).is_ascii());
    let now = match record.next {
        Some(next) => now.min(next.saturating_add(LONGEST)),
        None => now,
    };
    for (quiet, again) in [(0, false), (GONE_AFTER, false), (GONE_AFTER, true)] {
        let by = "fuzz".to_owned();
        if let Ok(Step::Take(taken)) = step(&record, now, quiet, &Taker { by, again }) {
            taken_as_put(&record, &taken);
        }
    }
    let mut other = record.clone();
    other.stays = !record.stays;
    let _replaced = record.replaced_by(other);
    let _job = record.into_job();
}

/// What is taken is of the same job, and is told to its end or put back.
fn taken_as_put(record: &Record, taken: &Taken) {
    let (tick, by) = (&taken.tick, "fuzz");
    assert_eq!((&tick.job, &tick.payload), (&record.job, &record.payload()));
    assert_eq!(settled(&taken.record, "another", End::Over), None);
    let over = settled(&taken.record, by, End::Over).expect("it was taken");
    assert_eq!((over.lost, over.running), (0, None));
    let later = settled(&taken.record, by, End::Later(Tried::default()));
    let later = later.expect("it was taken");
    assert_eq!(later.next, Some(tick.due_ms));
}
