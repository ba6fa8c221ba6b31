//! The count of what a peer has subscribed to.

use std::sync::atomic::Ordering;

use crate::peer::Peer;

/// Counts a subscription of a peer as long as it is held.
#[derive(Debug)]
pub(crate) struct Counted(Peer);

impl Counted {
    pub(crate) fn new(peer: &Peer) -> Self {
        peer.inner.subscriptions.fetch_add(1, Ordering::Relaxed);
        Self(peer.clone())
    }

    /// Whose subscription it is.
    pub(crate) fn peer(&self) -> &Peer {
        &self.0
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.inner.subscriptions.fetch_sub(1, Ordering::Relaxed);
    }
}
