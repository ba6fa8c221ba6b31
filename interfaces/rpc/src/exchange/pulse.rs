//! Whether the other end of a call is still there, for calls in which nothing has come for a while.
//!
//! The end that waits sends a message to the other's inbox, with itself as the place for replies. A
//! living peer has nothing to say to it. When the process is gone, so is its subscription, and the
//! server says so at once; when only the call is gone, the peer does. Two such replies in a row
//! end the call: one may come from a server that the other end is just reconnecting to.

/// The part of a subject, after a slot's root, at which a peer is asked whether it is there.
pub(crate) const ALIVE: &str = "alive";
/// Where it is told that the other end is not.
pub(crate) const LOST: &str = "lost";

/// After how many rounds without a message the other end is asked, and how often from then on.
const QUIET_ROUNDS: u8 = 2;
/// How many replies in a row end a call.
const REPLIES: u8 = 2;

/// What is known of the other end.
#[derive(Debug, Default)]
pub(crate) struct Pulse {
    quiet: u8,
    lost: u8,
}

impl Pulse {
    /// Something has come from the other end.
    pub(crate) fn heard(&mut self) {
        *self = Self::default();
    }

    /// A round is over; true when the other end should be asked.
    pub(crate) fn round(&mut self) -> bool {
        self.quiet += 1;
        if self.quiet < QUIET_ROUNDS {
            return false;
        }
        self.quiet = 0;
        true
    }

    /// The other end was not found; true when that is certain.
    pub(crate) fn lost(&mut self) -> bool {
        self.lost = self.lost.saturating_add(1);
        self.lost >= REPLIES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_lost_reply_between_messages_ends_nothing() {
        let mut pulse = Pulse::default();
        assert!(!pulse.round());
        assert!(pulse.round());
        assert!(!pulse.lost());
        pulse.heard();
        assert!(!pulse.lost());
        assert!(pulse.lost());
    }
}
