//! The locks behind one link.

use std::time::Duration;

use bytes::Bytes;
use lattice_etcd::{Compare, Delete, EtcdError, Op, Pair, Put, Range, Relation, SortBy, Txn};
use lattice_provider_sdk::lock::{Claim, Granted, Holder, LockError, LockName, Locks};
use lattice_provider_sdk::{Features, LinkError, Shared, chain};
use tokio::time::Instant;

use crate::fences::Base;
use crate::line::Line;
use crate::names;

/// How long a waiter relies on being woken.
const LOOK_AGAIN: Duration = Duration::from_secs(2);
/// How long one who waits stands in line without a word of its provider: for so long a waiter that is
/// gone holds up those behind it. Some pauses of a provider that lives have to fit in.
const PLACE: Duration = Duration::from_secs(4);
/// How often one attempt begins again because fences are counted from another number meanwhile.
const TRIES: usize = 4;

/// Locks below one prefix.
#[derive(Debug)]
pub(crate) struct EtcdLocks {
    line: Shared<Line>,
}

/// A place in a line.
struct Ticket {
    key: String,
    /// The lease of the place, not that of the lock.
    lease: i64,
    ttl: Duration,
    /// When the key came to be: it decides the order, and makes the fence.
    revision: i64,
}

/// What became of one attempt to take a free lock.
enum Taken {
    Got(Granted),
    /// Another has it.
    No,
    /// Fences are counted from another number now.
    Again,
}

/// The key of a claim as it was seen.
struct Mine {
    key: Bytes,
    lease: i64,
    revision: i64,
}

fn lost_place() -> LockError {
    LockError::unavailable("etcd was away for so long that the place in line is lost")
}

fn counted_anew() -> LockError {
    LockError::unavailable("what fences are counted from changes again and again in etcd")
}

fn failed(error: EtcdError) -> LockError {
    let why = chain(&error);
    if error.is_denied() {
        // The component hears no reason, so it is told here.
        tracing::warn!(error = why, "access denied");
        return LockError::AccessDenied;
    }
    match error.is_invalid() {
        true => LockError::Other(why),
        false => LockError::unavailable(why),
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

impl EtcdLocks {
    pub(crate) fn new(line: Shared<Line>) -> Self {
        Self { line }
    }

    async fn one(&self, range: Range) -> Result<Option<Pair>, LockError> {
        let found = self.line.etcd.range(range.limit(1)).await;
        Ok(found.map_err(failed)?.first())
    }

    /// What fences are counted from.
    async fn base(&self) -> Result<Base, LockError> {
        let base = self.line.fences.base(&self.line.etcd).await;
        base.map_err(failed)
    }

    /// The one who holds a lock.
    async fn first(&self, place: &LockName) -> Result<Option<Pair>, LockError> {
        let all = Range::prefix(names::of_place(&self.line.prefix, place));
        self.one(all.ascending(SortBy::Create)).await
    }

    /// The one who is before a ticket.
    async fn before(&self, place: &LockName, ticket: &Ticket) -> Result<Option<Pair>, LockError> {
        let all = Range::prefix(names::of_place(&self.line.prefix, place)).keys_only();
        let earlier = all.created_up_to(ticket.revision - 1);
        self.one(earlier.descending(SortBy::Create)).await
    }

    async fn holder(&self, pair: &Pair) -> Result<Option<Holder>, LockError> {
        let base = self.base().await?;
        let left = self.line.etcd.time_to_live(pair.lease).await;
        Ok(left.map_err(failed)?.map(|left| Holder {
            owner: text(&pair.value),
            fence: base.fence(pair.create_revision),
            expires_in_ms: u32::try_from(left.ttl.as_millis()).ok(),
        }))
    }

    /// Takes a lock that nobody holds and nobody waits for.
    async fn take_free(&self, claim: &Claim, ttl: Duration) -> Result<Option<Granted>, LockError> {
        for _ in 0..TRIES {
            match self.try_free(claim, ttl).await? {
                Taken::Got(granted) => return Ok(Some(granted)),
                Taken::No => return Ok(None),
                Taken::Again => {}
            }
        }
        Err(counted_anew())
    }

    async fn try_free(&self, claim: &Claim, ttl: Duration) -> Result<Taken, LockError> {
        let (etcd, fences) = (&self.line.etcd, &self.line.fences);
        let base = self.base().await?;
        let highest = fences.highest();
        let lease = etcd.grant(ttl).await.map_err(failed)?;
        let is_free = Compare::none_below(names::of_place(&self.line.prefix, &claim.place));
        let key = names::of_claim(&self.line.prefix, claim);
        let put = Put::new(key, claim.owner.clone()).lease(lease.id);
        let txn = Txn::when(is_free).and(fences.is_still(&base));
        let txn = txn.then(Op::Put(put)).otherwise(fences.look());
        let done = match etcd.txn(txn).await {
            Ok(done) => done,
            // It may have happened, and nobody would give the lock back.
            Err(error) => {
                self.leave(lease.id).await;
                return Err(failed(error));
            }
        };
        let fence = base.fence(done.revision);
        if done.succeeded && fence > highest {
            fences.saw(done.revision);
            let ttl = lease.ttl;
            return Ok(Taken::Got(Granted { fence, ttl }));
        }
        self.leave(lease.id).await;
        if done.succeeded {
            fences.raise(etcd, &base).await.map_err(failed)?;
            return Ok(Taken::Again);
        }
        Ok(match fences.learn(&base, done.ranged()) {
            true => Taken::Again,
            false => Taken::No,
        })
    }

    /// Gets in line.
    async fn enqueue(&self, claim: &Claim) -> Result<Ticket, LockError> {
        let etcd = &self.line.etcd;
        let base = self.base().await?;
        let highest = self.line.fences.highest();
        let lease = etcd.grant(PLACE).await.map_err(failed)?;
        let key = names::of_claim(&self.line.prefix, claim);
        let put = Put::new(key.clone(), claim.owner.clone()).lease(lease.id);
        let put = match etcd.put(put).await {
            Ok(put) => put,
            Err(error) => {
                self.leave(lease.id).await;
                return Err(failed(error));
            }
        };
        if base.fence(put.revision) > highest {
            self.line.fences.saw(put.revision);
        } else if let Err(error) = self.line.fences.raise(etcd, &base).await {
            self.leave(lease.id).await;
            return Err(failed(error));
        }
        Ok(Ticket {
            key,
            lease: lease.id,
            ttl: lease.ttl,
            revision: put.revision,
        })
    }

    /// Ends a lease, and the key that has it. If that cannot be done, it ends with its time.
    async fn leave(&self, lease: i64) {
        if let Err(error) = self.line.etcd.revoke(lease).await {
            tracing::debug!(%error, "could not end a lease");
        }
    }

    /// Gives up what may have been won without our knowing.
    async fn forgo(&self, ticket: &Ticket) {
        let key = Delete::key(ticket.key.clone());
        if let Err(error) = self.line.etcd.delete(key).await {
            tracing::debug!(%error, "could not give a lock up");
        }
    }

    /// Waits until nobody is before a ticket.
    async fn queue(
        &self,
        place: &LockName,
        ticket: &Ticket,
        until: Instant,
    ) -> Result<bool, LockError> {
        let mut keep = Instant::now() + ticket.ttl / 3;
        let Some(mut before) = self.before(place, ticket).await? else {
            return Ok(true);
        };
        loop {
            let mut listener = self.line.wakeups.listen(&text(&before.key));
            // It may have left before we listened.
            match self.before(place, ticket).await? {
                None => return Ok(true),
                Some(other) if other.key != before.key => {
                    before = other;
                    continue;
                }
                Some(_) => {}
            }
            let now = Instant::now();
            if now >= until {
                return Ok(false);
            }
            listener
                .rung_by((now + LOOK_AGAIN).min(keep).min(until))
                .await;
            if Instant::now() >= keep {
                self.keep(ticket).await?;
                keep = Instant::now() + ticket.ttl / 3;
            }
        }
    }

    /// Keeps a place in the line.
    async fn keep(&self, ticket: &Ticket) -> Result<Duration, LockError> {
        let kept = self.line.etcd.keep_alive(ticket.lease).await;
        kept.map_err(failed)?.ok_or_else(lost_place)
    }

    async fn win(
        &self,
        claim: &Claim,
        ticket: &Ticket,
        ttl: Duration,
        until: Instant,
    ) -> Result<Granted, LockError> {
        if self.queue(&claim.place, ticket, until).await? {
            // The lease of the lock begins now, in place of that of the place in line.
            let mine = Mine {
                key: ticket.key.clone().into(),
                lease: ticket.lease,
                revision: ticket.revision,
            };
            return match self.change_lease(claim, &mine, ttl).await {
                Err(LockError::NotHeld) => Err(lost_place()),
                Err(error) => {
                    self.forgo(ticket).await;
                    Err(error)
                }
                won => won,
            };
        }
        let first = self.first(&claim.place).await?;
        let holder = match first.filter(|first| first.key != ticket.key) {
            Some(first) => self.holder(&first).await?,
            None => None,
        };
        Err(LockError::Held(holder))
    }

    /// Gives the key of a claim another lease.
    async fn change_lease(
        &self,
        claim: &Claim,
        mine: &Mine,
        ttl: Duration,
    ) -> Result<Granted, LockError> {
        let (etcd, fences) = (&self.line.etcd, &self.line.fences);
        let lease = etcd.grant(ttl).await.map_err(failed)?;
        for _ in 0..TRIES {
            let base = self.base().await?;
            let is_mine =
                Compare::create_revision(mine.key.clone(), Relation::Equal, mine.revision);
            let put = Put::new(mine.key.clone(), claim.owner.clone()).lease(lease.id);
            let txn = Txn::when(is_mine).and(fences.is_still(&base));
            let txn = txn.then(Op::Put(put)).otherwise(fences.look());
            // If it fails, it may have happened: the new lease is left to itself.
            let done = etcd.txn(txn).await.map_err(failed)?;
            if done.succeeded {
                self.leave(mine.lease).await;
                let (fence, ttl) = (base.fence(mine.revision), lease.ttl);
                return Ok(Granted { fence, ttl });
            }
            if !fences.learn(&base, done.ranged()) {
                self.leave(lease.id).await;
                return Err(LockError::NotHeld);
            }
        }
        self.leave(lease.id).await;
        Err(counted_anew())
    }
}

impl Locks for EtcdLocks {
    async fn acquire(
        &self,
        claim: &Claim,
        ttl: Duration,
        until: Instant,
    ) -> Result<Granted, LockError> {
        if Instant::now() >= until
            && let Some(first) = self.first(&claim.place).await?
            && let Some(holder) = self.holder(&first).await?
        {
            return Err(LockError::Held(Some(holder)));
        }
        if let Some(granted) = self.take_free(claim, ttl).await? {
            return Ok(granted);
        }
        let ticket = self.enqueue(claim).await?;
        let won = self.win(claim, &ticket, ttl, until).await;
        if won.is_err() {
            self.leave(ticket.lease).await;
        }
        won
    }

    async fn renew(&self, claim: &Claim, ttl: Duration) -> Result<Granted, LockError> {
        let first = self.first(&claim.place).await?;
        let key = names::of_claim(&self.line.prefix, claim);
        let mine = first.filter(|first| first.key == key && first.value == claim.owner);
        let mine = mine.ok_or(LockError::NotHeld)?;
        let etcd = &self.line.etcd;
        let kept = etcd.keep_alive(mine.lease).await.map_err(failed)?;
        let kept = kept.ok_or(LockError::NotHeld)?;
        if kept.as_secs() != ttl.as_millis().div_ceil(1000) as u64 {
            let mine = Mine {
                key: mine.key,
                lease: mine.lease,
                revision: mine.create_revision,
            };
            return self.change_lease(claim, &mine, ttl).await;
        }
        let fence = self.base().await?.fence(mine.create_revision);
        Ok(Granted { fence, ttl: kept })
    }

    async fn release(&self, claim: &Claim) -> Result<(), LockError> {
        let key = names::of_claim(&self.line.prefix, claim);
        let mine = self.one(Range::key(key.clone())).await?;
        let mine = mine.filter(|mine| mine.value == claim.owner);
        let mine = mine.ok_or(LockError::NotHeld)?;
        let etcd = &self.line.etcd;
        let deleted = etcd.delete(Delete::key(key)).await.map_err(failed)?;
        self.leave(mine.lease).await;
        match deleted.count {
            0 => Err(LockError::NotHeld),
            _ => Ok(()),
        }
    }

    async fn inspect(&self, place: &LockName) -> Result<Option<Holder>, LockError> {
        match self.first(place).await? {
            Some(first) => self.holder(&first).await,
            None => Ok(None),
        }
    }

    fn features(&self) -> Features {
        Features::new()
            .having("fencing")
            .having("fair")
            .with("consistency", "linearizable")
    }

    async fn check(&self) -> Result<(), LinkError> {
        let checked = self.line.check().await;
        checked.map_err(|e| LinkError::unavailable(chain(&e)))
    }
}
