//! Doors for the fuzz targets to what is private here. They are no part of the interface: they
//! change with what is behind them.

use bytes::Bytes;
use lattice_provider_sdk::nats::ledger::Revision;
use tokio::time::Instant;

use crate::fences::{self, Fences};
use crate::record::Record;

/// Takes in a lock as it stands in a bucket that was made at `made`, and as it is when NATS has lost
/// that bucket and has made another at `later`.
pub fn lock(stored: &[u8], made: u64, later: u64) {
    let revision = |making, made, number| Revision {
        making,
        made,
        number,
    };
    let (first, blank) = (revision(1, made, 1), revision(2, later, 0));
    let fences = Fences::default();
    fences.saw(first, &Bytes::copy_from_slice(stored));
    let mut highest = fences::of(first);
    if let Ok(record) = Record::read(stored) {
        let fence = record.fence(first);
        assert_eq!(Record::read(&record.write()).ok().as_ref(), Some(&record));
        // A time as long as a record can name is no trouble for clocks.
        let _ends = Instant::now() + record.ttl();
        assert_eq!(record.with_its_fence(first).fence(blank), fence);
        highest = highest.max(fence);
    }
    let by_revision = fences::of(revision(2, later, 1));
    let next = fences.noted(blank).unwrap_or(by_revision);
    assert!(next > highest || highest == u64::MAX);
}
