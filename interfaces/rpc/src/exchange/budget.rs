//! What the calls of a peer may hold for readers which have not taken it yet.
//!
//! Each call has bounds of its own; the budget is the bound of all of them together, without which many
//! callers that send half a call each would fill the memory. Nobody gets so much of it that nothing is
//! left for others: a call holds at most its own share, and never more than it leaves free. So those
//! that hold much are refused first, and the more of them there are, the earlier.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What all calls of a peer hold.
#[derive(Debug)]
pub(crate) struct Budget {
    limit: usize,
    held: AtomicUsize,
}

impl Budget {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            limit,
            held: AtomicUsize::new(0),
        }
    }

    pub(crate) fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }
}

/// What one call holds of the budget.
#[derive(Debug)]
pub(crate) struct Account {
    budget: Arc<Budget>,
    limit: usize,
    held: AtomicUsize,
}

/// Why nothing more may be held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exhausted {
    /// The call holds as much as one may.
    Call {
        /// How much it would hold.
        size: usize,
        /// How much one may.
        limit: usize,
    },
    /// It would hold more than all calls leave free.
    Peer {
        /// What all would hold, and the call itself once more.
        size: usize,
        /// The budget.
        limit: usize,
    },
}

impl Account {
    /// The account of a call that may hold `limit` bytes.
    pub(crate) fn new(budget: &Arc<Budget>, limit: usize) -> Arc<Self> {
        Arc::new(Self {
            budget: Arc::clone(budget),
            limit,
            held: AtomicUsize::new(0),
        })
    }

    /// Takes a part of the budget. Only one at a time takes any for a call.
    pub(crate) fn take(self: &Arc<Self>, size: usize) -> Result<Share, Exhausted> {
        let own = self.held.load(Ordering::Relaxed).saturating_add(size);
        if own > self.limit {
            let limit = self.limit;
            return Err(Exhausted::Call { size: own, limit });
        }
        let limit = self.budget.limit;
        let more = |held: usize| {
            let all = held.checked_add(size)?;
            (all.checked_add(own)? <= limit).then_some(all)
        };
        let all = &self.budget.held;
        all.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more)
            .map_err(|held| Exhausted::Peer {
                size: held.saturating_add(size).saturating_add(own),
                limit,
            })?;
        self.held.fetch_add(size, Ordering::Relaxed);
        Ok(Share {
            account: Arc::clone(self),
            size,
        })
    }

    fn give_back(&self, size: usize) {
        self.held.fetch_sub(size, Ordering::Relaxed);
        self.budget.held.fetch_sub(size, Ordering::Relaxed);
    }
}

/// A part of the budget, given back when dropped.
#[derive(Debug)]
pub(crate) struct Share {
    account: Arc<Account>,
    size: usize,
}

impl Share {
    /// Takes another part over that the same call has.
    pub(crate) fn join(&mut self, mut other: Self) {
        self.size += std::mem::take(&mut other.size);
    }

    /// Gives back what is more than `size`.
    pub(crate) fn shrink_to(&mut self, size: usize) {
        let less = self.size.saturating_sub(size);
        self.size -= less;
        self.account.give_back(less);
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.account.give_back(self.size);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_holds_no_more_than_its_share_and_than_it_leaves_free() {
        let budget = Arc::new(Budget::new(100));
        let account = Account::new(&budget, 40);
        let mut share = account.take(30).unwrap();
        let refused = account.take(11).unwrap_err();
        assert_eq!(
            refused,
            Exhausted::Call {
                size: 41,
                limit: 40
            }
        );
        share.join(account.take(10).unwrap());
        let other = Account::new(&budget, 40);
        let second = other.take(30).unwrap();
        let refused = other.take(1).unwrap_err();
        assert_eq!(
            refused,
            Exhausted::Peer {
                size: 102,
                limit: 100
            }
        );
        share.shrink_to(35);
        drop(second);
        assert_eq!(budget.held(), 35);
        drop(share);
        assert_eq!(
            (budget.held(), account.held.load(Ordering::Relaxed)),
            (0, 0)
        );
    }

    #[test]
    fn greedy_calls_leave_room_for_modest_ones() {
        let budget = Arc::new(Budget::new(512 << 20));
        let greedy: Vec<_> = (0..100)
            .map(|_| {
                let account = Account::new(&budget, 96 << 20);
                let shares: Vec<_> = (0..200).map_while(|_| account.take(1 << 20).ok()).collect();
                (account, shares)
            })
            .collect();
        assert_eq!(greedy[0].1.len(), 96);
        assert!(Account::new(&budget, 96 << 20).take(1 << 19).is_ok());
    }
}
