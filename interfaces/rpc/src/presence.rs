//! Whether served functions take calls at present.

use std::sync::Arc;

use tokio::sync::watch;

/// Lets all functions that share it leave their queue groups for a while, and come back.
///
/// Clones share everything. A function leaves after it has taken in the next call; one that gets
/// none has no reason to.
#[derive(Debug, Clone)]
pub struct Presence {
    away: Arc<watch::Sender<bool>>,
}

impl Default for Presence {
    fn default() -> Self {
        Self {
            away: Arc::new(watch::Sender::new(false)),
        }
    }
}

impl Presence {
    /// Leaves calls to the others in the queue groups.
    pub fn step_out(&self) {
        self.away.send_replace(true);
    }

    /// Takes part again.
    pub fn step_in(&self) {
        self.away.send_replace(false);
    }

    pub(crate) fn is_away(&self) -> bool {
        *self.away.borrow()
    }

    /// Waits until calls are taken.
    pub(crate) async fn back(&self) {
        // The sender is ours, so that the wait cannot fail.
        let _ = self.away.subscribe().wait_for(|away| !away).await;
    }
}
