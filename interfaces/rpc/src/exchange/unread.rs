//! Streams that are not read to their end.

use async_nats::Subject;
use lattice_codec::Path;

use super::{Exchange, Side};

/// The credit which tells that no more is read. It is more than anybody sends, so that a peer that
/// knows nothing of it sends on, for nobody; and not the largest number, to which no window can be
/// added.
pub(crate) const UNREAD: u64 = 1 << 62;

impl Exchange {
    /// Notes that nobody reads the stream at `path` any more. Gives where its writer is told so, which
    /// may wait for credit.
    pub(crate) fn leave_unread(&self, path: &Path) -> Option<Subject> {
        let mut state = self.state.lock();
        // Who reads nothing of an answer cancels the call.
        if self.side == Side::Caller || state.cancelled {
            return None;
        }
        let channel = state.path(path)?;
        if channel.is_ended() {
            return None;
        }
        channel.leave_unread();
        let remote = state.remote.as_ref().filter(|r| r.window.is_some())?;
        Some(format!("{}.credit.{path}", remote.root).into())
    }

    /// Whether the other end reads no more of our stream at `path`.
    pub(crate) fn is_unread(&self, path: &Path) -> bool {
        let state = self.state.lock();
        let mut credits = state.credits.iter();
        credits.any(|(known, total)| known == path && *total >= UNREAD)
    }
}
