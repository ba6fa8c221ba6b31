//! How many bytes a process keeps for those at the other ends of its lines: what of a frame has come until it
//! is whole, and answers that are not read.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::frame::MAX_FRAME;

/// How much is kept for one line.
const MOST_OF_LINE: usize = 4 * MAX_FRAME;

/// How much is kept for all who have shown no ticket. There may be many of them, and nobody knows who they
/// are.
const MOST_OF_STRANGERS: usize = 4 * MAX_FRAME;

/// How much is kept for those that have shown no ticket to one listener. Clones share everything.
#[derive(Debug, Clone, Default)]
pub(super) struct UnauthenticatedBytes(Arc<AtomicUsize>);

/// How much is kept for one line. Clones share everything.
#[derive(Debug, Clone)]
pub(super) struct Load {
    line: Arc<AtomicUsize>,
    unauthenticated: UnauthenticatedBytes,
}

impl Load {
    /// That of a new line.
    pub(super) fn new(unauthenticated: &UnauthenticatedBytes) -> Self {
        Self {
            line: Arc::default(),
            unauthenticated: unauthenticated.clone(),
        }
    }

    /// Counts bytes until what is returned is dropped; `None` when that would be too many.
    pub(super) fn keep(&self, bytes: usize, is_stranger: bool) -> Option<Kept> {
        let add = |to: &AtomicUsize| to.fetch_add(bytes, Ordering::SeqCst).saturating_add(bytes);
        let unauthenticated = is_stranger.then(|| self.unauthenticated.clone());
        let of_line = add(&self.line);
        let of_strangers = unauthenticated.as_ref().map_or(0, |all| add(&all.0));
        let kept = Kept {
            bytes,
            line: Arc::clone(&self.line),
            unauthenticated,
        };
        let fits = of_line <= MOST_OF_LINE && of_strangers <= MOST_OF_STRANGERS;
        // What does not fit is not counted any more.
        fits.then_some(kept)
    }
}

/// Bytes that are kept.
#[derive(Debug)]
pub(super) struct Kept {
    bytes: usize,
    line: Arc<AtomicUsize>,
    unauthenticated: Option<UnauthenticatedBytes>,
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.line.fetch_sub(self.bytes, Ordering::SeqCst);
        if let Some(all) = &self.unauthenticated {
            all.0.fetch_sub(self.bytes, Ordering::SeqCst);
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Takes what may be kept for ends that have not said who they are, but for so many bytes.
    pub(in crate::socket) fn all_but(left: usize, unauthenticated: &UnauthenticatedBytes) -> Kept {
        let kept = Load::new(unauthenticated).keep(MOST_OF_STRANGERS - left, true);
        kept.unwrap()
    }

    #[test]
    fn a_line_and_all_strangers_together_are_kept_so_much_and_no_more() {
        let unauthenticated = UnauthenticatedBytes::default();
        let (one, other) = (Load::new(&unauthenticated), Load::new(&unauthenticated));
        let kept = one.keep(MOST_OF_STRANGERS - 10, true).unwrap();
        assert!(other.keep(11, true).is_none());
        let few = other.keep(10, true);
        assert!(few.is_some());
        // Who has shown a ticket has its own.
        let own = other.keep(MOST_OF_LINE - 10, false);
        assert!(own.is_some() && other.keep(1, false).is_none());
        drop((kept, few, own));
        assert_eq!(unauthenticated.0.load(Ordering::SeqCst), 0);
        assert!(other.keep(MOST_OF_LINE, true).is_some());
    }
}
