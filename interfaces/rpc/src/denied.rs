//! Calls that are let in, and refused by who serves them for what they ask.

use crate::auth::Ends;
use crate::error::RemoteError;
use crate::peer::Peer;
use crate::serve::Context;

impl Peer {
    /// Tells of a call to `target` that is refused with [`RemoteError::DENIED`], as its caller has no leave
    /// for what it asks. It is told as calls are that are refused because of who makes them; the answer
    /// is not sent by this.
    pub fn denied(&self, cx: &Context, target: &str, operation: &str, why: &str) {
        if let Some(auth) = &self.inner.config.auth {
            let source = cx.source_id.as_deref();
            let ends = Ends {
                source,
                caller: source.filter(|_| cx.is_proven()),
                target,
            };
            auth.tell_refused(ends, operation, RemoteError::DENIED, why);
        }
    }
}
