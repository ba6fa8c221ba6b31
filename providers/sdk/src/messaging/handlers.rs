//! Which of two handlers the component at the other end of a link has.

use std::time::Duration;

use bytes::Bytes;
use lattice_rpc::{CallError, Invocation, Peer, RemoteError};
use parking_lot::Mutex;
use tokio::time::Instant;

use super::wire::{self, HANDLE, HANDLE_MESSAGE, HANDLER, OFFERED, OWN_HANDLER};
use super::{Failure, Message};
use crate::link::ProviderLink;
use crate::session::Session;
use crate::traced::road_told;

/// How long what is known of a component is believed: it may be updated.
const BELIEVED: Duration = Duration::from_secs(30);

/// How long a host may take to say that it serves our own handler.
const SAID: Duration = Duration::from_millis(500);

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

/// The handlers of a component. A message that has neither metadata nor content type goes to that of
/// 1.x. Before others are sent, the host is asked whether the component has that of our own package:
/// that NATS says of a function that nobody serves it is not to be relied on, as somebody may listen to
/// all calls. Where nobody serves the one, it is the other, and for a while at once.
#[derive(Debug)]
pub(super) struct Handlers {
    peer: Peer,
    offered: Invocation,
    own: Invocation,
    old: Invocation,
    known: Mutex<Option<(Form, Instant)>>,
}

impl Handlers {
    pub(super) fn new(session: &Session, link: &ProviderLink) -> Self {
        let call =
            |instance, function| session.call_through(link, instance, function, Instant::now());
        Self {
            peer: session.peer().clone(),
            offered: call(OWN_HANDLER, OFFERED).may_be_nowhere(),
            own: call(OWN_HANDLER, HANDLE),
            old: call(HANDLER, HANDLE_MESSAGE),
            known: Mutex::default(),
        }
    }

    /// Calls the handler. `prepare` says until when, and in which trace.
    pub(super) async fn call(
        &self,
        message: &Message,
        prepare: impl Fn(Invocation) -> Invocation,
    ) -> Result<(), Failure> {
        let form = self.form_for(message).await;
        // Who is nowhere is told of when the other form is not served either.
        let first = |call| prepare(call).may_be_nowhere();
        match self.call_form(form, message, first).await {
            Err(Failure::Call(error)) if error.is_nowhere() => {}
            done => return done,
        }
        let other = form.other();
        let done = self.call_form(other, message, &prepare).await;
        // A component that is not there has neither.
        let is_there = !matches!(&done, Err(Failure::Call(error)) if error.is_nowhere());
        *self.known.lock() = is_there.then(|| (other, Instant::now() + BELIEVED));
        done
    }

    async fn form_for(&self, message: &Message) -> Form {
        let known = *self.known.lock();
        if let Some((form, until)) = known
            && until > Instant::now()
        {
            return form;
        }
        if message.metadata.is_empty() && message.content_type.is_none() {
            return Form::Old;
        }
        let form = match self.is_own_offered().await {
            true => Form::Own,
            false => Form::Old,
        };
        *self.known.lock() = Some((form, Instant::now() + BELIEVED));
        form
    }

    async fn is_own_offered(&self) -> bool {
        let call = self.offered.clone().until(Instant::now() + SAID);
        match self.peer.call(call, Bytes::new()).await {
            Ok(_) => true,
            // A host that has no room for it has the function.
            Err(CallError::Remote(error)) => error.code != RemoteError::DENIED,
            Err(_) => false,
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
                let (call, _road) = road_told(prepare(self.own.clone()));
                let answer = self.peer.call(call, wire::own_parameters(message)).await;
                wire::own_results(answer?)
            }
            Form::Old => {
                let (call, _road) = road_told(prepare(self.old.clone()));
                let answer = self.peer.call(call, wire::parameters(message)).await;
                wire::results(answer?)
            }
        };
        said.map_err(CallError::from)?.map_err(Failure::Refused)
    }
}
