//! Which of two handlers the component at the other end of a link has.

use std::time::Duration;

use lattice_rpc::{CallError, Invocation, Peer};
use parking_lot::Mutex;
use tokio::time::Instant;

use super::wire::{self, HANDLE, HANDLE_MESSAGE, HANDLER, OWN_HANDLER};
use super::{Failure, Message};
use crate::link::ProviderLink;
use crate::session::Session;

/// How long a component is believed to lack a handler: it may be updated.
const BELIEVED: Duration = Duration::from_secs(30);

/// One of the two handlers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// That of our own package, which is told of metadata and content type.
    Own,
    /// That of 1.x.
    Old,
}

impl Form {
    fn other(self) -> Self {
        match self {
            Self::Own => Self::Old,
            Self::Old => Self::Own,
        }
    }
}

/// The handlers of a component. A message that has metadata or a content type goes to that of our own
/// package, one that has neither to that of 1.x; where nobody serves it, to the other, and for a while
/// to that at once.
#[derive(Debug)]
pub(super) struct Handlers {
    peer: Peer,
    own: Invocation,
    old: Invocation,
    lacks: Mutex<Option<(Form, Instant)>>,
}

impl Handlers {
    pub(super) fn new(session: &Session, link: &ProviderLink) -> Self {
        let call =
            |instance, function| session.call_through(link, instance, function, Instant::now());
        Self {
            peer: session.peer().clone(),
            own: call(OWN_HANDLER, HANDLE),
            old: call(HANDLER, HANDLE_MESSAGE),
            lacks: Mutex::default(),
        }
    }

    /// Calls the handler. `prepare` says until when, and in which trace.
    pub(super) async fn call(
        &self,
        message: &Message,
        prepare: impl Fn(Invocation) -> Invocation,
    ) -> Result<(), Failure> {
        let form = self.form_for(message);
        match self.call_form(form, message, &prepare).await {
            Err(Failure::Call(error)) if is_nowhere(&error) => {}
            done => return done,
        }
        let done = self.call_form(form.other(), message, &prepare).await;
        // A component that is not there has neither.
        let is_there = !matches!(&done, Err(Failure::Call(error)) if is_nowhere(error));
        *self.lacks.lock() = is_there.then(|| (form, Instant::now() + BELIEVED));
        done
    }

    fn form_for(&self, message: &Message) -> Form {
        let form = match message.metadata.is_empty() && message.content_type.is_none() {
            true => Form::Old,
            false => Form::Own,
        };
        let lacks = *self.lacks.lock();
        match lacks {
            Some((lacking, until)) if lacking == form && until > Instant::now() => form.other(),
            _ => form,
        }
    }

    async fn call_form(
        &self,
        form: Form,
        message: &Message,
        prepare: impl Fn(Invocation) -> Invocation,
    ) -> Result<(), Failure> {
        let said = match form {
            Form::Own => {
                let call = prepare(self.own.clone());
                let answer = self.peer.call(call, wire::own_parameters(message)).await;
                wire::own_results(answer?)
            }
            Form::Old => {
                let call = prepare(self.old.clone());
                let answer = self.peer.call(call, wire::parameters(message)).await;
                wire::results(answer?)
            }
        };
        said.map_err(CallError::from)?.map_err(Failure::Refused)
    }
}

/// Whether nobody serves the function, or nobody where the link has its calls go.
fn is_nowhere(error: &CallError) -> bool {
    matches!(
        error,
        CallError::NotServed { .. } | CallError::NotLocal { .. }
    )
}
