//! What a call may hold in memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// How much all pipes, messages and answers of a call may hold together. Beyond that its guest gets an
/// error, since nothing that it could wait for has to happen.
#[derive(Clone)]
pub(crate) struct Budget {
    held: Arc<AtomicUsize>,
    limit: usize,
}

impl Budget {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            held: Arc::default(),
            limit,
        }
    }

    pub(super) fn limit(&self) -> usize {
        self.limit
    }

    pub(crate) fn free(&self) -> usize {
        self.limit.saturating_sub(self.held.load(Ordering::Relaxed))
    }

    pub(crate) fn take(&self, bytes: usize) {
        self.held.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn give_back(&self, bytes: usize) {
        self.held.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Takes as much for an answer that a handle keeps, if that is free.
    pub(crate) fn hold(&self, bytes: usize) -> Result<Held, String> {
        if bytes > self.free() {
            return Err(format!(
                "what the call holds would take more than the {} bytes that it may buffer",
                self.limit
            ));
        }
        Ok(self.hold_all(bytes))
    }

    /// Takes as much for what is there already, free or not.
    pub(super) fn hold_all(&self, bytes: usize) -> Held {
        self.take(bytes);
        Held {
            budget: self.clone(),
            bytes,
        }
    }
}

/// What is taken of a budget, until this is dropped.
pub(crate) struct Held {
    budget: Budget,
    bytes: usize,
}

impl Held {
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.budget.give_back(self.bytes);
    }
}
