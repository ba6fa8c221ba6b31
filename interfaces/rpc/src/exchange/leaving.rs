//! Whether the request of a call has left this process, for callers that go by whether it may have begun.

use std::sync::atomic::{AtomicU8, Ordering};

use super::Exchange;

/// It went by another road than NATS, or by none yet.
const ELSEWHERE: u8 = 0;
/// It waits to be handed to NATS.
const WAITS: u8 = 1;
/// NATS has it.
const LEFT: u8 = 2;
/// Its caller has given it up before NATS had it.
const WITHDRAWN: u8 = 3;

/// Where a request is. Its caller and whoever hands it over agree on one of the last two.
#[derive(Debug, Default)]
pub(super) struct Leaving(AtomicU8);

impl Leaving {
    fn moves(&self, from: u8, to: u8) -> bool {
        let (set, fetch) = (Ordering::AcqRel, Ordering::Acquire);
        self.0.compare_exchange(from, to, set, fetch).is_ok()
    }
}

impl Exchange {
    /// The request waits to be handed to NATS from now on.
    pub(crate) fn waits_to_leave(&self) {
        self.leaving.moves(ELSEWHERE, WAITS);
    }

    /// Whether the request may be handed to NATS; it counts as handed over then.
    pub(crate) fn may_leave(&self) -> bool {
        self.leaving.moves(WAITS, LEFT)
    }

    /// Has the request not leave any more; whether that comes in time.
    pub(crate) fn withdraw(&self) -> bool {
        self.leaving.moves(WAITS, WITHDRAWN) || self.leaving.0.load(Ordering::Acquire) == WITHDRAWN
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::sync::Arc;

    use crate::exchange::{Budget, Side};
    use crate::peer::PeerConfig;

    fn call() -> Exchange {
        let config = PeerConfig::default();
        let budget = Arc::new(Budget::new(config.max_held_bytes));
        Exchange::new(Side::Caller, "f".into(), &config, &budget)
    }

    #[test]
    fn a_request_is_either_handed_over_or_withdrawn() {
        let (left, withdrawn) = (call(), call());
        left.waits_to_leave();
        assert!(left.may_leave() && !left.withdraw());
        withdrawn.waits_to_leave();
        assert!(withdrawn.withdraw() && !withdrawn.may_leave());
        assert!(withdrawn.withdraw(), "it stays so");
    }

    #[test]
    fn a_request_that_did_not_go_over_nats_cannot_be_withdrawn() {
        assert!(!call().withdraw());
    }
}
