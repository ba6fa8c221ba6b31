//! How long the calls of a component may take.

use std::time::Duration;

use lattice_runtime::CallContext;
use tokio::time::Instant;

/// Whether a call carries streams, which may take as long as the request that they are part of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Carries {
    Values,
    Streams,
}

impl Carries {
    pub(super) fn streams(some: bool) -> Self {
        if some { Self::Streams } else { Self::Values }
    }
}

/// When a call made now has to be done: with the call that it is made for. A guest that has answered
/// and still streams may go on for long, as may one whose request is still being sent; its calls have
/// the usual time then. What passes the request on takes as long as that.
pub(super) fn due(cx: &CallContext, usual: Duration, carries: Carries) -> Instant {
    let now = Instant::now();
    let soon = now + usual;
    match cx.answer_by {
        Some(by) if now >= by => cx.deadline.min(soon),
        Some(by) if cx.open_ended && carries == Carries::Values => by.min(soon),
        Some(by) => by,
        None => cx.deadline,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn calls_of_a_guest_whose_request_has_no_end_have_the_usual_time() {
        let usual = Duration::from_secs(5);
        let after = |seconds| Instant::now() + Duration::from_secs(seconds);
        let mut cx = CallContext::until(after(600));
        let left = |cx: &CallContext, carries| (due(cx, usual, carries) - Instant::now()).as_secs();
        assert_eq!(left(&cx, Carries::Values), 600);
        cx.answer_by = Some(after(60));
        assert_eq!(left(&cx, Carries::Values), 60);
        cx.open_ended = true;
        assert_eq!(left(&cx, Carries::Values), 5);
        assert_eq!(left(&cx, Carries::Streams), 60);
        cx.answer_by = Some(after(0));
        assert_eq!(left(&cx, Carries::Streams), 5);
    }
}
