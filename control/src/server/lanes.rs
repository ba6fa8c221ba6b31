//! In what order requests are worked on: a bounded number at a time, and those that everything else
//! depends on apart from those that may take long.

use std::sync::Arc;
use std::time::Duration;

use lattice_core::subject::ControlOp;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::ServerConfig;

/// How many requests that never take long are worked on at once, and how many more may wait.
const SHORT_AT_ONCE: usize = 16;
const SHORT_QUEUED: usize = 128;

/// One queue.
#[derive(Debug)]
pub(super) struct Lane {
    /// One permit for each request under way or waiting.
    places: Arc<Semaphore>,
    in_flight: Arc<Semaphore>,
    /// How long one waits for its turn.
    patience: Duration,
}

impl Lane {
    fn new(at_once: usize, queued: usize, patience: Duration) -> Self {
        Self {
            places: Arc::new(Semaphore::new(at_once + queued)),
            in_flight: Arc::new(Semaphore::new(at_once)),
            patience,
        }
    }

    /// A place to wait at, if there is one left.
    pub(super) fn place(&self) -> Option<Place> {
        let place = Arc::clone(&self.places).try_acquire_owned().ok()?;
        Some(Place {
            _place: place,
            in_flight: Arc::clone(&self.in_flight),
            patience: self.patience,
        })
    }
}

/// A place in a queue.
#[derive(Debug)]
pub(super) struct Place {
    _place: OwnedSemaphorePermit,
    in_flight: Arc<Semaphore>,
    patience: Duration,
}

impl Place {
    /// Waits for the turn, as long as somebody waits for the answer. Once that is over nothing must
    /// be done any more: whoever asked has gone on as if it were not.
    pub(super) async fn turn(self) -> Option<(Self, OwnedSemaphorePermit)> {
        let turn = Arc::clone(&self.in_flight).acquire_owned();
        // The semaphore is never closed.
        let turn = timeout(self.patience, turn).await.ok()?.ok()?;
        Some((self, turn))
    }
}

/// The queues of a server.
#[derive(Debug)]
pub(super) struct Lanes {
    usual: Lane,
    /// Whether the host is there and what it runs, and that it stop: asked above all when the rest is slow.
    short: Lane,
}

impl Lanes {
    pub(super) fn new(config: &ServerConfig) -> Self {
        let patience = config.max_wait;
        Self {
            usual: Lane::new(config.max_in_flight, config.max_queued, patience),
            short: Lane::new(SHORT_AT_ONCE, SHORT_QUEUED, patience),
        }
    }

    /// The queue for an operation, if the subject names one.
    pub(super) fn of(&self, op: Option<&ControlOp>) -> &Lane {
        match op {
            Some(ControlOp::HostPing | ControlOp::HostGet(_) | ControlOp::HostStop(_)) => {
                &self.short
            }
            _ => &self.usual,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use lattice_core::{HostId, LatticeName};
    use tokio::time::Instant;

    fn lanes() -> (Lanes, HostId) {
        let text: String = std::iter::once('N')
            .chain(std::iter::repeat_n('A', 55))
            .collect();
        let host = HostId::new(text).unwrap();
        let config = ServerConfig {
            max_in_flight: 1,
            max_queued: 1,
            ..ServerConfig::new(LatticeName::default(), host.clone())
        };
        (Lanes::new(&config), host)
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_nobody_waits_for_any_more_has_no_turn() {
        let (lanes, _) = lanes();
        let usual = lanes.of(None);
        let slow = usual.place().unwrap().turn().await.unwrap();
        let waiting = usual.place().unwrap();
        assert!(usual.place().is_none());
        let started = Instant::now();
        assert!(waiting.turn().await.is_none());
        assert_eq!(started.elapsed(), usual.patience);
        let next = usual.place().unwrap();
        drop(slow);
        assert!(next.turn().await.is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_short_does_not_wait_for_what_is_slow() {
        let (lanes, host) = lanes();
        let _slow = [lanes.of(None).place(), lanes.of(None).place()];
        let short = [
            ControlOp::HostPing,
            ControlOp::HostGet(host.clone()),
            ControlOp::HostStop(host),
        ];
        for op in short {
            assert!(lanes.of(Some(&op)).place().unwrap().turn().await.is_some());
        }
        assert!(lanes.of(Some(&ControlOp::LinkGet)).place().is_none());
    }
}
