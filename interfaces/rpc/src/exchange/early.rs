//! What has come over the connection for long streams before what was sent earlier over the other.

use std::collections::VecDeque;

use super::channel::Piece;

/// The part of a stream that comes over the connection for long ones.
#[derive(Debug, Default)]
pub(super) struct Early {
    /// How many bytes come before the first piece that waits.
    from: u64,
    /// How many bytes come before the next message.
    next: u64,
    /// An empty one ends the stream.
    waiting: VecDeque<Piece>,
}

impl Early {
    /// Begins with a message that has so many bytes before it.
    pub(super) fn at(offset: u64) -> Self {
        Self {
            from: offset,
            next: offset,
            waiting: VecDeque::new(),
        }
    }

    /// Whether a message of that size comes after the last one; notes that it has come.
    pub(super) fn takes(&mut self, offset: u64, size: usize) -> bool {
        let is_next = offset == self.next;
        if is_next {
            self.next = offset.saturating_add(size as u64);
        }
        is_next
    }

    /// Keeps a message until what is before it has come.
    pub(super) fn keep(&mut self, piece: Piece) {
        self.waiting.push_back(piece);
    }

    /// How many bytes may still come over the other connection after the first `received`.
    pub(super) fn open(&self, received: u64) -> u64 {
        match self.waiting.is_empty() {
            true => 0,
            false => self.from.saturating_sub(received),
        }
    }

    /// The messages that wait, if so many bytes have come before them.
    pub(super) fn due(&mut self, received: u64) -> VecDeque<Piece> {
        match self.from == received {
            true => std::mem::take(&mut self.waiting),
            false => VecDeque::new(),
        }
    }

    /// Drops what waits.
    pub(super) fn clear(&mut self) {
        self.waiting.clear();
    }
}
