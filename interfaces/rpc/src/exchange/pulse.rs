//! Whether the other end of a call is still there, for calls in which nothing has come for a while.
//!
//! The end that waits sends a message to the other's inbox, with itself as the place for replies. A
//! living peer has nothing to say to it. When the process is gone, so is its subscription, and the
//! server says so at once; when only the call is gone, the peer does. Two such replies in a row
//! end the call: one may come from a server that the other end is just reconnecting to.
//!
//! A call that nobody has confirmed has no such place. When somebody who serves its target is known to
//! have died, the call may have been on its way to them: it is given a little longer, in which
//! whoever else has it confirms it. So is one of which nothing is heard, of a function that peers of our
//! kind serve: they confirm within milliseconds what they do not answer.
//!
//! The question tells how much was sent ([`question`](super::question)), so an end that sends streams
//! asks now and then, also while something comes.

/// The part of a subject, after a slot's root, at which a peer is asked whether it is there.
pub(crate) const ALIVE: &str = "alive";
/// Where it is told that the other end is not.
pub(crate) const LOST: &str = "lost";

/// After how many rounds without a message the other end is asked, and how often from then on.
const QUIET_ROUNDS: u8 = 2;
/// After how many rounds at the latest an end that sends streams tells how much that is.
const TOLD_ROUNDS: u8 = 4;
/// After how many rounds a call is in doubt that nobody has confirmed.
const UNCONFIRMED_ROUNDS: u8 = 4;
/// How many replies in a row end a call.
const REPLIES: u8 = 2;
/// How many whole rounds a call has for being confirmed once it is in doubt. A peer of ours may let it
/// wait for its turn, its key or its link before, for one to two seconds each.
const DOUBTFUL_ROUNDS: u8 = 6;

/// What is known of the other end.
#[derive(Debug, Default)]
pub(crate) struct Pulse {
    quiet: u8,
    /// How many rounds ago the other end was asked.
    unasked: u8,
    lost: u8,
    /// The rounds that are left, for a call in doubt.
    doubtful: Option<u8>,
}

impl Pulse {
    /// Something has come from the other end.
    pub(crate) fn heard(&mut self) {
        *self = Self {
            unasked: self.unasked,
            ..Self::default()
        };
    }

    /// A round is over; true when the other end should be asked. `sends` says that it is sent streams.
    pub(crate) fn round(&mut self, sends: bool) -> bool {
        self.quiet = self.quiet.saturating_add(1);
        self.unasked = self.unasked.saturating_add(1);
        let is_due = self.quiet >= QUIET_ROUNDS || (sends && self.unasked >= TOLD_ROUNDS);
        if is_due {
            (self.quiet, self.unasked) = (0, 0);
        }
        is_due
    }

    /// A round is over in which nobody has confirmed the call, though those who serve it do.
    pub(crate) fn unconfirmed(&mut self) {
        self.quiet = self.quiet.saturating_add(1);
        if self.quiet >= UNCONFIRMED_ROUNDS {
            self.doubt();
        }
    }

    /// The other end may have died with the call.
    pub(crate) fn doubt(&mut self) {
        self.doubtful.get_or_insert(DOUBTFUL_ROUNDS);
    }

    /// A round is over in which nothing has come; true when a call in doubt is lost.
    pub(crate) fn doubted_too_long(&mut self) -> bool {
        match &mut self.doubtful {
            None => false,
            Some(0) => true,
            Some(left) => {
                *left -= 1;
                false
            }
        }
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
        assert!(!pulse.round(false));
        assert!(pulse.round(false));
        assert!(!pulse.lost());
        pulse.heard();
        assert!(!pulse.lost());
        assert!(pulse.lost());
    }

    #[test]
    fn an_end_that_sends_asks_also_while_something_comes() {
        let asked = |sends: bool| {
            let mut pulse = Pulse::default();
            let mut round = || {
                pulse.heard();
                pulse.round(sends)
            };
            (0..3 * TOLD_ROUNDS).filter(|_| round()).count()
        };
        assert_eq!((asked(true), asked(false)), (3, 0));
    }

    #[test]
    fn a_call_in_doubt_is_lost_after_its_rounds_and_certain_again_when_something_comes() {
        let mut pulse = Pulse::default();
        assert!(!pulse.doubted_too_long());
        for _ in 0..DOUBTFUL_ROUNDS {
            pulse.doubt();
            assert!(!pulse.doubted_too_long());
        }
        assert!(pulse.doubted_too_long());
        pulse.heard();
        assert!(!pulse.doubted_too_long());
    }

    #[test]
    fn a_call_that_nobody_confirms_comes_into_doubt() {
        let mut pulse = Pulse::default();
        for _ in 0..UNCONFIRMED_ROUNDS - 1 {
            pulse.unconfirmed();
        }
        assert_eq!(pulse.doubtful, None);
        pulse.unconfirmed();
        assert_eq!(pulse.doubtful, Some(DOUBTFUL_ROUNDS));
    }
}
