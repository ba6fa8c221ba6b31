//! Handing calls on from one server of an entity to another; see [`crate::relief`].

use async_nats::{HeaderMap, Message, Subject};
use tokio::time::Instant;

use crate::complaint::Complaint;
use crate::header::Terms;
use crate::outbox::Outgoing;
use crate::peer::{Inner, Peer};

impl Peer {
    /// Sends a call that came here on to the peer at `place`; gives it back when that is not
    /// possible at once.
    pub(crate) fn hand_on(&self, place: &Subject, call: Message) -> Option<Message> {
        let mut outgoing = again(call.clone());
        outgoing.subject = at_place(place, &call.subject);
        match self.inner.outbox.try_send(outgoing) {
            Ok(()) => None,
            Err(_) => Some(call),
        }
    }
}

/// Takes a call that another server of the entity has handed on. One of a function that was served
/// here until just now goes to whoever else does; nothing else goes on in our name.
pub(crate) fn take_over(inner: &Inner, suffix: &str, mut call: Message) {
    let Some(function) = inner.inbox.handed_on(suffix) else {
        return inner.complaints.add(Complaint::NoPlace, suffix);
    };
    call.subject = function.into();
    let Some(call) = inner.own.hand_over(call) else {
        return;
    };
    if !inner.served.read().contains(function) {
        tracing::debug!(
            function,
            "ignored a call that was handed on: never served here"
        );
        return;
    }
    if inner.outbox.try_send(again(call)).is_err() {
        inner.complaints.add(Complaint::NotHandedOn, function);
    }
}

/// Where a server with room takes calls of a function.
pub(crate) fn at_place(place: &Subject, function: &Subject) -> Subject {
    format!("{place}.{function}").into()
}

/// A call that has come, for it to be sent once more.
pub(crate) fn again(call: Message) -> Outgoing {
    Outgoing {
        deadline: told_deadline(call.headers.as_ref()),
        subject: call.subject,
        reply: call.reply,
        headers: call.headers,
        payload: call.payload,
    }
}

/// Until when somebody waits for the answer of a call that has just come.
pub(crate) fn told_deadline(headers: Option<&HeaderMap>) -> Option<Instant> {
    Instant::now().checked_add(Terms::of(headers?)?.left?)
}
