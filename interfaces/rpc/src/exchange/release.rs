//! What becomes of a slot when its call is let go.

use async_nats::Subject;

use super::{Exchange, Remote, Side};
use crate::peer::DeferredSend;

/// How a slot is given back.
#[derive(Debug)]
pub(crate) enum Release {
    /// At once.
    Free,
    /// At once, and nothing more can come for it: the whole call was one message each way.
    Clean,
    /// At once, after a call that a peer of our kind has answered.
    Known,
    /// At once, after a call of a 1.9 peer, whose answers do not tell whose they are.
    Stock,
    /// At once, after a call of a 1.9 peer that has to be told where its parameters end.
    TellEnds(Vec<DeferredSend>),
    /// At once, with a message to the other end.
    Cancel(Subject),
    /// When the other end has told where to cancel, or after a while.
    Linger,
}

impl Exchange {
    /// What to do when the calling side lets go of the call.
    pub(crate) fn release(&self) -> Release {
        let mut state = self.state.lock();
        let ends = state.take_untold_ends();
        if !ends.is_empty() {
            return Release::TellEnds(ends);
        }
        let done = state.is_answered() && state.error.is_none();
        if self.side == Side::Callee || state.over || done {
            let stock = state.remote.as_ref().is_some_and(Remote::is_of_1_9);
            return match self.side {
                Side::Caller if done && state.is_clean() => Release::Clean,
                Side::Caller if stock => Release::Stock,
                Side::Caller if done => Release::Known,
                _ => Release::Free,
            };
        }
        match &state.remote {
            Some(Remote {
                root,
                window: Some(_),
                ..
            }) => Release::Cancel(format!("{root}.cancel").into()),
            // A 1.9 peer knows no cancel message.
            Some(_) => Release::Free,
            None => {
                state.abandoned = true;
                Release::Linger
            }
        }
    }
}
