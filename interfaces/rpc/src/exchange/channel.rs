//! One ordered byte stream of a call, and what all streams of a peer may hold together.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::{Bytes, BytesMut};

/// The bytes that all calls of a peer hold for readers which have not taken them yet.
///
/// Each call has bounds of its own; this is the bound of all of them together, without which many
/// callers that send half a call each would fill the memory.
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

    pub(crate) fn limit(&self) -> usize {
        self.limit
    }

    pub(crate) fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }

    fn take(self: &Arc<Self>, size: usize) -> Option<Share> {
        let more = |held: usize| held.checked_add(size).filter(|all| *all <= self.limit);
        self.held
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more)
            .ok()?;
        Some(Share {
            budget: Arc::clone(self),
            size,
        })
    }
}

/// A part of the budget, given back when dropped.
#[derive(Debug)]
pub(crate) struct Share {
    budget: Arc<Budget>,
    size: usize,
}

impl Share {
    /// Takes another part over.
    pub(crate) fn join(&mut self, mut other: Self) {
        self.size += std::mem::take(&mut other.size);
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.budget.held.fetch_sub(self.size, Ordering::Relaxed);
    }
}

/// A piece of a stream, and its share of the budget, which a reader that collects pieces keeps.
#[derive(Debug)]
pub(crate) struct Piece {
    pub(crate) data: Bytes,
    pub(crate) share: Share,
}

/// What has come of a stream, in order.
pub(crate) type Pieces = VecDeque<Piece>;

/// The budget of the peer is used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Exhausted;

/// One ordered byte stream of a call.
#[derive(Debug, Default)]
pub(crate) struct Channel {
    queue: Pieces,
    buffered: usize,
    received: u64,
    ended: bool,
}

impl Channel {
    pub(crate) fn ended() -> Self {
        Self {
            ended: true,
            ..Self::default()
        }
    }

    /// Appends a piece; an empty one ends the stream.
    pub(crate) fn push(&mut self, data: Bytes, budget: &Arc<Budget>) -> Result<(), Exhausted> {
        if data.is_empty() {
            self.ended = true;
        } else if !self.ended {
            let share = budget.take(data.len()).ok_or(Exhausted)?;
            self.buffered += data.len();
            self.received += data.len() as u64;
            self.queue.push_back(Piece { data, share });
        }
        Ok(())
    }

    pub(crate) fn pop(&mut self) -> Option<Bytes> {
        let piece = self.queue.pop_front()?;
        self.buffered -= piece.data.len();
        Some(piece.data)
    }

    /// Takes every piece that waits.
    pub(crate) fn pop_pieces(&mut self) -> Pieces {
        self.buffered = 0;
        std::mem::take(&mut self.queue)
    }

    /// Takes everything that waits as one piece.
    pub(crate) fn pop_all(&mut self) -> Bytes {
        if self.queue.len() <= 1 {
            return self.pop().unwrap_or_default();
        }
        let mut all = BytesMut::with_capacity(self.buffered);
        while let Some(part) = self.pop() {
            all.extend_from_slice(&part);
        }
        all.freeze()
    }

    /// Drops what waits.
    pub(crate) fn clear(&mut self) {
        self.queue.clear();
        self.buffered = 0;
    }

    pub(crate) fn end(&mut self) {
        self.ended = true;
    }

    pub(crate) fn is_ended(&self) -> bool {
        self.ended
    }

    /// How many bytes wait for the reader.
    pub(crate) fn buffered(&self) -> usize {
        self.buffered
    }

    /// How many bytes have come in all.
    pub(crate) fn received(&self) -> u64 {
        self.received
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_of_all_calls_share_one_budget() {
        let budget = Arc::new(Budget::new(10));
        let (mut one, mut other) = (Channel::default(), Channel::default());
        one.push(Bytes::from_static(b"sixsix"), &budget).unwrap();
        let refused = other.push(Bytes::from_static(b"fiver"), &budget);
        assert_eq!(refused, Err(Exhausted));
        assert_eq!(one.pop().unwrap().len(), 6);
        other.push(Bytes::from_static(b"fiver"), &budget).unwrap();
        assert_eq!(budget.held(), 5);
        drop(other);
        assert_eq!(budget.held(), 0);
    }
}
