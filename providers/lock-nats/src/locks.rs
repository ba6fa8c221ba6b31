//! The locks behind one link.

use std::time::Duration;

use lattice_provider_sdk::lock::{Attempt, Claim, Granted, Holder, LockError, LockName, Locks};
use lattice_provider_sdk::nats::ledger::{Change, Revision};
use lattice_provider_sdk::{Backoff, Features, LinkError, Shared, chain};
use tokio::time::Instant;

use crate::key;
use crate::record::Record;
use crate::vault::Vault;

/// How often one attempt looks again because another was faster.
const TRIES: usize = 16;
/// The pauses in between.
const PAUSE: Duration = Duration::from_millis(2);
const LONGEST_PAUSE: Duration = Duration::from_millis(50);

/// Locks in one bucket.
#[derive(Debug)]
pub(crate) struct NatsLocks {
    vault: Shared<Vault>,
}

/// A lock as it is in the bucket.
struct Found {
    revision: Revision,
    held: Option<Held>,
}

/// A lock that somebody holds, or held until his time was over.
struct Held {
    record: Record,
    ends: Instant,
}

impl Held {
    fn is_over(&self) -> bool {
        Instant::now() >= self.ends
    }

    fn holder(&self, revision: Revision) -> Holder {
        let left = self.ends.saturating_duration_since(Instant::now());
        Holder {
            owner: self.record.owner.clone(),
            fence: self.record.fence(revision),
            expires_in_ms: u32::try_from(left.as_millis()).ok(),
        }
    }
}

impl NatsLocks {
    pub(crate) fn new(vault: Shared<Vault>) -> Self {
        Self { vault }
    }

    /// A lock as it is known to be held by a claim, without reading it. A change of it is refused
    /// when it is not so any more.
    fn known(&self, key: &str, claim: &Claim) -> Option<Found> {
        let known = self.vault.known(key)?;
        let record = Record::read(&known.value).ok()?;
        let ends = known.since + record.ttl();
        let held = Held { record, ends };
        (held.record.is_of(claim) && !held.is_over()).then_some(Found {
            revision: known.revision,
            held: Some(held),
        })
    }

    async fn look(&self, key: &str) -> Result<Found, LockError> {
        let connection = self.vault.connection();
        let stored = self.vault.read(key).await?;
        let revision = stored.revision;
        let sightings = &self.vault.sightings;
        let Some(value) = stored.value else {
            let held = self.lost(key, revision);
            if held.is_none() {
                sightings.gone(key, Some(revision), connection);
            }
            return Ok(Found { revision, held });
        };
        let record = Record::read(&value).map_err(|error| {
            LockError::Other(format!(
                "what is stored under `{key}` in the bucket `{}` is no lock: {error}",
                self.vault.bucket()
            ))
        })?;
        let since = sightings.see(key, revision, &value, connection);
        let ends = since + record.ttl();
        Ok(Found {
            revision,
            held: Some(Held { record, ends }),
        })
    }

    /// A lock that is held although NATS has lost what says so. Its holder does not know, and may
    /// renew it, which writes it down again.
    fn lost(&self, key: &str, read: Revision) -> Option<Held> {
        let known = self.vault.sightings.lost(key, read)?;
        let record = Record::read(&known.value).ok()?;
        let held = Held {
            ends: known.since + record.ttl(),
            record: record.with_its_fence(known.revision),
        };
        (!held.is_over()).then_some(held)
    }

    /// Writes the record of a claim if nothing has changed since it was read.
    async fn put(
        &self,
        key: &str,
        record: &Record,
        read: Revision,
    ) -> Result<Option<Revision>, LockError> {
        match self.vault.write(key, record.write(), read).await? {
            Change::Done(revision) => Ok(Some(revision)),
            Change::Outdone => Ok(None),
        }
    }

    /// Takes a lock that is free as far as is known.
    async fn take_free(
        &self,
        key: &str,
        claim: &Claim,
        ttl: Duration,
    ) -> Result<Option<Granted>, LockError> {
        match self.vault.free_at(key) {
            Some(free) => self.take(key, claim, ttl, free).await,
            None => Ok(None),
        }
    }

    /// Takes a lock that was free at a revision; none if it has changed since.
    async fn take(
        &self,
        key: &str,
        claim: &Claim,
        ttl: Duration,
        free: Revision,
    ) -> Result<Option<Granted>, LockError> {
        let fences = &self.vault.fences;
        let highest = fences.highest();
        let noted = fences.noted(free);
        let record = Record::new(claim, ttl, noted);
        let Some(revision) = self.put(key, &record, free).await? else {
            return Ok(None);
        };
        let fence = record.fence(revision);
        if noted.is_some() || fence > highest {
            return Ok(Some(Granted { fence, ttl }));
        }
        // NATS has lost its last changes, and gives their numbers again.
        let fence = fences.above(revision);
        let record = Record::new(claim, ttl, Some(fence));
        let written = self.put(key, &record, revision).await?;
        Ok(written.map(|_| Granted { fence, ttl }))
    }

    async fn attempt(&self, claim: &Claim, ttl: Duration) -> Result<Attempt, LockError> {
        let key = key::of(&claim.place);
        if let Some(granted) = self.take_free(&key, claim, ttl).await? {
            return Ok(Attempt::Got(granted));
        }
        let mut tries = Tries::new();
        loop {
            let found = self.look(&key).await?;
            if let Some(held) = found.held.filter(|held| !held.is_over()) {
                return Ok(Attempt::Held {
                    holder: held.holder(found.revision),
                    ends: Some(held.ends),
                });
            }
            if let Some(granted) = self.take(&key, claim, ttl, found.revision).await? {
                return Ok(Attempt::Got(granted));
            }
            tries.again().await?;
        }
    }
}

/// Counts how often another was faster.
struct Tries {
    left: usize,
    backoff: Backoff,
}

impl Tries {
    fn new() -> Self {
        Self {
            left: TRIES,
            backoff: Backoff::new(PAUSE, LONGEST_PAUSE),
        }
    }

    async fn again(&mut self) -> Result<(), LockError> {
        let left = self.left.checked_sub(1);
        self.left =
            left.ok_or_else(|| LockError::unavailable("too many are after the same lock"))?;
        tokio::time::sleep(self.backoff.delay()).await;
        Ok(())
    }
}

impl Locks for NatsLocks {
    async fn acquire(
        &self,
        claim: &Claim,
        ttl: Duration,
        until: Instant,
    ) -> Result<Granted, LockError> {
        let key = key::of(&claim.place);
        let attempt = || self.attempt(claim, ttl);
        self.vault.local_queue.enter(&key, until, attempt).await
    }

    async fn renew(&self, claim: &Claim, ttl: Duration) -> Result<Granted, LockError> {
        let key = key::of(&claim.place);
        let mut known = self.known(&key, claim);
        let mut tries = Tries::new();
        loop {
            let is_known = known.is_some();
            let found = match known.take() {
                Some(found) => found,
                None => self.look(&key).await?,
            };
            let held = found.held.ok_or(LockError::NotHeld)?;
            if held.is_over() || !held.record.is_of(claim) {
                return Err(LockError::NotHeld);
            }
            let fence = held.record.fence(found.revision);
            let record = Record::new(claim, ttl, Some(fence));
            if self.put(&key, &record, found.revision).await?.is_some() {
                return Ok(Granted { fence, ttl });
            }
            if !is_known {
                tries.again().await?;
            }
        }
    }

    async fn release(&self, claim: &Claim) -> Result<(), LockError> {
        let key = key::of(&claim.place);
        let mut known = self.known(&key, claim);
        let mut tries = Tries::new();
        loop {
            let is_known = known.is_some();
            let found = match known.take() {
                Some(found) => found,
                None => self.look(&key).await?,
            };
            let held = found.held.ok_or(LockError::NotHeld)?;
            if !held.record.is_of(claim) {
                return Err(LockError::NotHeld);
            }
            let deleted = self.vault.delete(&key, found.revision).await?;
            match (deleted, held.is_over()) {
                (Change::Done(()), false) => return Ok(()),
                // It is cleared away too, but was not the caller's any more.
                (Change::Done(()), true) => return Err(LockError::NotHeld),
                (Change::Outdone, _) if is_known => {}
                (Change::Outdone, _) => tries.again().await?,
            }
        }
    }

    async fn inspect(&self, place: &LockName) -> Result<Option<Holder>, LockError> {
        let found = self.look(&key::of(place)).await?;
        let held = found.held.filter(|held| !held.is_over());
        Ok(held.map(|held| held.holder(found.revision)))
    }

    fn features(&self) -> Features {
        Features::new()
            .having("fencing")
            .lacking("fair")
            .with("consistency", "linearizable")
    }

    async fn check(&self) -> Result<(), LinkError> {
        let checked = self.vault.check().await;
        checked.map_err(|e| LinkError::unavailable(chain(&e)))
    }
}
