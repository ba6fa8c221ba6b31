//! Waking those who wait for something to change.

use std::collections::HashMap;

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;

/// From how many names on those without listeners are cleared away.
const CLEAR_FROM: usize = 64;

/// Names that can be listened to. Who listens misses nothing that is rung from then on.
#[derive(Debug, Default)]
pub struct Wakeups {
    table: Mutex<HashMap<String, watch::Sender<()>>>,
}

/// Hears of one name.
#[derive(Debug)]
pub struct Listener {
    receiver: watch::Receiver<()>,
}

impl Wakeups {
    /// Without listeners.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Begins to listen to a name.
    #[must_use]
    pub fn listen(&self, name: &str) -> Listener {
        let mut table = self.table.lock();
        if table.len() >= CLEAR_FROM {
            table.retain(|_, sender| sender.receiver_count() > 0);
        }
        let sender = table
            .entry(name.to_owned())
            .or_insert_with(|| watch::channel(()).0);
        Listener {
            receiver: sender.subscribe(),
        }
    }

    /// Wakes all who listen to a name.
    pub fn ring(&self, name: &str) {
        if let Some(sender) = self.table.lock().get(name) {
            sender.send_replace(());
        }
    }

    /// Wakes everybody: something may have been missed.
    pub fn ring_all(&self) {
        for sender in self.table.lock().values() {
            sender.send_replace(());
        }
    }
}

impl Listener {
    /// Waits until the name is rung, or was since the last time, and until then at the latest.
    pub async fn rung_by(&mut self, until: Instant) {
        // The wakeups may go first, which wakes nobody.
        let rung = async {
            if self.receiver.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        let _ = tokio::time::timeout_at(until, rung).await;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_is_rung_before_the_wait_is_heard() {
        let wakeups = Wakeups::new();
        let mut listener = wakeups.listen("a");
        wakeups.ring("b");
        wakeups.ring("a");
        let long = Instant::now() + Duration::from_secs(60);
        listener.rung_by(long).await;
        assert!(Instant::now() < long);
        let short = Instant::now() + Duration::from_secs(1);
        listener.rung_by(short).await;
        assert!(Instant::now() >= short);
        wakeups.ring_all();
        listener.rung_by(long).await;
        assert!(Instant::now() < long);
    }
}
