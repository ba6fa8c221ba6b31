//! Where parameters end, for callees of 1.9. They are told in messages of their own, and some take no other
//! call of the function before; one of our kind reads it in the request, or hears that the call is cancelled.

use std::task::{Context, Poll};

use async_nats::Subject;
use bytes::Bytes;
use lattice_codec::Path;

use super::{Exchange, MAX_PATHS, State};
use crate::peer::DeferredSend;

/// An end among the parameters of which a 1.9 callee has not been told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct UntoldEnd {
    /// The stream that ends; `None` for the parameters themselves.
    path: Option<Path>,
    /// What tells it.
    pub(crate) end: Bytes,
}

impl UntoldEnd {
    /// The end of the parameters themselves.
    pub(crate) fn params() -> Self {
        Self {
            path: None,
            end: Bytes::new(),
        }
    }

    /// The end of a stream without data.
    pub(crate) fn empty(path: Path) -> Self {
        Self {
            path: Some(path),
            end: Bytes::from_static(&[0]),
        }
    }

    /// The end of a stream whose writer is gone.
    pub(crate) fn broken(path: Path) -> Self {
        Self {
            path: Some(path),
            end: Bytes::new(),
        }
    }

    /// Where a callee at `root` is told.
    fn subject(&self, root: &Subject) -> Subject {
        match &self.path {
            None => format!("{root}.params").into(),
            Some(path) => format!("{root}.params.{path}").into(),
        }
    }
}

impl State {
    /// Takes what the other end has to be told, if it is known and of 1.9.
    pub(super) fn take_untold_ends(&mut self) -> Vec<DeferredSend> {
        let stock = self.remote.as_ref().filter(|r| r.is_of_1_9());
        let Some(remote) = stock else {
            return Vec::new();
        };
        let message = |untold: UntoldEnd| DeferredSend {
            payload: untold.end.clone(),
            ..DeferredSend::empty(untold.subject(&remote.root))
        };
        self.untold_ends.drain(..).map(message).collect()
    }
}

impl Exchange {
    /// Notes an end of which a 1.9 callee has to be told. That of the parameters always has room, since
    /// no call may come to the callee before.
    pub(crate) fn note_end(&self, end: UntoldEnd) {
        let mut state = self.state.lock();
        let has_room = end.path.is_none() || state.untold_ends.len() < MAX_PATHS;
        if has_room && !state.untold_ends.contains(&end) {
            state.untold_ends.push(end);
        }
    }

    /// Waits until a 1.9 callee can be told of an end, and gives where. It stays untold.
    pub(crate) fn poll_untold_end(&self, cx: &Context<'_>) -> Poll<(Subject, UntoldEnd)> {
        let mut state = self.state.lock();
        let stock = state.remote.as_ref().filter(|r| r.is_of_1_9());
        if let (Some(remote), Some(end)) = (stock, state.untold_ends.first()) {
            return Poll::Ready((end.subject(&remote.root), end.clone()));
        }
        state.register(cx);
        Poll::Pending
    }

    /// Waits until the answer or an error is here, and leaves it there.
    pub(crate) fn poll_answered(&self, cx: &Context<'_>) -> Poll<()> {
        let mut state = self.state.lock();
        if state.error.is_some() || state.root.is_ended() {
            return Poll::Ready(());
        }
        state.register(cx);
        Poll::Pending
    }

    /// Notes that a callee has been told of an end.
    pub(crate) fn end_told(&self, end: &UntoldEnd) {
        self.state.lock().untold_ends.retain(|known| known != end);
    }

    /// Takes what the other end has to be told, if it is known and of 1.9.
    pub(crate) fn take_untold_ends(&self) -> Vec<DeferredSend> {
        self.state.lock().take_untold_ends()
    }
}
