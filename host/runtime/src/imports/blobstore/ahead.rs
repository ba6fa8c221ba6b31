//! Data of an object that has come before the guest reads it.

use std::collections::VecDeque;

use bytes::Bytes;

use super::pipe::Budget;

/// What was read to be counted, and is still to be given to the guest.
#[derive(Default)]
pub(super) struct Ahead {
    chunks: VecDeque<Bytes>,
    bytes: usize,
    /// What all that the call has in memory is taken from.
    budget: Option<Budget>,
}

impl Ahead {
    pub(super) fn push(&mut self, bytes: Bytes, budget: &Budget) {
        let budget = self.budget.get_or_insert_with(|| budget.clone());
        budget.take(bytes.len());
        self.bytes += bytes.len();
        self.chunks.push_back(bytes);
    }

    pub(super) fn pop(&mut self) -> Option<Bytes> {
        let bytes = self.chunks.pop_front()?;
        self.give_back(bytes.len());
        Some(bytes)
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    fn give_back(&mut self, bytes: usize) {
        self.bytes -= bytes;
        if let Some(budget) = &self.budget {
            budget.give_back(bytes);
        }
    }
}

impl Drop for Ahead {
    fn drop(&mut self) {
        self.give_back(self.bytes);
    }
}
