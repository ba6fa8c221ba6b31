//! Leases that keys with a time share.
//!
//! etcd keeps a lease until its time is over, whatever becomes of the keys. One for each write would
//! be more and more of them where a key is written often, until etcd has no room.

use std::collections::HashMap;
use std::time::Duration;

use lattice_etcd::{Code, Etcd, EtcdError};
use lattice_provider_sdk::keyvalue::Turns;
use parking_lot::Mutex;
use tokio::time::Instant;

/// How much longer than it has to a lease lasts, so that it serves the writes of the next second too.
const SPARE_SECS: u64 = 1;
/// For how long one may be used again: as long as it is spare, and what the time was rounded up by.
const USED_FOR: Duration = Duration::from_secs(SPARE_SECS + 1);
/// How many writes share one, since etcd deletes all keys of a lease in one step.
const MOST_WRITES: u32 = 1000;
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
    lasts: Duration,
    writes: u32,
}

impl Leases {
    /// Writes with a lease that still lasts for `ttl` at least, or with none, which is 0.
    pub(crate) async fn with<T, F>(
        &self,
        etcd: &Etcd,
        ttl: Option<Duration>,
        write: impl Fn(i64) -> F,
    ) -> Result<T, EtcdError>
    where
        F: Future<Output = Result<T, EtcdError>>,
    {
        let Some(ttl) = ttl else {
            return write(0).await;
        };
        let id = self.lease(etcd, ttl).await?;
        match write(id).await {
            // etcd was set back, or somebody ended the lease. Nothing was written.
            Err(error) if error.code() == Some(Code::NOT_FOUND) => {
                self.forget(id);
                let id = self.lease(etcd, ttl).await?;
                write(id).await
            }
            done => done,
        }
    }

    async fn lease(&self, etcd: &Etcd, ttl: Duration) -> Result<i64, EtcdError> {
        let whole = ttl.as_secs() + u64::from(ttl.subsec_nanos() > 0);
        let secs = whole + SPARE_SECS;
        if let Some(id) = self.find(secs, ttl) {
            return Ok(id);
        }
        // Of those that come at once one asks for all, unless it gets no answer.
        let name = secs.to_string();
        let _turn = tokio::time::timeout(TURN_LIMIT, self.turns.take("", &name)).await;
        if let Some(id) = self.find(secs, ttl) {
            return Ok(id);
        }
        let begun = Instant::now();
        let granted = etcd.grant(Duration::from_secs(secs)).await?;
        let lease = Lease {
            id: granted.id,
            begun,
            lasts: granted.ttl,
            writes: 1,
        };
        self.remember(secs, lease);
        Ok(granted.id)
    }

    /// One that was granted before, if it lasts long enough.
    fn find(&self, secs: u64, ttl: Duration) -> Option<i64> {
        let mut known = self.known.lock();
        let lease = known.get_mut(&secs)?;
        let left = lease.lasts.saturating_sub(lease.begun.elapsed());
        if left < ttl || lease.writes >= MOST_WRITES {
            return None;
        }
        lease.writes += 1;
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
