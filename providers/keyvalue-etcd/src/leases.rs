//! Leases that keys with a time share.
//!
//! etcd keeps a lease until its time is over, whatever becomes of the keys. One for each write would
//! be more and more of them where a key is written often, until etcd has no room.

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use lattice_etcd::{Code, Etcd, EtcdError};
use lattice_provider_sdk::keyvalue::Turns;
use parking_lot::Mutex;
use tokio::time::Instant;

/// How much longer than it has to a lease lasts, so that it serves the writes of the next second too.
const SPARE_SECS: u64 = 1;
/// For how long one may be used again: as long as it is spare, and what the time was rounded up by.
const USED_FOR: Duration = Duration::from_secs(SPARE_SECS + 1);
/// By how much the time of the day may differ from what has passed since. Only the former goes on while
/// the machine sleeps.
const CLOCKS_APART: Duration = Duration::from_secs(1);
/// How many keys share one, since etcd deletes all of them in one step.
const MOST_KEYS: u32 = 1000;
/// How many are remembered, which are of as many different times.
const MOST_KNOWN: usize = 256;
/// How long a write waits for one that is about to get the same lease.
const TURN_LIMIT: Duration = Duration::from_secs(1);

/// The leases of one link.
#[derive(Debug, Default)]
pub(crate) struct Leases {
    /// By the seconds that they were asked for.
    known: Mutex<HashMap<u64, Lease>>,
    turns: Turns,
}

#[derive(Debug)]
struct Lease {
    id: i64,
    begun: Instant,
    begun_at: SystemTime,
    lasts: Duration,
    keys: u32,
}

impl Lease {
    /// How long it still lasts, if that can be told.
    fn left(&self) -> Option<Duration> {
        let age = self.begun.elapsed();
        let by_day = self.begun_at.elapsed().ok()?;
        if by_day.abs_diff(age) > CLOCKS_APART {
            return None;
        }
        Some(self.lasts.saturating_sub(age))
    }
}

impl Leases {
    /// Writes so many keys with a lease that still lasts for `ttl` at least, or with none, which is 0.
    pub(crate) async fn with<T, F>(
        &self,
        etcd: &Etcd,
        ttl: Option<Duration>,
        keys: u32,
        write: impl Fn(i64) -> F,
    ) -> Result<T, EtcdError>
    where
        F: Future<Output = Result<T, EtcdError>>,
    {
        let Some(ttl) = ttl else {
            return write(0).await;
        };
        let id = self.lease(etcd, ttl, keys).await?;
        match write(id).await {
            // etcd was set back, or somebody ended the lease. Nothing was written.
            Err(error) if error.code() == Some(Code::NOT_FOUND) => {
                self.forget(id);
                let id = self.lease(etcd, ttl, keys).await?;
                write(id).await
            }
            done => done,
        }
    }

    async fn lease(&self, etcd: &Etcd, ttl: Duration, keys: u32) -> Result<i64, EtcdError> {
        let whole = ttl.as_secs() + u64::from(ttl.subsec_nanos() > 0);
        let secs = whole + SPARE_SECS;
        if let Some(id) = self.find(secs, ttl, keys) {
            return Ok(id);
        }
        // Of those that come at once one asks for all, unless it gets no answer.
        let name = secs.to_string();
        let _turn = tokio::time::timeout(TURN_LIMIT, self.turns.take("", &name)).await;
        if let Some(id) = self.find(secs, ttl, keys) {
            return Ok(id);
        }
        let (begun, begun_at) = (Instant::now(), SystemTime::now());
        let granted = etcd.grant(Duration::from_secs(secs)).await?;
        let lease = Lease {
            id: granted.id,
            begun,
            begun_at,
            lasts: granted.ttl,
            keys,
        };
        self.remember(secs, lease);
        Ok(granted.id)
    }

    /// One that was granted before, if it lasts long enough and has room for so many more keys.
    fn find(&self, secs: u64, ttl: Duration, keys: u32) -> Option<i64> {
        let mut known = self.known.lock();
        let lease = known.get_mut(&secs)?;
        let all = lease.keys.saturating_add(keys);
        if lease.left()? < ttl || all > MOST_KEYS {
            return None;
        }
        lease.keys = all;
        Some(lease.id)
    }

    fn remember(&self, secs: u64, lease: Lease) {
        let mut known = self.known.lock();
        if known.len() >= MOST_KNOWN {
            known.retain(|_, lease| lease.begun.elapsed() < USED_FOR);
        }
        if known.len() < MOST_KNOWN || known.contains_key(&secs) {
            known.insert(secs, lease);
        }
    }

    fn forget(&self, id: i64) {
        self.known.lock().retain(|_, lease| lease.id != id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TTL: Duration = Duration::from_secs(600);

    fn one(begun_at: SystemTime, keys: u32) -> Leases {
        let leases = Leases::default();
        let lease = Lease {
            id: 7,
            begun: Instant::now(),
            begun_at,
            lasts: TTL + Duration::from_secs(SPARE_SECS),
            keys,
        };
        leases.remember(601, lease);
        leases
    }

    #[test]
    fn as_many_keys_share_a_lease_as_are_written_and_not_as_there_are_writes() {
        let leases = one(SystemTime::now(), MOST_KEYS - 150);
        assert_eq!(leases.find(601, TTL, 100), Some(7));
        assert_eq!(leases.find(601, TTL, 100), None);
        assert_eq!(leases.find(601, TTL, 50), Some(7));
        assert_eq!(leases.find(601, TTL, 1), None);
    }

    #[test]
    fn a_lease_from_before_the_machine_slept_is_not_used_again() {
        let slept = Duration::from_secs(60);
        let leases = one(SystemTime::now() - slept, 1);
        assert_eq!(leases.find(601, TTL, 1), None);
        // Or the time of the day was set back.
        let leases = one(SystemTime::now() + slept, 1);
        assert_eq!(leases.find(601, TTL, 1), None);
    }
}
